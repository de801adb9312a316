"""Half an hour of the soak (python tests/soak.py --hours 24 is the whole), and two hundred faults."""

import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.daemon.config import MqttConfig, StoreConfig, WebhookConfig

SOAK = Path(__file__).parents[2] / "soak.py"
FAULTS = 200
RATE = 32_000


def test_half_an_hour_loses_nothing_and_gives_the_events_of_a_detector():
    done = subprocess.run([sys.executable, SOAK, "--hours", "0.5"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["same"]
    assert found["messages"] > 1000


class Faults:
    """Audio for a daemon, and faults of its outputs and its source; counts what was heard and what was lost."""

    def __init__(self, started, samples, link, database, broker, server, wait_for):
        self._source, self._feed = started.source, started.feed
        self._senders, self._wait_for = started.parts.publisher.senders, wait_for
        self._recordings = {RATE: samples, RATE // 2: np.ascontiguousarray(samples[::2])}
        self._link, self._real, self._database = link, link.readlink(), database
        self._broker, self._server, self._broker_runs = broker, server, True
        self._random, self._rate = random.Random(0), RATE
        self.heard_s = self.lost_s = 0.0
        self._feed.open(RATE)

    def write(self, seconds):
        """Write a part of the recording as fast as it is read."""
        recording = self._recordings[self._rate]
        at = self._random.randrange(len(recording))
        self._source.write(recording.take(range(at, at + round(seconds * self._rate)), mode="wrap"), self._rate)
        self.heard_s += round(seconds * self._rate) / self._rate

    def any(self):
        """Write some audio, and let one of the faults happen."""
        self.write(self._random.choice([0.2, 3.0, 12.0]))
        self._random.choice(
            [
                self.kill_or_start_broker,
                self.let_webhook_fail,
                self.let_webhook_hang,
                self.fill_disk,
                self.lock_database,
                self.lose,
                self.write_no_numbers,
                self.change_rate,
            ]
        )()

    def mend(self):
        """End the faults that last."""
        if not self._broker_runs:
            self.kill_or_start_broker()
        self._server.answers.clear()

    def kill_or_start_broker(self):
        if self._broker_runs:
            self._broker.kill()
        else:
            self._broker.start()
        self._broker_runs = not self._broker_runs

    def let_webhook_fail(self):
        self._server.answers.extend([(503, 0)] * self._random.randrange(1, 4))

    def let_webhook_hang(self):
        self._server.answers.append((503, 0.5))

    def fill_disk(self):
        self._point_link("/dev/full")
        self._wait_for_failure("json_lines")
        self._point_link(self._real)

    def lock_database(self):
        with closing(sqlite3.connect(self._database, timeout=5)) as other:
            other.execute("BEGIN EXCLUSIVE")
            self._wait_for_failure("store")
            other.rollback()

    def lose(self):
        self._lose(self._random.randrange(1, 8 * self._rate))

    def write_no_numbers(self):
        self._feed.write(np.full(800, self._random.choice([np.nan, np.inf, 3e38]), np.float32))
        self.lost_s += 800 / self._rate
        self.write(1.0)  # others within a second are the same gap

    def change_rate(self):
        gap_s = self._random.randrange(5) / 4
        self._rate = RATE // 2 if self._rate == RATE else RATE
        self._feed.open(self._rate, gap_s, "another device")
        self.lost_s += gap_s

    def _lose(self, length):
        self._feed.skip(length / self._rate, "the device was not read in time")
        self.lost_s += length / self._rate

    def _point_link(self, target):
        new = self._link.with_name("new")
        new.symlink_to(target)
        new.replace(self._link)

    def _wait_for_failure(self, output):
        """Give the outputs a gap to send, and wait until one of them has failed at it."""
        sender = next(sender for sender in self._senders if sender.name.startswith(output))
        before = sender.failures
        self._lose(1)
        self._wait_for(lambda: sender.failures > before)


@pytest.fixture
def quick(short_pauses, monkeypatch):
    """Shortens waiting for a locked database; gives outputs time for all that is queued at the end."""
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 60.0)
    monkeypatch.setattr("htsat_edge.runtime.store.database.BUSY_S", 0.05)


def test_two_hundred_faults_lose_nothing_that_is_not_reported(
    start_daemon, samples, tmp_path, broker, server, wait_for, read_lines, quick
):
    """Broker killed, webhook failing and hanging, disk full, database locked, samples lost, no numbers, other rates.

    SIGHUP with a bad file and kill -9 have tests of their own, since they need a process of their own.
    """
    link, real, database = tmp_path / "messages.jsonl", tmp_path / "real.jsonl", tmp_path / "events.db"
    real.touch()
    link.symlink_to(real)
    started = start_daemon(
        outputs={
            "store": StoreConfig(path=database),
            "mqtt": MqttConfig(host="127.0.0.1", port=broker.port, discovery=None),
            "webhook": WebhookConfig(url=server.url, timeout_s=0.3),
        }
    )
    faults = Faults(started, samples, link, database, broker, server, wait_for)
    for _ in range(FAULTS):
        faults.any()
        assert started.thread.is_alive()
    faults.write(12.0)
    faults.mend()
    started.feed.end()
    started.thread.join(120)
    assert not started.thread.is_alive()
    written, posted = read_lines(real), [content for content, _ in server.got]
    # An output does not get what is reported about itself; here is all of it.
    messages = [*written, *(message for message in posted if concerns(message, "json_lines"))]
    assert in_order(posted) == in_order(message for message in messages if not concerns(message, "webhook"))
    check_coverage(started.parts.sessions[0].all_time, messages, faults)
    check_senders(started.parts.publisher.senders, messages)
    check_store(database, messages)
    assert link.readlink() == real


def concerns(message, output):
    """Whether a message reports something about an output."""
    return message.get("output", "").startswith(output)


def in_order(messages):
    """The messages as sorted JSON, to be compared whatever their order."""
    return sorted(json.dumps(message) for message in messages)


def check_coverage(coverage, messages, faults):
    """Check that every gap was reported, and every event ended."""
    gaps = [message for message in messages if message["type"] == "gap"]
    assert sum(gap["offset"] - gap["onset"] for gap in gaps) == pytest.approx(faults.lost_s, abs=2e-4 * len(gaps))
    assert coverage.lost_s == pytest.approx(faults.lost_s, abs=1e-6)
    assert coverage.heard_s == pytest.approx(faults.heard_s, abs=1e-6)
    assert coverage.gaps == len(gaps) > 40
    starts, ends = ([(m["id"], m["label"]) for m in messages if m["type"] == kind] for kind in ("start", "end"))
    assert sorted(starts) == sorted(ends)  # an end may correct the onset
    assert sorted(number for number, _ in starts) == list(range(1, len(starts) + 1))
    assert all(m["onset"] < m["offset"] for m in messages if m["type"] == "end")


def check_senders(senders, messages):
    """Check that every output has had faults, and has sent every message once in spite of them."""
    assert len(messages) > 300
    for sender in senders:
        # A broker that is away is waited for, which is no failure before 5 s.
        assert sender.failures > 0 or sender.name.startswith("mqtt"), f"{sender.name}: no fault has met it"
        # The broker has taken all of it, too, though its subscriber was not always connected.
        wanted = sum(not concerns(message, sender.name) for message in messages)
        assert (sender.sent, sender.dropped) == (wanted, 0), sender.name


def check_store(path, messages):
    """Check that the store has every event, gap and status once."""
    with closing(sqlite3.connect(path)) as database:
        events = database.execute("SELECT number, label, onset, offset, score FROM events ORDER BY number").fetchall()
        gaps = database.execute("SELECT onset, offset, reason FROM gaps ORDER BY number").fetchall()
        statuses = [json.loads(text) for (text,) in database.execute("SELECT message FROM statuses")]

    def values(kind, *names):
        return [tuple(message[name] for name in names) for message in messages if message["type"] == kind]

    assert events == sorted(values("end", "id", "label", "onset", "offset", "score"))
    assert gaps == values("gap", "onset", "offset", "reason")
    wanted = [message for message in messages if message["type"] == "status" and not concerns(message, "store")]
    assert in_order(statuses) == in_order(wanted)
