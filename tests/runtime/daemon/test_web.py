"""A daemon with a page that does its worst: it costs no sample and no message."""

import json
import os
import socket
import sqlite3
import threading
from contextlib import closing

import pytest

from htsat_edge.runtime.daemon.config import ClipsConfig, DetectionConfig, RulesConfig, StoreConfig, WebConfig

RATE = 32_000
SELDOM = DetectionConfig(hop_s=1.28, thresholds={"Dog": 0.3})
"""The model takes the time here. Both barks are above this threshold."""


class Hostile:
    """Connects again and again: some never read, some write, some go in the midst of a line."""

    def __init__(self, path):
        self._path, self._stop, self.deaf = str(path), threading.Event(), []
        self.connected = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.002):
            one = socket.socket(socket.AF_UNIX)
            one.settimeout(5)
            try:
                one.connect(self._path)
                self.connected += 1
                if self.connected % 3 == 0:
                    one.sendall(os.urandom(1000))
                elif self.connected % 3 == 1:
                    one.recv(7)
                else:
                    self.deaf.append(one)
                    continue
            except OSError:
                pass
            one.close()

    def close(self):
        self._stop.set()
        self._thread.join()
        for one in self.deaf:
            one.close()


@pytest.fixture
def hear(start_daemon, samples, tmp_path, wait_for):
    """Runs a daemon on the recording; returns its messages and its session."""

    def run(web, disturb=None):
        outputs = {
            "store": StoreConfig(path=tmp_path / "events.db"),
            "clips": ClipsConfig(folder=tmp_path / "clips"),
        }
        sections = {"web": WebConfig(start=False)} if web else {}
        rules = RulesConfig.model_validate({"cooldown_s": {"Dog": 3}})
        daemon = start_daemon(outputs=outputs, rules=rules, detection=SELDOM, **sections)
        disturbing = disturb(tmp_path / "events.db.live") if disturb else None
        try:
            daemon.feed.open(RATE)
            daemon.source.write(samples)
            if disturbing:
                wait_for(lambda: disturbing.connected > 10, 60)
            daemon.source.write(samples)
            messages = daemon.end()
        finally:
            if disturbing:
                disturbing.close()
        (tmp_path / "messages.jsonl").unlink()
        assert all(sender.dropped == sender.undelivered == 0 for sender in daemon.parts.publisher.senders)
        return messages, daemon.parts.sessions[0]

    return run


def test_messages_are_the_same_with_and_without_it_and_no_sample_is_lost(hear, samples, tmp_path):
    alone, _ = hear(web=False)
    watched, session = hear(web=True, disturb=Hostile)
    assert [json.dumps(message) for message in watched] == [json.dumps(message) for message in alone]
    assert sum(message["type"] == "start" for message in alone) > 5
    assert session.all_time.heard_s == pytest.approx(2 * len(samples) / RATE)
    assert (session.all_time.lost_s, session.all_time.gaps) == (0, 0)
    assert not (tmp_path / "events.db.live").exists()
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        steps = database.execute("SELECT sum(steps) FROM scores GROUP BY session").fetchall()
        left_out = database.execute("SELECT label, rule FROM left_out GROUP BY session, label, rule").fetchall()
        clips = {name for (name,) in database.execute("SELECT name FROM clips")}
    assert steps[0] == steps[1]
    assert steps[0][0] == pytest.approx(2 * len(samples) / RATE / 0.32, abs=3)
    assert left_out == [("Dog", "cooldown")] * 2
    assert clips == {path.name for path in (tmp_path / "clips").iterdir()}


def test_who_watches_gets_frames_and_every_message(start_daemon, samples, tmp_path, wait_for):
    outputs = {"store": StoreConfig(path=tmp_path / "events.db")}
    daemon = start_daemon(outputs=outputs, web=WebConfig(start=False), detection=SELDOM)
    got = []
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(tmp_path / "events.db.live"))
        lines = one.makefile("rb")
        reading = threading.Thread(target=lambda: got.extend(iter(lines.readline, b"")))
        reading.start()
        wait_for(lambda: got, 20)
        daemon.feed.open(RATE)
        daemon.source.write(samples)
        messages = daemon.end()
        reading.join(20)
        lines.close()
    got = [json.loads(line) for line in got]
    assert [line for line in got if line["type"] not in ("frame", "device")] == messages
    (device, *_), frames = ([line for line in got if line["type"] == kind] for kind in ("device", "frame"))
    assert (device["model"], device["healthy"], device["engine"]) == ("bundled", True, None)
    assert device["backend"].startswith("onnxruntime, ")
    assert [source["name"] for source in device["sources"]] == ["yard"]
    assert [output["name"].split()[0] for output in device["outputs"]] == ["json_lines", "store"]
    # Frames that whoever watches is too slow for are left out, as this thread may be on a busy machine.
    assert 0.5 < sum(frame["newest"]["final"] for frame in frames) / (len(samples) / RATE / 0.32) < 1.04
    highest = {label for frame in frames for label, row in frame["newest"]["scores"].items() if max(row) > 0.9}
    assert {message["label"] for message in messages if message["type"] == "end"} & highest


@pytest.mark.parametrize("fault", ["damaged", "locked"])
def test_scores_are_written_again_once_the_store_works(
    fault, start_daemon, samples, tmp_path, wait_for, short_pauses, monkeypatch
):
    monkeypatch.setattr("htsat_edge.runtime.store.database.BUSY_S", 0.05)
    path = tmp_path / "events.db"
    daemon = start_daemon(outputs={"store": StoreConfig(path=path)}, detection=SELDOM)
    store = next(sender for sender in daemon.parts.publisher.senders if sender.name.startswith("store"))
    daemon.feed.open(RATE)
    daemon.source.write(samples[: 5 * RATE])
    wait_for(lambda: store.sent, 60)
    with closing(sqlite3.connect(path)) as other:
        if fault == "locked":
            other.execute("BEGIN IMMEDIATE")
        else:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with path.open("r+b") as file:
                file.write(b"no database at all" * 1000)
        daemon.source.write(samples)
        wait_for(lambda: store.failures, 60)
    daemon.source.write(samples)
    messages = daemon.end()
    assert (store.dropped, store.undelivered) == (0, 0)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM setups").fetchone() == (1,)
        (steps,) = database.execute("SELECT sum(steps) FROM scores").fetchone()
        (events,) = database.execute("SELECT count(*) FROM events").fetchone()
    heard = daemon.parts.sessions[0].all_time.heard_s
    if fault == "locked":
        assert steps == pytest.approx(heard / 0.32, abs=3)
        assert events == sum(message["type"] == "end" for message in messages)
    else:
        assert steps > 50
