from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.windows import WindowCutter, WindowGrid, tile, tiles, untile

SMALL = WindowGrid(frames=32, steps=8, step_frames=Fraction(4), hop_steps=2)
MIRRORED = replace(SMALL, hop_steps=1, shift_steps=0.25, mirrored_steps=2)
FULL = WindowGrid(frames=1024, steps=32, step_frames=Fraction(32), hop_steps=4)
REFERENCE = WindowGrid(frames=1001, steps=32, step_frames=Fraction(125, 4), hop_steps=4)


def numbered(count):
    """Frames that carry their own number."""
    return np.arange(count, dtype=np.float32)[:, None]


def windows_of(grid, frames, sizes=()):
    cutter = WindowCutter(grid)
    chunks = np.split(frames, np.cumsum(sizes)) if len(sizes) else [frames]
    found = [(window.step, window.log_mel.copy()) for chunk in chunks for window in cutter.push(chunk)]
    last = cutter.flush()
    return found + ([(last.step, last.log_mel)] if last is not None else [])


def expected(grid, step, end):
    """The numbers of the frames of a window that has heard up to `end`: repeated before, heard, mirrored."""
    wanted = np.arange(round(step * 4), round(step * 4) + grid.frames)
    mirrored = np.where(wanted < end, wanted, 2 * end - 1 - wanted)
    return np.where(wanted < 0, wanted % end, mirrored) if end >= 4 * grid.mirrored_steps else None


@settings(deadline=None)
@given(st.sampled_from([SMALL, MIRRORED]), st.integers(33, 300))
def test_windows_cover_every_step_and_hold_the_frames_they_should(grid, total):
    found = windows_of(grid, numbered(total))
    heard = grid.steps - grid.mirrored_steps
    covered = {floor(step) + i for step, _ in found for i in range(heard) if step + i >= 0}
    assert covered >= set(range(grid.steps_of(total)))
    assert found[-1][0] + heard >= grid.steps_of(total) - 1 / 4
    for step, window in found:
        assert window.shape == (32, 1)
        end = round(4 * (step + heard))
        if end < total - 1:
            if (wanted := expected(grid, step, end)) is not None:
                np.testing.assert_array_equal(window, wanted[:, None])
        else:  # the last frame begins no step
            assert total - 2 in window


@settings(deadline=None)
@given(st.sampled_from([SMALL, MIRRORED]), st.lists(st.integers(0, 50), max_size=12))
def test_any_chunking_gives_the_same_windows(grid, sizes):
    frames = numbered(sum(sizes) + 20)
    at_once, chunked = windows_of(grid, frames), windows_of(grid, frames, sizes)
    assert [step for step, _ in at_once] == [step for step, _ in chunked]
    for (_, a), (_, b) in zip(at_once, chunked, strict=True):
        np.testing.assert_array_equal(a, b)


def ends_of(cutter, frames):
    return [window.step + 8 - cutter._grid.mirrored_steps for window in cutter.push(frames)]


def test_a_window_is_heard_with_every_hop_from_the_first_on():
    assert ends_of(WindowCutter(SMALL), numbered(50)) == [2, 4, 6, 8, 10, 12]


def test_every_second_window_is_early():
    assert ends_of(WindowCutter(MIRRORED), numbered(26)) == [0.75, 2, 2.75, 4, 4.75, 6]


def test_the_hop_may_change_at_any_time():
    cutter = WindowCutter(replace(SMALL, hop_steps=1))
    assert ends_of(cutter, numbered(9)) == [1, 2]
    cutter.hop_steps = 4
    assert ends_of(cutter, numbered(40)[9:]) == [6, 10]
    cutter.hop_steps = 1
    assert ends_of(cutter, numbered(48)[40:]) == [11, 12]


def test_a_hop_that_becomes_shorter_finds_the_frames_of_the_windows_that_a_longer_one_left_out():
    cutter, frames = WindowCutter(replace(SMALL, hop_steps=4)), numbered(100)
    assert ends_of(cutter, frames[:79]) == [4, 8, 12, 16]
    cutter.hop_steps = 1
    for window, end in zip(cutter.push(frames[79:]), range(17, 26), strict=True):
        np.testing.assert_array_equal(window.log_mel, frames[4 * end - 32 : 4 * end])


def test_what_was_heard_is_repeated_before_itself_and_mirrored_after():
    (first, *_) = windows_of(MIRRORED, numbered(40))[1:]
    assert first[0] == -4
    heard = [0, 1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(first[1][:, 0], [*heard, *heard, *heard, *heard[::-1]])


def test_steps_of_a_quarter_frame_stay_on_the_grid():
    found = windows_of(REFERENCE, numbered(5000))
    assert [window[0, 0] for step, window in found if step >= 0][:4] == [0, 125, 250, 375]
    assert found[-1][0] == REFERENCE.steps_of(5000) - 32
    assert found[-1][1][0, 0] == round(found[-1][0] * 31.25)


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (2, 1), (5, 1), (6, 2), (33, 8), (34, 9)])
def test_how_many_steps_a_recording_has(frames, steps):
    assert SMALL.steps_of(frames) == steps


def test_ten_seconds_of_the_reference_are_given_whole():
    step, window = windows_of(replace(REFERENCE, hop_steps=3, mirrored_steps=2), numbered(1001))[-1]
    assert step == 0
    np.testing.assert_array_equal(window, numbered(1001))


@pytest.mark.parametrize("grid", [FULL, REFERENCE])
@pytest.mark.parametrize("total", [1, 101, 501, 512, 1000])
def test_a_short_recording_is_tiled(grid, total):
    step, window = windows_of(grid, numbered(total))[-1]
    assert step == 0
    assert window.shape == (grid.frames, 1)
    np.testing.assert_array_equal(window, tile(numbered(total), grid.frames))


def test_tiles_are_counted_by_what_the_network_sees():
    """5 s are 501 frames: two of them fit into 1024, and into the reference's window of 1001 as well."""
    for grid in (FULL, REFERENCE):
        window = tile(numbered(501), grid.frames)[:, 0]
        middle = grid.frames // 2
        assert window[middle - 5] > 480
        assert window[middle + 5] < 20


@pytest.mark.parametrize(("total", "whole"), [(1000, 1000), (1023, 1023), (1026, None), (3000, None)])
def test_a_window_says_of_how_many_frames_it_is_the_whole(total, whole):
    cutter = WindowCutter(FULL)
    windows, last = [*cutter.push(numbered(total))], cutter.flush()
    assert {window.whole_frames for window in windows} == {None}
    assert [window.is_filled for window in windows][:8] == [True] * 7 + ([False] if total >= 1024 else [])
    assert last.whole_frames == whole
    assert not last.is_filled


@pytest.mark.parametrize(
    ("frames", "window", "count"),
    [(1, 1024, 1024), (512, 1024, 2), (513, 1024, 1), (512, 1001, 2), (500, 513, 2), (500, 512, 1), (50, 101, 2)],
)
def test_how_often_a_recording_is_repeated(frames, window, count):
    assert tiles(frames, window) == count


def test_an_empty_recording_has_no_window():
    cutter = WindowCutter(SMALL)
    assert cutter.flush() is None
    assert list(cutter.push(numbered(0))) == []
    assert cutter.flush() is None


@pytest.mark.parametrize("total", [40, 60, 91, 100])
def test_a_short_recording_keeps_its_order_in_a_short_window(total):
    """A window of 101 frames is 1 s, as Speech Commands has it: nothing in it is squeezed."""
    window = tile(numbered(total), 101)[:, 0]
    rises = np.diff(window) > 0
    assert rises.mean() > 0.9
    assert np.abs(np.diff(window)).max() < total + 5


@pytest.mark.parametrize("grid", [FULL, REFERENCE])
@pytest.mark.parametrize("total", [40, 101, 257, 501, 512, 700, 1000])
def test_untiling_averages_what_each_tile_says_of_a_moment(grid, total):
    """The window's scores are the numbers of the frames in each step: untiled, they count through the recording."""
    window = tile(numbered(total), 1024)
    found = untile(window.reshape(32, 32, 1).mean(axis=1), grid, total)[:, 0]
    assert len(found) == grid.steps_of(total)
    if total == 512:  # two tiles that fit the steps exactly
        np.testing.assert_allclose(found[:16], (np.arange(16) * 32 + 15.5), atol=1)
    if total >= 700:  # one tile, stretched
        centre = np.minimum((np.arange(len(found)) + 0.5) * float(grid.step_frames), total - 1)
        np.testing.assert_allclose(found, centre, atol=24)


def test_a_reset_begins_a_new_recording():
    cutter = WindowCutter(SMALL)
    list(cutter.push(numbered(75)))
    cutter.reset()
    assert cutter.total == 0
    found = [(window.step, window.log_mel[-1, 0]) for window in cutter.push(numbered(40))]
    assert found == [(-6, 7), (-4, 15), (-2, 23), (0, 31), (2, 39)]
