import numpy as np
import pytest

from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import ogg

CONTINUED, BEGINS, ENDS = 1, 2, 4
"""Flags of a page (RFC 3533, section 6)."""


def page(flags, sizes=(255, 3)):
    """A page: header, number of segments, their sizes, and as many bytes."""
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([len(sizes), *sizes]) + bytes(sum(sizes))


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        ([BEGINS, 0, ENDS], (True, 1)),
        ([BEGINS | ENDS], (True, 1)),
        ([BEGINS, CONTINUED, CONTINUED | ENDS], (True, 1)),
        ([BEGINS, 0], (False, 1)),
        ([BEGINS, CONTINUED], (False, 1)),
        ([BEGINS, ENDS, BEGINS, ENDS], (True, 2)),
        ([BEGINS | ENDS, BEGINS | ENDS, BEGINS | ENDS], (True, 3)),
        ([BEGINS, ENDS, BEGINS], (False, 2)),
        ([BEGINS, BEGINS, 0, ENDS, ENDS], (True, 1)),  # two that play together
        ([BEGINS, ENDS, CONTINUED, ENDS], (True, 1)),
    ],
)
def test_streams_are_counted_and_the_last_page_is_marked(flags, shape, tmp_path):
    path = tmp_path / "x.ogg"
    path.write_bytes(b"".join(map(page, flags)))
    assert ogg.measure(path) == shape


@pytest.mark.parametrize("cut", [1, 258, 259, 260, 280, 284])
def test_a_page_that_is_cut_is_not_whole(cut, tmp_path):
    """Within its bytes, its sizes or its header."""
    path = tmp_path / "x.ogg"
    path.write_bytes((page(BEGINS) + page(ENDS))[:-cut])
    assert ogg.measure(path) == (False, 1)


def test_what_follows_the_pages_is_damage(tmp_path):
    path = tmp_path / "x.ogg"
    path.write_bytes(page(BEGINS) + page(ENDS) + bytes(40))
    assert ogg.measure(path) == (False, 1)


def test_only_oggs_have_pages(noise, tmp_path, write):
    assert ogg.measure(write(tmp_path / "x.wav", noise)) is None
    assert ogg.measure(write(tmp_path / "x.ogg", noise)) == (True, 1)


@pytest.mark.parametrize("rate", [8000, 12_000, 16_000, 24_000])
def test_opus_is_decoded_at_its_own_rate(rate, noise, tmp_path, write, decode):
    """libsndfile would decode at that of what was encoded. Of noise, ffmpeg's own decoder makes other noise."""
    path = write(tmp_path / "x.opus", noise, rate)
    mended = ogg.mend(path)
    assert (len(mended.head), mended.end, mended.note) == (mended.start, path.stat().st_size, None)
    file = AudioFile(path)
    assert file.sample_rate == 48_000
    found, wanted = np.concatenate(list(file.blocks(1000))), decode(path, options=["-c:a", "libopus"])[:, 0]
    assert len(found) == len(wanted)
    assert np.abs(found - wanted).max() < 1e-4


def test_opus_of_48_khz_and_vorbis_are_left_alone(noise, tmp_path, write):
    assert ogg.mend(write(tmp_path / "x.opus", noise)) is None
    assert ogg.mend(write(tmp_path / "x.ogg", noise, 16_000)) is None
    (tmp_path / "x.wav").write_bytes(b"OggS")
    assert ogg.mend(tmp_path / "x.wav") is None
