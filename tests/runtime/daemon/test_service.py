"""The daemon in a process of its own, on samples from its stdin: signals, systemd, and a configuration that changes."""

import fcntl
import itertools
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing

import numpy as np
import pytest
import yaml

from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.replay import replay

RATE = 32_000


class Service:
    """`htsat-edge listen`, on stdin."""

    def __init__(self, folder, wait_for, read_lines):
        self._wait_for, self._read_lines = wait_for, read_lines
        self.out, self.config = folder / "out.jsonl", folder / "detector.yaml"
        self.process = None

    def start(self, systemd=None, **sections):
        self.write_config(**sections)
        notify = {} if systemd is None else {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "3000000"}
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "htsat_edge", "listen", "--config", self.config],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.PIPE,
                env={**os.environ, **notify},
            )
        return self

    def write_config(self, **sections):
        source = {"name": "yard", "stdin": {"sample_rate": RATE}}
        self.config.write_text(yaml.safe_dump({"sources": [source], "model": {"backend": "onnxruntime"}, **sections}))

    def play(self, samples):
        """Write samples, and wait until the process has read them."""
        self.process.stdin.write((samples * 32767).astype("<i2").tobytes())
        self.process.stdin.flush()
        self._wait_for(lambda: struct.unpack("i", fcntl.ioctl(self.process.stdin, termios.FIONREAD, bytes(4)))[0] == 0)

    def published(self, **wanted):
        """Return the messages so far that have these values."""
        return [
            message
            for message in self._read_lines(self.out)
            if all(message.get(key) == value for key, value in wanted.items())
        ]

    def wait_for(self, **wanted):
        """Wait until there is a message with these values; return it."""
        self._wait_for(lambda: self.published(**wanted))
        return self.published(**wanted)[0]

    def end(self, how=None):
        """End it by a signal, or by the end of its stdin; return its exit status and what it logged."""
        if how is not None:
            self.process.send_signal(how)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err.decode()


@pytest.fixture
def systemd(tmp_path):
    """The socket on which systemd hears of the states of the service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(60)
        yield receiver


@pytest.fixture
def service(tmp_path, wait_for, read_lines):
    made = Service(tmp_path, wait_for, read_lines)
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_open_events_and_loses_none(how, service, samples):
    service.start().play(samples[: 16 * RATE])  # in the middle of the thunder
    service.wait_for(label="Cattle, bovinae")
    status, err = service.end(how)
    assert status == 0
    assert "Traceback" not in err
    start, end = service.published(label="Thunder")
    assert (start["type"], end["type"]) == ("start", "end")
    assert start["id"] == end["id"]
    assert end["offset"] == pytest.approx(16, abs=0.01)
    assert all(message["time"] is not None for message in service.published())
    assert [message["sample_rate"] for message in service.published(state="listening")] == [RATE]


def test_a_pipe_that_ends_ends_the_program(service, samples):
    service.start(detection={"threshold": 0.3}).play(samples)
    assert service.end()[0] == 0
    labels = {message["label"] for message in service.published(type="start")}
    assert labels >= {"Speech", "Dog", "Thunder", "Fowl"}
    assert len(service.published(type="end")) == len(service.published(type="start"))


def test_sighup_reads_the_configuration_again_and_rejects_a_bad_one(service, samples, wait_for):
    service.start().play(samples[: 12 * RATE])
    service.wait_for(label="Speech")
    service.write_config(detection={"threshhold": 0.5})
    service.process.send_signal(signal.SIGHUP)
    rejected = service.wait_for(state="config_rejected")
    assert rejected["text"] == f"{service.config}: detection.threshhold: unknown key, meant threshold?"
    # Some errors are found only when the configuration is used.
    service.write_config(detection={"labels": ["Nothing"]})
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(service.published(state="config_rejected")) == 2)
    stream = {"name": "gate", "stream": {"url": "rtsp://me:{password}@x/y", "password": {"env": "NOT_THERE"}}}
    service.write_config(sources=[stream])
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(service.published(state="config_rejected")) == 3)
    _, unknown, secret = service.published(state="config_rejected")
    assert "'Nothing' is no class of this model" in unknown["text"]
    assert "the environment has no NOT_THERE" in secret["text"]
    service.config.write_text("")  # as an editor does before it writes
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(service.published(state="config_rejected")) == 4)
    assert service.published(state="config_rejected")[-1]["text"] == f"{service.config}: is empty; is it being written?"
    service.play(samples[12 * RATE : 20 * RATE])
    service.write_config(detection={"labels": ["Fowl"]})
    service.process.send_signal(signal.SIGHUP)
    loaded = service.wait_for(state="config_loaded")
    service.play(samples)
    assert service.end()[0] == 0
    messages = service.published()
    later = messages[messages.index(loaded) :]
    assert {message["label"] for message in later if message["type"] == "start"} == {"Fowl"}


def stored_runs(path):
    """The runs of scores of the last hour, which follow each other without a step that is missing or there twice."""
    now = time.time()
    with StoreReader(path) as reader:
        runs = sorted(reader.score_runs("yard", now - 3600, now + 3600), key=lambda run: run.onset)
        events = reader.events_within("yard", now - 3600, now + 3600)
    for before, after in itertools.pairwise(runs):
        assert 0 <= before.onset + len(before.scores) * before.step_s - after.onset < before.step_s
    return runs, sorted((event.label, event.onset, event.offset) for event in events)


def replayed(runs):
    """The events that the scores of each run give, from its beginning on."""
    for run in runs:
        for one in replay(run.setup.rule(), run.scores).heard:
            if one.found:
                onset, offset = (round(run.onset + step * run.step_s, 4) for step in (one.onset, one.offset))
                yield run.setup.labels[one.k], onset, offset


def test_changed_thresholds_are_in_force_without_a_signal_and_nothing_is_lost(service, samples, tmp_path):
    """The scores go on, and those of each part give exactly the events that are stored."""
    path, detection = tmp_path / "events.db", {"early_margin": None, "hop_s": 0.64}
    sections = {"outputs": {"store": {"path": str(path)}}, "detection": detection}
    service.start(**sections).play(samples[: 16 * RATE])
    service.wait_for(type="start", label="Cattle, bovinae")
    detection["thresholds"] = {"Thunder": 0.99, "Dog": 0.2}
    service.write_config(**sections)
    loaded = service.wait_for(state="config_loaded")
    thunder, dog = (load_bundle().info.thresholds[label] for label in ("Thunder", "Dog"))
    assert loaded["text"] == f"thresholds: Thunder {thunder:g} -> 0.99, Dog {dog:g} -> 0.2"
    service.play(samples[16 * RATE :])
    status, err = service.end()
    assert status == 0
    assert "changed thresholds are in force: Thunder " in err
    assert [message["state"] for message in service.published(type="status")] == [
        "listening",
        "config_loaded",
        "source_failed",
    ]
    assert service.published(type="gap") == []
    first, second = runs = stored_runs(path)[0]
    assert first.onset == 0 < second.onset
    assert second.onset + len(second.scores) * 0.32 >= len(samples) / RATE
    assert second.setup.thresholds[second.setup.labels.index("Thunder")] == 0.99
    assert stored_runs(path)[1] == sorted(replayed(runs))


def test_a_reload_loses_no_sample_and_a_source_that_is_the_same_goes_on(service, samples, tmp_path):
    path, detection = tmp_path / "events.db", {"hop_s": 0.64}
    sections = {"outputs": {"store": {"path": str(path)}}, "detection": detection}
    service.start(**sections).play(samples[: 16 * RATE])
    for labels in (["Speech", "Dog"], ["Dog", "Fowl", "Thunder"]):
        service.wait_for(type="start")
        detection["labels"] = labels
        service.write_config(**sections)
        count = len(service.published(state="config_loaded"))
        service.process.send_signal(signal.SIGHUP)
        service.play(samples[: 4 * RATE])
        service._wait_for(lambda count=count: len(service.published(state="config_loaded")) > count)
    service.play(samples[16 * RATE :])
    assert service.end()[0] == 0
    heard_s = len(samples) / RATE + 8
    assert service.published(type="gap") == []
    runs, _ = stored_runs(path)
    assert runs[0].onset == 0
    assert heard_s <= runs[-1].onset + len(runs[-1].scores) * 0.32 < heard_s + 0.32
    assert [run.session for run in runs] == [1, 2, 3]
    starts = [message["id"] for message in service.published(type="start")]
    assert starts == [*range(1, len(starts) + 1)]
    assert sorted(message["id"] for message in service.published(type="end")) == starts


def test_a_sound_that_is_enrolled_or_removed_is_heard_from_then_on_and_nothing_is_lost(
    service, samples, tmp_path, put_sound
):
    library = Library(tmp_path / "sounds", load_bundle())
    model = {"backend": "onnxruntime", "sounds": str(library.folder)}
    service.start(model=model, detection={"hop_s": 0.64}).play(samples[: 12 * RATE])
    service.wait_for(label="Speech")
    sound = put_sound(library, "Our doorbell", np.zeros(256, np.float32), bias=5.0)  # it fires on everything
    added = service.wait_for(state="enrolled")
    assert (added["labels"], added["text"]) == (["Our doorbell"], "new: Our doorbell")
    service.play(samples[12 * RATE :])
    start = service.wait_for(type="start", label="Our doorbell")
    assert start["id"] > service.published(type="start", label="Speech")[0]["id"]
    assert start["onset"] >= 9  # and not from the beginning of the source
    library.remove(sound.name)
    service.wait_for(state="enrolled", labels=[])
    service.play(samples[: 4 * RATE])
    assert service.end()[0] == 0
    assert service.published(type="gap") == []
    (end,) = service.published(type="end", label="Our doorbell")
    assert end["id"] == start["id"]
    messages = service.published(type="start")
    assert [message["id"] for message in messages] == [*range(1, len(messages) + 1)]


def test_to_be_ended_while_the_configuration_is_read_again(service, samples, systemd):
    service.start(systemd).play(samples[: 2 * RATE])
    service.wait_for(state="listening")
    service.process.send_signal(signal.SIGHUP)
    while systemd.recv(1000) != b"RELOADING=1":
        pass
    assert service.end(signal.SIGTERM)[0] == 0


def test_systemd_hears_when_it_is_ready_alive_and_stopping(service, systemd):
    service.start(systemd)
    assert systemd.recv(1000) == b"READY=1\nSTATUS=listening to yard"
    assert [systemd.recv(1000) for _ in range(2)] == [b"WATCHDOG=1"] * 2
    service.process.terminate()
    while (state := systemd.recv(1000)) == b"WATCHDOG=1":
        pass
    assert state == b"STOPPING=1"
    assert service.end()[0] == 0


def test_killed_and_started_again_no_event_is_stored_twice(service, samples, tmp_path, wait_for):
    path = tmp_path / "events.db"

    def ask(query):
        with closing(sqlite3.connect(path)) as database:
            return database.execute(query).fetchall()

    for run, part in enumerate((samples[: 16 * RATE], samples), start=1):
        service.start(outputs={"store": {"path": str(path)}}).play(part)
        service.wait_for(type="end", label="Speech")
        wait_for(lambda run=run: len(ask(f"SELECT 1 FROM events WHERE session = {run} AND offset IS NOT NULL")) > 0)
        service.end(signal.SIGKILL)
        stored = ask(f"SELECT number, label, onset, offset FROM events WHERE session = {run} ORDER BY number")
        starts = {message["id"]: message for message in service.published(type="start")}
        ends = {message["id"]: message for message in service.published(type="end")}
        assert [number for number, *_ in stored] == list(range(1, len(stored) + 1))
        for number, label, onset, offset in stored:
            if number in starts:  # stdout and the store are written by threads of their own
                assert starts[number]["label"] == label
            if offset is None and number in starts:  # an end may have another onset than its start
                assert starts[number]["onset"] == onset
            if offset is not None and number in ends:
                assert (ends[number]["onset"], ends[number]["offset"]) == (onset, offset)
    assert len(ask("SELECT DISTINCT session FROM events")) == 2


def test_a_configuration_that_does_not_fit_the_model_ends_it_in_one_line(service):
    status, err = service.start(detection={"hop_s": 99}).end()
    assert status == 2
    assert err == "htsat-edge: detection: hop of 99 s: want between 0.08 and 10.24 s\n"
