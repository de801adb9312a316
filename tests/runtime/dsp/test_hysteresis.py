import numpy as np
from htsat_edge.runtime.dsp.hysteresis import Change, Rule, finish, quiet, track
from hypothesis import given, settings
from hypothesis import strategies as st


def rule(threshold=0.5, release=0.3, min_length=1, merge_gap=0, classes=1):
    full = np.full(classes, 1, np.float32)
    return Rule(full * np.float32(threshold), full * np.float32(release), min_length, merge_gap)


def run(scores, rule, sizes=()):
    scores = np.asarray(scores, np.float32)
    scores = scores[:, None] if scores.ndim == 1 else scores
    state, changes = quiet(scores.shape[1]), []
    for part in np.split(scores, np.cumsum(sizes)) if len(sizes) else [scores]:
        state, found = track(state, part, rule)
        changes += found
    return changes + finish(state)


def ended(changes):
    return [(c.label, c.onset, c.offset, c.score) for c in changes if c.type == "end"]


def slow(scores, rule):
    """A twin that sees the whole recording: runs above the release that reach the threshold, merged, then filtered."""
    events = []
    for k in range(scores.shape[1]):
        runs, begin = [], None
        for step, score in enumerate([*scores[:, k], -1.0]):
            if score >= rule.release[k] and begin is None:
                begin = step
            if score < rule.release[k] and begin is not None:
                peak = scores[begin:step, k].max()
                if peak >= rule.threshold[k]:
                    runs.append((begin, step, peak))
                begin = None
        merged = []
        for begin, end, peak in runs:
            if merged and begin - merged[-1][1] <= rule.merge_gap:
                merged[-1] = (merged[-1][0], end, max(peak, merged[-1][2]))
            else:
                merged.append((begin, end, peak))
        events += [(k, *event) for event in merged if event[1] - event[0] >= rule.min_length]
    return sorted(events)


scores_of = st.lists(st.lists(st.sampled_from([0.1, 0.2, 0.35, 0.4, 0.6, 0.9]), min_size=2, max_size=2), max_size=40)


@settings(deadline=None, max_examples=300)
@given(scores_of, st.integers(1, 4), st.integers(0, 4))
def test_events_are_those_of_the_whole_recording(rows, min_length, merge_gap):
    scores = np.array(rows, np.float32).reshape(-1, 2)
    which = rule(min_length=min_length, merge_gap=merge_gap, classes=2)
    assert sorted(ended(run(scores, which))) == slow(scores, which)


@settings(deadline=None)
@given(scores_of, st.lists(st.integers(0, 9), max_size=6))
def test_any_chunking_gives_the_same_events(rows, sizes):
    scores = np.array(rows, np.float32).reshape(-1, 2)
    which = rule(min_length=2, merge_gap=2, classes=2)
    assert run(scores, which, sizes) == run(scores, which)


@settings(deadline=None)
@given(scores_of)
def test_every_end_has_its_start_before_it(rows):
    scores = np.array(rows, np.float32).reshape(-1, 2)
    open_onset = {}
    for change in run(scores, rule(min_length=2, merge_gap=1, classes=2)):
        if change.type == "start":
            assert change.label not in open_onset
            open_onset[change.label] = change.onset
        else:
            assert open_onset.pop(change.label) == change.onset
            assert change.offset > change.onset
    assert not open_onset


def test_hysteresis_reaches_back_to_the_release():
    assert ended(run([0.1, 0.4, 0.6, 0.4, 0.1], rule())) == [(0, 1, 4, np.float32(0.6))]


def test_a_start_comes_as_soon_as_the_event_is_long_enough():
    state, which = quiet(1), rule(min_length=3)
    for step, score in enumerate([0.6, 0.6, 0.6]):
        state, changes = track(state, np.array([[score]], np.float32), which)
        assert [change.type for change in changes] == (["start"] if step == 2 else [])


def test_a_near_run_below_the_threshold_keeps_the_end_open():
    """The gap is one step, but the second run reaches the threshold only later: still one event."""
    assert len(ended(run([0.9, 0.1, 0.4, 0.4, 0.4, 0.9, 0.1], rule(merge_gap=1)))) == 1
    assert len(ended(run([0.9, 0.1, 0.4, 0.4, 0.4, 0.1, 0.9], rule(merge_gap=1)))) == 2


def test_the_peak_so_far():
    assert run([0.6, 0.9, 0.1], rule()) == [
        Change("start", 0, 0, 1, float(np.float32(0.6))),
        Change("end", 0, 0, 2, float(np.float32(0.9))),
    ]
