"""What a session has stored, against the replay of its scores: every event, where none is reported early."""

import threading
import time

import numpy as np
import pytest
from scipy.special import expit

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig, RulesConfig, StoreConfig
from htsat_edge.runtime.daemon.outputs.store import StoreOutput
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.score_recorder import ScoreRecorder
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.overview import overview
from htsat_edge.runtime.tuning.period import replay_period

THRESHOLDS = {
    "Speech": 0.82,
    "Water": 0.62,
    "Bird": 0.49,
    "Explosion": 0.59,
    "Fire": 0.73,
    "Engine": 0.32,
    "Thunder": 0.51,
    "Wind": 0.84,
    "Hammer": 0.53,
    "Screaming": 0.68,
    "Sheep": 0.29,
    "Cattle, bovinae": 0.39,
    "Walk, footsteps": 0.15,
    "Fowl": 0.36,
    "Rain": 0.5,
    "Dog": 0.37,
}
"""Of sixteen classes. Which events the walks below make depends on them."""
OTHERS = {"labels": [*THRESHOLDS], "thresholds": THRESHOLDS, "median_steps": {}, "levels": None}
INFO = load_bundle(BUNDLED).info.model_copy(update=OTHERS)
RATE, OVER_S = 2000, 240
RNG = np.random.default_rng(3)
LOGITS = np.cumsum(RNG.normal(0, 0.6, (2 * OVER_S * 4, len(INFO.labels))), axis=0) % 9 - 5
WALKS = expit(LOGITS).astype(np.float32)
"""Scores that cross every limit often."""
RULES = {"suppress": {"Thunder": {"while": ["Dog", "Rain"], "within_s": 2}}, "cooldown_s": {"Dog": 16, "Bird": 7.5}}


def hear(path, settings, rules, scores_of):
    """Have a session listen to two recordings with a gap between, and store all."""
    feed, system = Feed("yard", threading.Event(), live=False), SystemClock(time.time(), time.monotonic())
    output = StoreOutput(StoreConfig(path=path))
    session = SourceSession(
        feed, INFO, settings, HealthConfig(enabled=False), system, rules=Rules(RulesConfig.model_validate(rules))
    )
    session.observers = [ScoreRecorder(output, session)]
    output.start()
    for begin in (0, OVER_S + 1):
        messages = []
        for at in range(begin, begin + OVER_S, 2):
            windows, _ = session.take(AudioBlock(at, RATE, np.zeros(2 * RATE, np.float32)))
            messages += [one for window in windows for one in session.settle(window, scores_of(window, begin))]
        messages += [one for window in session.flush() for one in session.settle(window, scores_of(window, begin))]
        for message in [*messages, *session.finish()]:
            output.offer(message)
        session.lose(Gap(begin + OVER_S, begin + OVER_S + 1, "unplugged"))
    output.close()


def walks(window, begin):
    steps = np.clip(round(window.step) + np.arange(INFO.steps), 0, None)
    return WALKS[steps + begin]


def barks(window, _):
    """Return scores of a dog each 100 steps, of which each second time only the newest windows are sure."""
    steps = round(window.step) + np.arange(INFO.steps)
    newest = np.arange(INFO.steps) >= INFO.steps - INFO.steps // 16 - 2
    framewise = np.zeros((INFO.steps, len(INFO.labels)), np.float32)
    bark = (steps % 100 >= 40) & (steps % 100 < 42) & (newest | (steps // 100 % 2 == 0))
    framewise[bark, INFO.labels.index("Dog")] = 0.95
    return framewise


@pytest.mark.parametrize("rules", [{}, RULES], ids=["no rules", "rules"])
def test_the_replay_at_todays_thresholds_gives_exactly_the_stored_events(tmp_path, rules):
    path, settings = tmp_path / "store.db", Settings(early_margin=None, hop_s=INFO.step_s, confirm_s={"Dog": 1.0})
    began = time.time()
    hear(path, settings, rules, walks)
    setup, rules = Setup.of(INFO, settings), RulesConfig.model_validate(rules)
    thresholds = dict(zip(setup.labels, (np.float32([x]) for x in setup.thresholds), strict=True))
    with StoreReader(path) as reader:
        span = "yard", began - 1000, time.time() + 1000
        keep = {label: [0] for label in thresholds}
        period = replay_period(reader, *span, setup, thresholds, keep=keep, rules=rules)
        stored = reader.events_within(*span)
        found = overview(reader, *span, rules)
    replayed = {}
    for label, kept in period.kept.items():
        for run, spans in zip(period.runs, kept[0], strict=True):
            for onset, offset, peak in zip(spans.onset, spans.offset, spans.peak, strict=True):
                end = min(run.position(int(offset)), run.onset + OVER_S)  # the last step ends after the recording
                replayed[label, run.position(int(onset)), end] = float(SCORES[peak])
    assert len(stored) > 100
    assert set(replayed) == {(event.label, event.onset, event.offset) for event in stored}
    for event in stored:
        assert replayed[event.label, event.onset, event.offset] == pytest.approx(event.score, abs=0.007)
    assert sum(one.early for one in found.classes) == 0
    assert {one.label: one.rate.count for one in found.classes} == {one.label: one.events for one in found.classes}
    assert found.listened_h == pytest.approx(2 * OVER_S / 3600, rel=0.001)


def test_early_starts_that_were_not_borne_out_are_counted(tmp_path):
    path, began = tmp_path / "store.db", time.time()
    hear(path, Settings(hop_s=INFO.step_s), {}, barks)
    with StoreReader(path) as reader:
        found = overview(reader, "yard", began - 1000, time.time() + 1000)
    (dog,) = (one for one in found.classes if one.label == "Dog")
    assert (dog.events, dog.early) == (16, 8)
    assert 16 <= dog.rate.count <= 18
