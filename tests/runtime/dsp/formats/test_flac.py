import subprocess

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import flac


def read(path, block=7000):
    return np.concatenate(list(AudioFile(path).blocks(block)))


def declare(path, total):
    """Write another length into the first block of a FLAC: 36 bits."""
    content = bytearray(path.read_bytes())
    fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | total
    content[18:26] = fields.to_bytes(8, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 96_000, 192_000, 12_345])
@pytest.mark.parametrize("length", [1, 100, 4095, 4096, 4097, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_are_found(rate, length, channels, noise, tmp_path, write):
    path = write(tmp_path / "x.flac", np.repeat(noise[:length, None], channels, axis=1), rate)
    assert flac.measure(path) == (length, length, True, path.stat().st_size, 0)
    assert flac.mend(path) is None


@pytest.mark.parametrize("total", [0, 1, 50_000, 95_999, 96_001, 200_000, 2**36 - 1])
def test_a_length_that_is_wrong(total, noise, tmp_path, write, caplog):
    path = write(tmp_path / "x.flac", noise)
    wanted = read(path)
    declare(path, total)
    np.testing.assert_array_equal(read(path), wanted)
    (line,) = caplog.messages
    claim = f"claims {total} samples ({total / 48_000:.3f} s)" if total else "does not say how long it is"
    assert line == f"{path}: its header {claim}, but 96000 samples (2.000 s) are there; all of them are read"


@pytest.mark.parametrize("codec", ["flac", "copy"])
def test_every_part_that_a_segment_recorder_wrote(codec, farmyard, decode, tmp_path, caplog):
    """ffmpeg gives each part a head that says nothing of its length, or the length of all."""
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-i",
        farmyard,
        "-f",
        "segment",
        "-segment_time",
        "10",
        "-c:a",
        codec,
    ]
    subprocess.run([*command, tmp_path / "s%d.flac"], check=True)
    parts = [tmp_path / f"s{i}.flac" for i in range(3)]
    for path in parts:
        np.testing.assert_array_equal(read(path), decode(path)[:, 0])
    np.testing.assert_array_equal(np.concatenate([read(path) for path in parts]), decode(farmyard)[:, 0])
    assert len({line for line in caplog.messages if "its header" in line}) == 3


@pytest.mark.parametrize("cut", [1, 2, 100, 3000, 20_000])
def test_a_writer_that_was_killed(cut, noise, tmp_path, write, caplog):
    """It had not said how long the whole is: what is there of whole frames is heard."""
    path = write(tmp_path / "x.flac", noise)
    wanted = read(path)
    declare(path, 0)
    path.write_bytes(path.read_bytes()[:-cut])
    found = read(path)
    assert len(wanted) - 4096 * (2 + cut // 4000) <= len(found) < len(wanted)
    np.testing.assert_array_equal(found, wanted[: len(found)])
    assert "does not say how long it is" in caplog.text


@pytest.mark.parametrize("cut", [1, 2, 100, 3000, 20_000])
def test_a_copy_that_was_cut_is_refused(cut, noise, tmp_path, write):
    path = write(tmp_path / "x.flac", noise)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(HtsatEdgeError, match="is truncated or damaged"):
        read(path)


@pytest.mark.parametrize("total", [0, 50_000, 96_000])
@pytest.mark.parametrize("tags", [1, 2])
@pytest.mark.parametrize("behind", [b"", b"TAG".ljust(128)])
def test_a_tag_at_the_beginning_hides_nothing(total, tags, behind, noise, tmp_path, write, caplog):
    path = write(tmp_path / "x.flac", noise)
    wanted = read(path)
    declare(path, total)
    path.write_bytes((b"ID3\4\0\0\0\0\2\x0a" + bytes(266)) * tags + path.read_bytes() + behind)
    np.testing.assert_array_equal(read(path), wanted)
    assert len(caplog.messages) == (total != 96_000)


@pytest.mark.parametrize("total", [0, 96_000])
def test_a_tag_at_the_end_is_no_damage(total, noise, tmp_path, write):
    path = write(tmp_path / "x.flac", noise)
    wanted = read(path)
    declare(path, total)
    path.write_bytes(path.read_bytes() + b"TAG".ljust(128))
    np.testing.assert_array_equal(read(path), wanted)


def test_blocks_of_several_lengths(ffmpeg, noise, tmp_path):
    """As encoders may write them: then frames count samples."""
    path = tmp_path / "x.flac"
    source = tmp_path / "x.wav"
    soundfile.write(source, noise, 48_000)
    for size in ("192", "1000", "4608"):
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source, "-frame_size", size, path]
        subprocess.run(command, check=True)
        assert flac.measure(path) == (96_000, 96_000, True, path.stat().st_size, 0)


@pytest.mark.parametrize(
    ("number", "coded"),
    [
        (0, "00"),
        (0x7F, "7f"),
        (0x80, "c280"),
        (0x7FF, "dfbf"),
        (0xFFFF, "efbfbf"),
        (0x7FFFFFFF, "fdbfbfbfbfbf"),
        (0xFFFFFFFFF, "febfbfbfbfbfbf"),
    ],
)
def test_numbers_are_coded_like_characters(number, coded):
    assert flac._coded(bytes.fromhex(coded) + b"\xff") == (number, len(coded) // 2)


@pytest.mark.parametrize("coded", ["80", "bf", "ff", "c2", "ef80"])
def test_numbers_that_are_none(coded):
    assert flac._coded(bytes.fromhex(coded)) == (0, 0)


def test_only_flacs_have_frames(noise, tmp_path, write):
    assert flac.measure(write(tmp_path / "x.wav", noise)) is None
    (tmp_path / "x.flac").write_bytes(b"fLaC")
    assert flac.measure(tmp_path / "x.flac") is None
