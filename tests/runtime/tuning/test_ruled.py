"""Replayed events against the rules as a session has them, step by step."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.dsp.tracker import EventTracker
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.tuning import heard, period

LABELS = ["Cat", "Dog", "Vacuum"]
STEP_S, BEGIN = 0.32, datetime(2026, 5, 1, tzinfo=timezone.utc)
TRIED = np.float32([0.3, 0.5, 0.8])
LEVELS = np.searchsorted(SCORES, np.float32([0, 0.1, 0.2, 0.35, 0.6, 0.9])).astype(np.uint8)


@st.composite
def rule_sets(draw):
    rules = {}
    if draw(st.booleans()):
        while_ = draw(st.sampled_from([["Vacuum"], ["Cat", "Vacuum"]]))
        rules["suppress"] = {"Dog": {"while": while_, "within_s": draw(st.sampled_from([0, 1, 3]))}}
    if draw(st.booleans()):
        rules["cooldown_s"] = draw(st.sampled_from([{"Dog": 2}, {"Dog": 6, "Cat": 1}, 4]))
    if draw(st.booleans()):
        rules["quiet_hours"] = [{"from": "00:00", "to": "00:01", "labels": draw(st.sampled_from([["Dog"], ["Cat"]]))}]
    return RulesConfig.model_validate(rules)


def heard_by_session(setup, rule, runs, config):
    """Return onsets, by label, of what a session reports of runs (session, onset, codes)."""
    found, rules, session = {}, None, None
    for uid, origin, codes in runs:
        if uid != session:
            rules, session = Rules(config, "yard"), uid
        tracker = EventTracker(
            setup.labels, STEP_S, rule, count(), origin_s=origin, time_of=lambda s: BEGIN + timedelta(seconds=s)
        )
        calls = [tracker.push(SCORES[row][None]) for row in codes]
        for event in (one for call in [*calls, tracker.flush()] for one in rules.select(call).reported):
            if isinstance(event, EventStart):
                found.setdefault(event.label, []).append(event.onset)
        rules.interrupt(origin + len(codes) * STEP_S)
    return found


@pytest.fixture
def check(tmp_path, planted, make_setup, monkeypatch):
    """Compares what a replay and a session make of scores."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(heard, "MOST_CODES", 50)

    def compare(config, lengths, seed, of_two):
        planted.path = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}.db"
        setup, rng = make_setup(LABELS, min_length=2), np.random.default_rng(seed)
        runs, onset = [], 0.0
        for n, length in enumerate(lengths):
            codes = LEVELS[np.repeat(rng.integers(0, 6, (length, 3)), 2, axis=0)]
            runs.append((f"s{n % of_two}" if of_two > 1 else "s0", onset, codes))
            planted.add(setup, codes, onset, uid=runs[-1][0], rows=30)
            onset += (len(codes) + 5) * STEP_S
        runs.sort(key=lambda run: run[0])
        tried = dict.fromkeys(LABELS, TRIED)
        keep = {label: range(3) for label in LABELS}
        with StoreReader(planted.path) as reader:
            span = "yard", BEGIN.timestamp() - 10, BEGIN.timestamp() + 10_000
            result = replay_with(reader, *span, setup, tried, keep, config)
        rule = setup.rule()
        for k, label in enumerate(LABELS):
            for i, threshold in enumerate(TRIED):
                limits = [rule.threshold.copy(), rule.release.copy()]
                limits[0][k], limits[1][k] = threshold, threshold * np.float32(0.6)
                wanted = heard_by_session(setup, replace(rule, threshold=limits[0], release=limits[1]), runs, config)
                found = zip(result.runs, result.kept[label][i], strict=True)
                onsets = [run.position(int(step)) for run, spans in found for step in spans.onset]
                assert onsets == pytest.approx(wanted.get(label, []), abs=2e-4), (label, threshold)
                assert result.peaks[label][i].sum() == len(onsets)

    return compare


def replay_with(reader, source, from_at, to_at, setup, tried, keep, config):
    return period.replay_period(reader, source, from_at, to_at, setup, tried, keep=keep, rules=config)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule_sets(), st.lists(st.integers(5, 60), min_size=1, max_size=3), st.integers(0, 1000), st.integers(1, 2))
def test_what_is_reported_is_what_a_session_reports(check, config, lengths, seed, of_two):
    check(config, lengths, seed, of_two)


def test_a_threshold_with_more_events_than_anybody_wants_is_not_looked_at(planted, make_setup, monkeypatch):
    monkeypatch.setattr(period, "MOST_RULED", 20)
    setup = make_setup(["Dog"])
    codes = np.zeros((4000, 1), np.uint8)
    codes[::20], codes[::200] = np.searchsorted(SCORES, 0.4), 250
    planted.add(setup, codes)
    with StoreReader(planted.path) as reader:
        span = "yard", BEGIN.timestamp(), BEGIN.timestamp() + 2000
        result = replay_with(
            reader, *span, setup, {"Dog": TRIED}, {}, RulesConfig.model_validate({"cooldown_s": {"Dog": 100}})
        )
    assert result.crowded == {"Dog": {0}}
    assert result.peaks["Dog"].sum(axis=1).tolist() == [0, 10, 10]
