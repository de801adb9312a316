import pytest

from htsat_edge.runtime.dsp import mpeg


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130)])
def test_mp3_frames_are_counted(rate, tag, noise, tmp_path, write):
    path = write(tmp_path / "x.mp3", noise, rate)
    path.write_bytes(tag + path.read_bytes())
    length = mpeg.measure(path)
    assert length.whole
    assert 0 <= length.found - len(noise) < 4 * 1152
    assert length.said is None or abs(length.found - length.said) <= 1152


def test_only_mp3s_are_counted(noise, tmp_path, write):
    assert mpeg.measure(write(tmp_path / "x.wav", noise)) is None
