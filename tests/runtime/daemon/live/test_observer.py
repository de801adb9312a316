"""What a session shows to those who watch: columns, scores and levels at their place, for any chunking."""

import base64
import json
import threading
import time

import numpy as np
import pytest

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig
from htsat_edge.runtime.daemon.live.frames import DB_STEP, FLOOR_DB
from htsat_edge.runtime.daemon.live.observer import LiveObserver
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.log_mel import LogMel
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info.model_copy(update={"median_steps": {"Dog": 3}})
RATE = INFO.front_end.sample_rate
DOG = INFO.labels.index("Dog")
SECONDS = 20


class Shown:
    """In place of the server: keeps the frames that it is given."""

    def __init__(self):
        self.connected, self.frames = True, []

    def put(self, make):
        self.frames.append(json.loads(make().encoded))


class Final(SessionObserver):
    """Keeps the final scores."""

    def __init__(self):
        self.rows = []

    def scores(self, start_s, step_s, scores):
        self.rows.append(scores)


def score(window):
    """Scores that follow the level, and differ a little from window to window."""
    steps = window.log_mel.reshape(INFO.steps, -1).mean(axis=1)
    framewise = np.zeros((INFO.steps, len(INFO.labels)), np.float32)
    framewise[:, DOG] = np.clip((steps + 80) / 60 + 0.001 * (window.step % 7), 0, 1)
    framewise[:, 1] = 0.004  # below what is worth while
    return framewise


def listen(samples, block_s, server, observers=()):
    """Pass two recordings with a gap between through a session; return what its observers saw."""
    feed = Feed("yard", threading.Event(), live=False)
    system = SystemClock(1_800_000_000.0 + time.monotonic(), time.monotonic())
    session = SourceSession(feed, INFO, Settings(), HealthConfig(), system, observers)
    session.observers = [*observers, LiveObserver(server, session)]
    messages = []
    for begin in (0, SECONDS + 1):
        for at in np.arange(0, SECONDS, block_s):
            part = samples[round(at * RATE) : round(min(at + block_s, SECONDS) * RATE)]
            for window in session.take(AudioBlock(begin + at, RATE, part))[0]:
                messages += session.settle(window, score(window))
        for window in session.flush():
            messages += session.settle(window, score(window))
        messages += session.finish()
        messages.append(session.lose(Gap(session.end_s, session.end_s + 1, "unplugged"))[0])
    return messages


def columns(frame):
    """Return the columns of a frame in dB, (n, F)."""
    codes = np.frombuffer(base64.b64decode(frame["columns"]), np.uint8)
    return FLOOR_DB + DB_STEP * codes.reshape(-1, frame["mels"])


@pytest.fixture(scope="module")
def seen(samples):
    """The frames, final scores and messages of two recordings, in blocks of 0.1 s."""
    server, final = Shown(), Final()
    messages = listen(samples, 0.1, server, [final])
    return server.frames, np.concatenate(final.rows), messages


def test_the_columns_are_the_log_mel_without_a_hole(seen, samples):
    frames, *_ = seen
    log_mel = LogMel(INFO.front_end)(samples[: SECONDS * RATE])
    wanted = np.clip(log_mel[: len(log_mel) // 2 * 2].reshape(-1, 2, 64).max(axis=1), -100, 27.5)
    for begin in (0, SECONDS + 1):
        own = [frame for frame in frames if begin <= frame["onset"] < begin + SECONDS + 0.5]
        found = [columns(frame) for frame in own]
        for frame, before in zip(own, np.cumsum([0, *map(len, found)]), strict=False):
            assert frame["onset"] == pytest.approx(begin + before * frame["column_s"], abs=0.011)
        assert np.abs(np.concatenate(found) - wanted).max() <= DB_STEP / 2 + 1e-3
    assert {(frame["low_hz"], frame["high_hz"], frame["column_s"]) for frame in frames} == {(50, 14_000, 0.02)}


def test_the_final_scores_are_all_there_and_what_follows_joins_them(seen):
    frames, final, _ = seen
    found, onset = [], {0: 0.0, 1: SECONDS + 1.0}
    for frame in frames:
        newest, part = frame["newest"], int(frame["onset"] > SECONDS + 0.5)
        assert set(newest["scores"]) <= {"Dog"}
        dog = newest["scores"].get("Dog", [])
        assert newest["onset"] == pytest.approx(onset[part])
        found += dog[: newest["final"]]
        onset[part] += newest["final"] * newest["step_s"]
    assert found == pytest.approx(final[:, DOG], abs=1e-4)
    some = frames[30]["newest"]
    assert len(some["scores"]["Dog"]) - some["final"] == 9  # the look-ahead, and what the median waits for
    assert frames[30]["onset"] == pytest.approx(some["onset"] + len(some["scores"]["Dog"]) * 0.32, abs=1.0)


def test_levels_are_those_of_the_session(seen):
    levels = [frame["level_dbfs"] for frame in seen[0]]
    assert levels[0] is None
    assert -70 < levels[-1] < 0


@pytest.mark.parametrize("block_s", [0.013, 1.0, 7.0])
def test_messages_are_the_same_watched_or_not_for_any_chunking(block_s, seen, samples):
    server, final = Shown(), Final()
    server.connected = block_s != 1.0
    messages = listen(samples, block_s, server, [final])
    assert [message.encoded for message in messages if message.type != "status"] == [
        message.encoded for message in seen[2] if message.type != "status"
    ]
    np.testing.assert_array_equal(np.concatenate(final.rows), seen[1])
    if not server.connected:
        assert server.frames == []
        return
    together = np.concatenate([columns(frame) for frame in server.frames])
    np.testing.assert_array_equal(together, np.concatenate([columns(frame) for frame in seen[0]]))


def test_who_begins_to_watch_gets_what_comes_from_then_on(samples):
    class Late(Shown):
        asked = 0

        @property
        def connected(self):
            self.asked += 1
            return self.asked > 500

        @connected.setter
        def connected(self, _):
            pass

    server = Late()
    listen(samples, 0.1, server)
    first = server.frames[0]
    assert first["onset"] > 5
    assert len(columns(first)) < 60
    assert abs(first["newest"]["onset"] + 2.56 - first["onset"]) < 2


def test_without_a_run_of_the_model_memory_is_bounded(samples):
    feed = Feed("yard", threading.Event(), live=False)
    session = SourceSession(feed, INFO, Settings(), HealthConfig(), SystemClock(0, 0))
    observer = LiveObserver(Shown(), session)
    for second in range(100):
        observer.frames(float(second), 0.01, np.zeros((100, 64), np.float32))
        assert len(observer._arrived.log_mels) <= 21
