"""The level in a source's messages: in the same order and with the same numbers however the samples come."""

import threading
import time

import numpy as np
import pytest

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig, LevelConfig, LevelEventConfig, RulesConfig
from htsat_edge.runtime.daemon.messages import LevelStatus
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info
RATE = 8000
LEVEL = LevelConfig(every_s=5, offset_db=100, event=LevelEventConfig(above_db=85))


class Seen(SessionObserver):
    """An observer that keeps the events."""

    def __init__(self):
        self.events = []

    def event(self, event):
        self.events.append(event)


def make_session(level=LEVEL, rules=Rules(), observers=(), health=HealthConfig(enabled=False), hop_s=1.28):
    system = SystemClock(1_800_000_000.0 + time.monotonic(), time.monotonic())
    feed = Feed("yard", threading.Event(), live=False)
    return SourceSession(feed, INFO, Settings(hop_s=hop_s), health, system, observers, rules, level)


def bangs():
    """32 s of a quiet tone with three bangs."""
    times = np.arange(32 * RATE) / RATE
    gains = np.where((times % 10 > 7) & (times % 10 < 7.5), 0.5, 0.001)
    return (gains * np.sin(2 * np.pi * 1000 * times)).astype(np.float32)


def dog_at(window):
    """Scores of a dog that barks from 14.08 s to 16 s."""
    framewise = np.zeros((INFO.steps, len(INFO.labels)), np.float32)
    steps = window.step + np.arange(INFO.steps)
    framewise[(steps >= 44) & (steps < 50), INFO.labels.index("Dog")] = 0.9
    return framewise


def listen(session, samples, block, start_s=0.0):
    """Return the messages of detection and of the level."""
    messages = []
    for at in range(0, len(samples), block):
        windows, _ = session.take(AudioBlock(start_s + at / RATE, RATE, samples[at : at + block]))
        messages += [message for window in windows for message in session.settle(window, dog_at(window))]
    messages += [message for window in session.flush() for message in session.settle(window, dog_at(window))]
    return messages + session.finish()


def test_blocks_of_any_length_give_the_same_messages():
    seen = Seen()
    whole = listen(make_session(observers=[seen]), bangs(), 32 * RATE)
    events = [message for message in whole if isinstance(message, Event)]
    assert seen.events == events
    assert sorted({(event.id, event.label) for event in events}) == [
        (1, "Loud sound"),
        (2, "Dog"),
        (3, "Loud sound"),
        (4, "Loud sound"),
    ]
    levels = [message for message in whole if isinstance(message, LevelStatus)]
    assert [(level.onset, level.offset) for level in levels] == [
        *((start, start + 5.0) for start in range(0, 30, 5)),
        (30.0, 32.0),
    ]
    for block in (RATE // 10, 3333):
        found = listen(make_session(), bangs(), block)
        assert [message.encoded for message in found] == [message.encoded for message in whole]


@pytest.mark.parametrize("hop_s", [None, 0.64, 10.24])
def test_blocks_of_any_length_give_the_same_order(hop_s):
    """A level waits for the window that heard as much of the audio, of which the end mirrors what was heard."""
    whole = listen(make_session(hop_s=hop_s), bangs(), 32 * RATE)
    for block in (RATE // 10, 3333):
        found = listen(make_session(hop_s=hop_s), bangs(), block)
        assert [message.encoded for message in found] == [message.encoded for message in whole]


def test_rules_are_for_level_events_too():
    rules = Rules(RulesConfig(suppress={"Loud sound": {"while": "Dog", "within_s": 5}}))
    messages = listen(make_session(rules=rules), bangs(), RATE)
    loud = [message.onset for message in messages if isinstance(message, Event) and message.label == "Loud sound"]
    assert loud == [7.0, 7.0, 27.0, 27.0]
    assert rules.suppressed["suppress", "Loud sound"] == 1


def test_a_gap_ends_a_level_event_and_a_span():
    session = make_session()
    messages = listen(session, bangs()[: round(7.4 * RATE)], RATE)
    assert messages[-3].onset == messages[-2].onset == 7.0
    assert messages[-2].offset == 7.375
    assert (messages[-1].onset, messages[-1].offset) == (5.0, 7.0)
    session.lose(Gap(7.4, 9.0, "unplugged"))
    (rest,) = listen(session, bangs()[: 2 * RATE], RATE, start_s=9.0)
    assert (rest.onset, rest.offset) == (9.0, 11.0)


def test_what_was_measured_before_a_failure_is_reported():
    session = make_session()
    session.take(AudioBlock(0.0, RATE, bangs()[: round(7.4 * RATE)]))
    messages = session.abandon(RuntimeError("a loose cable"))
    assert [message.type for message in messages[:2]] == ["start", "end"]
    assert [message.offset for message in messages if isinstance(message, LevelStatus)] == [5.0, 7.0]


def test_the_level_without_health_is_that_of_the_meter():
    session = make_session()
    assert session.level_dbfs == -np.inf
    listen(session, bangs(), RATE)
    assert session.level_dbfs == pytest.approx(-63.01, abs=0.01)
    assert make_session(level=LevelConfig()).level_dbfs == -np.inf
