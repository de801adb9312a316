"""Samples that are no numbers become gaps: the same for any chunking, and as a slow twin says that looks at each."""

import numpy as np
import pytest

from htsat_edge.runtime.daemon.sources.sieve import LONGEST_S, Sieve

RATE = 100


def sift(samples, sizes):
    """Return runs of valid samples joined, and lost counts between them, for chunks of these sizes in turn."""
    sieve, found, at, number = Sieve(RATE), [np.empty(0, np.float32)], 0, 0
    while at < len(samples):
        size = sizes[number % len(sizes)]
        parts = list(sieve.push(samples[at : at + size]))
        at, number = at + size, number + 1
        if at >= len(samples):
            parts += sieve.flush()
        for part in parts:
            if isinstance(part, int):
                found += [part, np.empty(0, np.float32)]
            else:
                found[-1] = np.concatenate([found[-1], part])
    return [part if isinstance(part, int) else part.tolist() for part in found]


def slow_twin(samples):
    """Look at one sample after the other: invalid ones less than a second apart are lost with what lies between."""
    invalid = [n for n, x in enumerate(samples) if not -32 <= x <= 32]
    spans = []
    for n in invalid:
        if spans and n - spans[-1][1] - 1 < RATE:
            spans[-1][1] = n
        else:
            spans.append([n, n])
    found, at = [[]], 0
    for first, last in spans:
        found[-1] += samples[at:first].tolist()
        found += [last + 1 - first, []]
        at = last + 1
    found[-1] += samples[at:].tolist()
    return found


@pytest.mark.parametrize("seed", range(20))
def test_any_chunking_gives_what_the_slow_twin_gives(seed):
    rng = np.random.default_rng(seed)
    samples = np.arange(3000, dtype=np.float32) / 100
    for _ in range(rng.integers(0, 12)):
        at, length = rng.integers(3000), rng.integers(1, 150)
        samples[at : at + length : rng.integers(1, 60)] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -32.1])
    wanted = slow_twin(samples)
    for sizes in ([1], [3000], [100], rng.integers(1, 400, 7).tolist()):
        assert sift(samples, sizes) == wanted, sizes


def test_a_span_without_end_is_reported_by_the_minute():
    samples = np.full(round(2.5 * LONGEST_S * RATE), np.nan, np.float32)
    for sizes in ([50], [len(samples)]):
        assert [part for part in sift(samples, sizes) if part] == [6000, 6000, 3000]


def test_what_is_lost_at_present():
    sieve = Sieve(RATE)
    assert sieve.lost == 0
    list(sieve.push(np.full(30, np.nan, np.float32)))
    list(sieve.push(np.zeros(50, np.float32)))
    assert sieve.lost == 80
    list(sieve.push(np.zeros(50, np.float32)))
    assert sieve.lost == 0


def test_the_loudest_that_is_a_number():
    samples = np.array([32, -32, 0, 1, -1], np.float32)
    assert sift(samples, [5]) == [samples.tolist()]
