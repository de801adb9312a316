"""What a collector gets of a device through a real broker: what it is, how it gets on, and its messages, numbered."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

import htsat_edge
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig, MqttConfig
from htsat_edge.runtime.daemon.device import DeviceProfile, NumberedMessage
from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveSource
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.messages import ClockSet
from htsat_edge.runtime.daemon.outputs.mqtt import fleet
from htsat_edge.runtime.daemon.outputs.mqtt.fleet import DeviceReport, ProfileReader
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

pytestmark = pytest.mark.usefixtures("short_pauses")
TOPICS = Topics("htsat-edge", {"yard 0": ["Dog"]})


def numbered(broker, topic="htsat-edge/messages"):
    return [NumberedMessage(**content) for content in broker.all(topic)]


def test_every_message_and_clip_is_numbered_in_its_session(broker, connect, make_events, wait_for):
    output = connect(session="5e55")
    clip = SavedClip("yard", 1, "clip.flac", -2.0, 3.5, None)
    sent = [*make_events(1), ClockSet(time=None, by_s=3600), *make_events(1, kind="end")]
    for message in sent:
        output.offer(message)
    output.record(clip)
    output.record(RemovedClip("clip.flac"))
    wait_for(lambda: len(numbered(broker)) == 5)
    assert [(one.session, one.number) for one in numbered(broker)] == [("5e55", number) for number in range(1, 6)]
    assert [one.message for one in numbered(broker)] == [
        *(json.loads(message.encoded) for message in sent),
        {"type": "clip_saved", **asdict(clip)},
        {"type": "clip_removed", "name": "clip.flac"},
    ]
    assert len(broker.all("htsat-edge/yard/event")) == 2  # clips are nobody's but a collector's


def test_what_is_lost_leaves_a_hole(make_events, free_port):
    output = Mqtt(MqttConfig(host="127.0.0.1", port=free_port()), {"yard": ["Dog"]}, {}, "session")
    output._queue.maxsize = 2
    for event in make_events(3):
        output.offer(event)
    waiting = list(output._queue.queue)
    output._queue.get_nowait()
    output.offer(*make_events(1, first=3))
    assert [item.number for item in waiting] == [1, 2]
    assert [item.number for item in output._queue.queue] == [2, 4]


def test_numbers_of_several_threads_stand_in_order(free_port):
    output = Mqtt(MqttConfig(host="127.0.0.1", port=free_port()), {"yard": ["Dog"]}, {}, "session")
    put = output.put
    output.put = lambda item: time.sleep(0) or put(item)  # lets others go first

    def record():
        for _ in range(200):
            output.record(RemovedClip("clip.flac"))

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.number for item in output._queue.queue] == list(range(1, 801))


@pytest.fixture
def parts(make_parts):
    return make_parts(live=True)


@pytest.fixture
def status(parts, tmp_path):
    return StatusReader(parts.sessions, parts.scorer, parts.publisher, tmp_path)


@pytest.fixture
def profile(parts, status):
    """Makes a reader of what the device is."""

    def make(**settings):
        settings = MqttConfig(host="broker", **settings)
        return ProfileReader(settings, load_bundle(BUNDLED), "5e55", status, parts.system)

    return make


def test_what_a_device_is(profile, parts):
    bundle = load_bundle(BUNDLED)
    found = DeviceProfile.model_validate_json(profile(device="Ear", place="Barn", page="http://ear.local:8000")())
    assert found.model_dump(exclude={"started_at"}) == {
        "device": "Ear",
        "place": "Barn",
        "version": htsat_edge.__version__,
        "session": "5e55",
        "model": bundle.info.name,
        "bundle": bundle.sha256("fp32"),
        "backend": "NoModel",
        "precision": None,
        "hop_s": {"yard 0": 1.28},
        "health_s": 60.0,
        "page": "http://ear.local:8000",
    }
    plain = DeviceProfile.model_validate_json(profile(topic="farm/ear")())
    assert (plain.device, plain.place, plain.page) == ("farm/ear", None, None)


def test_when_it_began_changes_only_where_the_clock_was_set(profile, parts):
    read = profile()
    before = read()
    parts.system._offset += 0.4  # the clock is slewed
    assert read() == before
    parts.system._offset += 3600
    assert read() != before


class Reads:
    """What a report reads, and the time."""

    def __init__(self, status, monkeypatch):
        self.now_s, self.profile = 1000.0, "{}"
        monkeypatch.setattr(fleet, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self._report = DeviceReport(lambda: self.profile, status, 60.0)

    def due(self, after_s=1.0, forget=False):
        self.now_s += after_s
        if forget:
            self._report.forget()
        published = [one.topic for one in self._report.due(TOPICS)]
        with_sources = [topic for topic in published if topic != TOPICS.of_source("yard 0", "condition")]
        assert len(published) - len(with_sources) == with_sources.count(TOPICS.health)
        return with_sources


@pytest.fixture
def reads(status, monkeypatch):
    return Reads(status, monkeypatch)


def test_what_it_is_comes_where_it_has_changed_and_how_it_gets_on_again_and_again(reads):
    info, health = TOPICS.info, TOPICS.health
    assert reads.due() == [info, health]
    assert reads.due() == []
    reads.profile = '{"backend": "onnxruntime"}'
    assert reads.due() == [info]
    assert reads.due(57) == []
    assert reads.due(1) == [health]
    assert reads.due(59) == []
    assert reads.due(forget=True) == [info, health]


def test_what_becomes_of_a_source_is_said_at_once(reads, parts):
    reads.due()
    (session,) = parts.sessions
    for change in (session.pause, session.resume):
        change("asked")
        assert reads.due() == [TOPICS.health]
        assert reads.due() == []
    session.feed.report_lost("unplugged")
    assert reads.due() == [TOPICS.health]


def test_what_is_wrong_with_an_output_or_a_source_is_said_at_once(reads, parts):
    reads.due()
    parts.publisher.senders[0].failing = True
    assert reads.due() == [TOPICS.health]
    (session,) = parts.sessions
    session.progress.monitor = SimpleNamespace(active={"clipping"}, level_dbfs=-3.0)
    assert reads.due() == [TOPICS.health]
    assert reads.due() == []


def test_it_is_not_looked_at_for_each_of_many_messages(reads):
    reads.due()
    reads.profile = "{1}"
    assert reads.due(0.1) == []


def test_what_was_not_published_is_published_the_next_time(status, monkeypatch):
    now = iter(range(1000, 1100))
    monkeypatch.setattr(fleet, "time", SimpleNamespace(monotonic=lambda: next(now)))
    report = DeviceReport(lambda: "{}", status, 60.0)
    next(report.due(TOPICS))  # and then the connection is lost
    assert next(report.due(TOPICS)).topic == TOPICS.info


def test_a_broker_that_forgot_is_told_again(broker, connect, status, wait_for):
    report = DeviceReport(lambda: "{}", status, 1000.0)
    connect(sources=["yard 0"], before=lambda output: setattr(output, "report", report))

    def is_told():
        return broker.last("htsat-edge/info") == "{}" and broker.last("htsat-edge/health")

    wait_for(is_told)
    broker.kill()
    broker.heard.clear()
    broker.start()
    wait_for(is_told)


@pytest.fixture
def daemon(broker, filled_source, run_daemon, tmp_path):
    """A daemon with a store, clips and MQTT, on a source that the test fills."""
    source = filled_source(live=True)
    mqtt = {"host": "127.0.0.1", "port": broker.port, "place": "Barn", "commands": True, "discovery": None}
    config = DaemonConfig.model_validate(
        {
            "detection": {"labels": ["Speech", "Thunder"], "hop_s": 1.28},
            "outputs": {
                "stdout": False,
                "store": {"path": str(tmp_path / "events.db")},
                "clips": {"folder": str(tmp_path / "clips")},
                "mqtt": mqtt,
            },
        }
    )
    parts = assemble(config, [source], source.news)
    _, thread = run_daemon(parts)
    return SimpleNamespace(source=source, parts=parts, thread=thread, path=tmp_path / "events.db")


def test_a_daemon_tells_a_fleet_all_that_it_stores(broker, daemon, samples, wait_for):
    """Also its last clip, which is made while it ends; events have the numbers that they have in its own store."""
    daemon.source.feed.open(32_000)
    daemon.source.write(samples[: 12 * 32_000])
    daemon.source.feed.end()
    daemon.thread.join(60)
    wait_for(lambda: broker.last("htsat-edge/status") == "offline")
    profile = DeviceProfile.model_validate_json(broker.last("htsat-edge/info"))
    health = DeviceStatus.model_validate_json(broker.last("htsat-edge/health"))
    found = numbered(broker)
    with closing(sqlite3.connect(daemon.path)) as database:
        (session,) = database.execute("SELECT uid FROM sessions").fetchall()
    with StoreReader(daemon.path) as reader:
        stored = {(event.source, event.id, event.label) for event in reader.events(EventFilter(), 100).events}
    assert {one.session for one in found} == {profile.session} == {session[0]}
    assert profile.place == "Barn"
    assert [source.name for source in health.sources] == ["yard"]
    assert LiveSource.model_validate_json(broker.last("htsat-edge/yard/condition")) == health.sources[0]
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    messages = [one.message for one in found]
    starts = {(one["source"], one["id"], one["label"]) for one in messages if one["type"] == "start"}
    assert starts == stored
    assert {one["number"] for one in messages if one["type"] == "clip_saved"} == {number for _, number, _ in starts}
    assert starts


def test_a_daemon_is_paused_through_a_broker(broker, daemon, wait_for):
    daemon.source.feed.open(32_000)
    daemon.source.write(np.zeros(32_000, np.float32))
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "ON")
    broker._client.publish("htsat-edge/yard/listening/set", "OFF", qos=1)
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "OFF")

    def paused():
        return json.loads(broker.last("htsat-edge/health"))["sources"][0]["paused"]

    wait_for(paused)
    broker._client.publish("htsat-edge/yard/listening/set", "on", qos=1)
    wait_for(lambda: broker.all("htsat-edge/event"))
    (rejected,) = broker.all("htsat-edge/event")
    assert rejected["text"] == "htsat-edge/yard/listening/set: want ON or OFF, not on"
    broker._client.publish("htsat-edge/yard/listening/set", "ON", qos=1)
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "ON")
    wait_for(lambda: not paused())
