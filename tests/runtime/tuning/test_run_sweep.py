"""The vectorised replay against the hysteresis itself, step by step: every event, whatever the scores and limits."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.hysteresis import advance, initial_state
from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.plan import SweepPlan, release_of
from htsat_edge.runtime.tuning.run_sweep import RunSweep
from htsat_edge.runtime.tuning.sweep import NEVER, Codes

LABELS = ["Animal", "Bird", "Dog", "Owl"]
LEVELS = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.5, 0.7, 0.9]
"""Of scores, around thresholds and releases."""


def twin(rule, k, codes):
    """Return what the hysteresis finds of a class: onset, offset, peak, and when start and end were known."""
    state, found, open_ = initial_state(codes.shape[1]), [], None
    for step, row in enumerate(SCORES[codes]):
        state, starts, ends = advance(state, row, rule)
        open_ = step if starts[k] else open_
        if ends[k]:
            found.append((state.onset[k], state.offset[k], state.peak[k], open_, step))
    if state.started[k]:
        found.append((state.onset[k], state.offset[k], state.peak[k], open_, NEVER))
    return [(int(a), int(b), float(c), int(d), int(e)) for a, b, c, d, e in found]


@st.composite
def scenes(draw):
    """A setup, codes (n, C), thresholds to try, and where the codes are cut."""
    classes, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**20))
    pairs = [(b, a) for a in range(classes) for b in range(a + 1, classes)]
    limits = [draw(st.sampled_from([0.1, 0.2, 0.3, 0.5])) for _ in range(classes)]
    share = draw(st.sampled_from([0.5, 0.6, 1.0]))
    setup = Setup(
        model="four",
        step_s=0.32,
        labels=LABELS[:classes],
        thresholds=limits,
        releases=[float(str(np.float32(x) * np.float32(share))) for x in limits],
        min_length=draw(st.integers(1, 3)),
        confirm=[draw(st.integers(0, 4)) for _ in range(classes)],
        merge_gap=draw(st.integers(0, 3)),
        below=draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1)) if pairs else [],
    )
    rng, steps = np.random.default_rng(seed), draw(st.integers(5, 100))
    levels = np.searchsorted(SCORES, np.float32(LEVELS)).astype(np.uint8)
    quiet = rng.uniform(size=(steps, classes)) < draw(st.sampled_from([0, 0.4, 0.8]))
    codes = np.where(quiet, 0, levels[rng.integers(0, len(LEVELS), (steps, classes))]).astype(np.uint8)
    cuts = sorted({*rng.integers(1, steps, draw(st.integers(0, 5))).tolist(), steps})
    return setup, codes, np.float32([0.15, 0.5]), cuts


def swept(setup, codes, tried, cuts):
    """Return the events by class and threshold."""
    plan = SweepPlan.of(setup, tried)
    floors, sweep, found, begin = plan.floors(), RunSweep(plan), {}, 0
    for cut in cuts:
        part = {}
        for k in range(codes.shape[1]):
            steps = begin + np.flatnonzero(codes[begin:cut, k] >= floors[k])
            part[k] = Codes(steps, codes[steps, k])
        for k, i, spans in sweep.push(part, cut, cut == cuts[-1]):
            rows = zip(spans.onset, spans.offset, spans.peak, spans.started, spans.closed, strict=True)
            events = [(int(a), int(b), float(SCORES[c]), int(d), int(e)) for a, b, c, d, e in rows]
            found.setdefault((k, i), []).extend(events)
        begin = cut
    return found


def test_a_class_that_waits_to_the_end_has_no_event():
    """At the last step there is an animal, which may yet be a dog."""
    setup = Setup(
        model="two",
        step_s=0.32,
        labels=["Animal", "Dog"],
        thresholds=[0.5, 0.5],
        releases=[0.3, 0.3],
        min_length=1,
        confirm=[0, 0],
        merge_gap=1,
        below=[(1, 0)],
    )
    scores = np.float32([[0, 0], [0.6, 0.4]])
    codes = np.searchsorted(SCORES, scores).astype(np.uint8)
    assert twin(setup.rule(), 0, codes) == []
    assert swept(setup, codes, {"Animal": np.float32([0.5])}, [2]) == {}


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_every_event_is_that_of_the_hysteresis_however_the_scores_are_cut(scene):
    setup, codes, tried, cuts = scene
    found = swept(setup, codes, dict.fromkeys(setup.labels, tried), cuts)
    rule = setup.rule()
    for k, label in enumerate(setup.labels):
        for i, threshold in enumerate(tried):
            thresholds, releases = rule.threshold.copy(), rule.release.copy()
            thresholds[k], releases[k] = threshold, release_of(setup, label, tried[[i]])[0]
            wanted = twin(replace(rule, threshold=thresholds, release=releases), k, codes)
            assert found.get((k, i), []) == wanted, (label, threshold)
