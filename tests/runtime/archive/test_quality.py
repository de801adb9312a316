import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.archive.quality import QualityMeter, join

RATE = 1000


def slow(frames):
    """Silent seconds and drop-outs of frames (S, channels), one sample after the other."""
    runs, run = [], 1
    for before, now in itertools.pairwise(frames):
        if (before == now).all():
            run += 1
        else:
            runs.append(run)
            run = 1
    runs = [length / RATE for length in [*runs, run] if length > 1]
    return round(sum(x for x in runs if x >= 1), 3), sum(0.01 <= x < 1 for x in runs)


def measure(frames, borders, size, early=5):
    """The quality from spans between borders, in chunks of a size, each with a run-in."""
    parts, edges = [], [0, *borders, len(frames)]
    for first, last in itertools.pairwise(edges):
        begin = max(first - early, 0)
        meter = QualityMeter(RATE, first - begin, last - begin)
        for at in range(begin, len(frames), size):
            meter.push(frames[at : at + size])
        parts.append(meter.finish())
    return join(parts, RATE, frames.shape[1])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from([1, 2, 9, 10, 11, 400, 999, 1000, 2500])), max_size=8),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([1, 7, 1000, 5000]),
    st.integers(1, 2),
    st.integers(0, 9),
)
def test_any_spans_and_chunks_count_what_one_sample_after_the_other_counts(runs, seconds, size, channels, seed):
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(0, 0.1, (100, channels))]
    for moving, still in runs:
        pieces += [rng.normal(0, 0.1, (moving, channels)), np.repeat(rng.normal(0, 0.1, (1, channels)), still, axis=0)]
    frames = np.concatenate(pieces).astype(np.float32)
    borders = sorted(min(RATE * second, len(frames)) for second in seconds)
    found = measure(frames, borders, size)
    assert found == measure(frames, [], len(frames))
    assert (found.silent_s, found.dropouts) == slow(frames)
    assert found.samples == frames.size
    assert found.power == pytest.approx(float(np.square(frames, dtype=np.float64).sum()), abs=1e-4)
    assert found.peak == np.abs(frames).max()


def test_full_scale_is_that_of_16_bits_on_both_sides():
    frames = np.array([[32767 / 32768], [-1.0], [32766 / 32768], [1.5], [0.0]], np.float32)
    found = measure(frames, [], 2)
    assert (found.clipped, found.peak) == (3, 1.5)


def test_a_recording_of_nothing_is_silent_as_a_whole():
    frames = np.zeros((5 * RATE, 2), np.float32)
    assert measure(frames, [2000, 4000], 1000).silent_s == 5.0
