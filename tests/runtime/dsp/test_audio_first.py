"""Reading that begins within a recording."""

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile

FIRSTS = [1, 999, 4095, 4096, 4097, 48_000, 95_999]


@pytest.mark.parametrize(
    ("extension", "exact"), [("wav", True), ("float.wav", True), ("flac", True), ("ogg", False), ("mp3", False)]
)
def test_samples_are_those_of_reading_everything(extension, exact, noise, tmp_path, write):
    file = AudioFile(write(tmp_path / f"x.{extension}", np.stack([noise, noise[::-1]], axis=1)))
    assert file.is_sought_exactly == exact
    whole = np.concatenate(list(file.frames(1000)))
    for first in [*FIRSTS, len(whole) - 1]:
        np.testing.assert_array_equal(np.concatenate(list(file.frames(1000, first))), whole[first:])
    for first in (len(whole), len(whole) + 5):
        assert list(file.frames(1000, first)) == []


def test_a_wav_behind_a_mended_head_is_sought_in_too(noise, tmp_path, write):
    path = write(tmp_path / "x.wav", noise)
    wanted = np.concatenate(list(AudioFile(path).frames(1000)))
    content = bytearray(path.read_bytes())
    content[40:44] = bytes(4)  # as who writes to a pipe leaves it
    path.write_bytes(content)
    np.testing.assert_array_equal(np.concatenate(list(AudioFile(path).frames(1000, 50_000))), wanted[50_000:])


def test_the_scale_of_floats_is_taken_as_it_is_given(noise, tmp_path, write):
    path = write(tmp_path / "x.float.wav", np.round(noise * 2**15))
    assert AudioFile(path).scale == 2**15
    assert AudioFile(path, 2.0**23).scale == 2**23


@pytest.mark.parametrize("first", [0, 30_000, 90_000])
def test_damage_is_found_where_it_lies_wherever_reading_begins(first, noise, tmp_path, write):
    noise[60_000] = 40
    frames = AudioFile(write(tmp_path / "x.float.wav", noise), 1.0).frames(1000, first)
    if first > 60_000:
        assert sum(map(len, frames)) == 6000
    else:
        with pytest.raises(HtsatEdgeError, match=r"a sample that is no sound \(40\) at 1\.250 s"):
            list(frames)


def test_damage_that_cannot_be_passed_over_is_told_where_reading_begins(noise, tmp_path, write):
    path = write(tmp_path / "x.flac", noise)
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) * 3 // 4] = bytes(len(content) // 2)
    path.write_bytes(content)
    file = AudioFile(path)
    with pytest.raises(HtsatEdgeError, match=r"is truncated or damaged after 1\.000 s"):
        list(file.frames(1000, 48_000))


def test_all_channels_are_seen_before_one_of_them_is_heard(noise, tmp_path, write):
    file, seen = AudioFile(write(tmp_path / "x.wav", np.stack([noise, -noise], axis=1))), []
    heard = [part for (part,) in file.split(7000, [2], 20_000, seen.append)]
    np.testing.assert_array_equal(np.concatenate(seen)[:, 1], np.concatenate(heard))
    assert len(np.concatenate(seen)) == 76_000
