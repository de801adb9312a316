"""Rules between sounds in a session, with scores that the test makes up, and in a daemon with the real model."""

import threading
import time
import urllib.request
from collections import Counter

import numpy as np
import pytest

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DetectionConfig, HealthConfig, MetricsConfig, RulesConfig
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info
RATE = 2000


class Seen(SessionObserver):
    """An observer that keeps the numbers of the events that it sees."""

    def __init__(self):
        self.numbers = []

    def event(self, event):
        self.numbers.append(event.id)


def scores_of(window):
    """Return the scores of a window of a recording in which a dog barks each 8 s, and thunder rolls each 6 s."""
    framewise = np.zeros((INFO.steps, len(INFO.labels)), np.float32)
    for label, every in (("Dog", 25), ("Thunder", 19)):
        for i in range(INFO.steps):
            step = round(window.step) + i
            if step >= 0 and step % every in range(4, 8):
                framewise[i, INFO.labels.index(label)] = 0.9
    return framewise


RULES = {"suppress": {"Thunder": {"while": "Dog", "within_s": 5}}, "cooldown_s": {"Dog": 16}}


@pytest.fixture
def listen():
    """Has a session listen for two minutes with a gap; returns the events, call by call, and what is left out."""

    def run(block_s, rules):
        feed, seen = Feed("yard", threading.Event(), live=False), Seen()
        system, rules = SystemClock(time.time(), time.monotonic()), Rules(RulesConfig.model_validate(rules), "yard")
        settings, health = Settings(hop_s=INFO.step_s), HealthConfig(enabled=False)
        session = SourceSession(feed, INFO, settings, health, system, [seen], rules=rules)
        groups = []
        for begin, over in ((0, 60), (61, 120)):
            for at in np.arange(begin, over, block_s):
                length = round(min(block_s, over - at) * RATE)
                windows, _ = session.take(AudioBlock(at, RATE, np.zeros(length, np.float32)))
                groups += [session.settle(window, scores_of(window)) for window in windows]
            groups += [session.settle(window, scores_of(window)) for window in session.flush()]
            groups.append(session.finish())
            session.lose(Gap(over, over + 1, "unplugged"))
        events = [event for group in groups for event in group]
        assert [event.id for event in events] == seen.numbers
        assert session.progress.events == Counter(event.label for event in events if event.type == "start")
        return groups, rules.suppressed

    return run


@pytest.mark.parametrize("block_s", [0.25, 5, 60])
def test_blocks_of_any_length_give_the_same_without_what_is_left_out(block_s, listen):
    whole, none = listen(2, {})
    assert none == {}
    groups, suppressed = listen(block_s, RULES)
    config = RulesConfig.model_validate(RULES)
    rules = Rules(config)
    assert groups == [rules.select(group).reported for group in whole]
    assert suppressed == rules.suppressed
    for kind in ("start", "end"):
        onsets = [(event.label, event.onset) for group in groups for event in group if event.type == kind]
        assert [onset for label, onset in onsets if label == "Dog"] == [1.28, 25.28, 49.28, 70.28, 94.28, 118.28]
        assert [onset for label, onset in onsets if label == "Thunder"] == [31.68, 56.0, 92.68, 117.0]
    assert suppressed == {("cooldown", "Dog"): 10, ("suppress", "Thunder"): 16}


def test_a_daemon_with_a_rule(start_daemon, samples, free_port, wait_for):
    """The recording has speech, dogs, a bull, thunder, ducks: the thunder comes 5 s after the second bark."""
    port, rules = free_port(), {"suppress": {"Thunder": {"while": "Dog", "within_s": 8}}}
    outputs = {"metrics": MetricsConfig(port=port)}
    daemon = start_daemon(rules=RulesConfig.model_validate(rules), outputs=outputs)
    daemon.feed.open(32_000)
    daemon.source.write(samples)
    line = 'htsat_edge_events_suppressed_total{label="Thunder",rule="suppress",source="yard"} 1.0'

    def figures():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode().splitlines()

    wait_for(lambda: line in figures())
    found = [message for message in daemon.end() if message["type"] in ("start", "end")]
    assert {"Speech", "Dog", "Fowl"} < {message["label"] for message in found}
    assert "Thunder" not in {message["label"] for message in found}


@pytest.mark.parametrize("live", [True, False])
def test_quiet_hours_are_for_what_has_a_time_of_day(live, start_daemon, samples):
    rules = {"quiet_hours": [{"from": "00:00", "to": "00:00", "labels": ["Dog", "Speech"]}]}
    labels = DetectionConfig(labels=["Dog", "Speech", "Thunder"])
    daemon = start_daemon(live, rules=RulesConfig.model_validate(rules), detection=labels)
    daemon.feed.open(32_000)
    daemon.source.write(samples[: 19 * 32_000])
    found = {message["label"] for message in daemon.end() if message["type"] == "start"}
    assert found == ({"Thunder"} if live else {"Dog", "Speech", "Thunder"})
