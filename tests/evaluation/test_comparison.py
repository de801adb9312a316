"""Events that are lost and gained."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.evaluation.comparison import unmatched
from htsat_edge.evaluation.labels import Occurrence, join


def events(*found):
    return tuple(Occurrence(*event) for event in found)


def test_lost_and_gained():
    before = [events((1, 3, "a"), (5, 6, "b")), events((0, 1, "a"))]
    after = [events((2.9, 4, "a"), (6, 7, "b")), events()]
    assert unmatched(before, after) == [(5, 6, "b"), (0, 1, "a")]
    assert unmatched(after, before) == [(6, 7, "b")]


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_unmatched_events_are_those_of_the_slow_obvious_twin(seed):
    rng = np.random.default_rng(seed)

    def draw():
        times = rng.integers(0, 12, (6, 2))
        return join(Occurrence(int(a), int(a + b + 1), str(rng.choice(list("ab")))) for a, b in times // 2)

    own, theirs = draw(), draw()
    wanted = [
        e
        for e in own
        if not any(o.label == e.label and o.onset_s < e.offset_s and e.onset_s < o.offset_s for o in theirs)
    ]
    assert unmatched([own], [theirs]) == wanted
