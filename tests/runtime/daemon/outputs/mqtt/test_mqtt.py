"""A real broker, which is killed and started again."""

import json
import time

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DetectionConfig, MqttConfig, Secret
from htsat_edge.runtime.daemon.messages import ClockSet, GapMessage, LevelStatus, SourceBack, SourceLost
from htsat_edge.runtime.daemon.outputs.mqtt.home_assistant import MOST_SENSORS
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt

pytestmark = pytest.mark.usefixtures("short_pauses")


def offer(output, messages):
    for message in messages:
        output.offer(message)


def contents(messages):
    return [json.loads(message.encoded) for message in messages]


def test_events_and_states(broker, connect, make_events, wait_for, retained):
    output = connect(discovery=None)
    gap = GapMessage(source="yard", onset=3.0, offset=4.0, time=None, reason="unplugged")
    messages = [*make_events(1), *make_events(1, kind="end"), *make_events(1, label="Cattle, bovinae"), gap]
    offer(output, [*messages, ClockSet(time=None, by_s=3600)])
    wait_for(lambda: output.sent == 5)
    wait_for(lambda: broker.last("htsat-edge/yard/cattle_bovinae") == "ON")
    wait_for(lambda: len(broker.all("htsat-edge/yard/event")) == 4)
    assert broker.all("htsat-edge/yard/event") == contents(messages)  # what concerns no source has no topic
    assert broker.last("htsat-edge/yard/dog") == "OFF"
    assert [content for topic, content in broker.heard if topic == "htsat-edge/yard/dog"] == ["OFF", "ON", "OFF"]
    assert broker.last("htsat-edge/gate/dog") == "OFF"  # one source's sensors never change another's
    assert broker.last("htsat-edge/status") == "online"
    output.close()
    wait_for(lambda: broker.last("htsat-edge/status") == "offline")
    lasting = {f"{source}/{last}" for source in ("yard", "gate") for last in ("status", "dog", "cattle_bovinae")}
    assert retained() == {f"htsat-edge/{topic}" for topic in ("status", *lasting)}  # else it would bark again later


def make_level(source, dbfs, laeq_db=None, lamax_db=None):
    return LevelStatus(source=source, time=None, onset=0.0, offset=60.0, dbfs=dbfs, laeq_db=laeq_db, lamax_db=lamax_db)


def test_levels_and_classes_are_states_and_come_again_to_a_broker_that_forgot(broker, connect, make_events, wait_for):
    output = connect(levels={"yard": True, "gate": False}, off_delay_s=0.2)
    messages = [make_level("yard", -30.0, 70.5, 82.25), make_level("gate", -41.5)]
    events = [*make_events(1), *make_events(1, kind="end"), *make_events(1, label="Cattle, bovinae")]
    offer(output, [*messages, *events])
    wanted = {
        "yard/level": '{"dbfs":-30.0,"laeq_db":70.5,"lamax_db":82.25}',
        "gate/level": '{"dbfs":-41.5,"laeq_db":null,"lamax_db":null}',
        "yard/dog": "OFF",  # after the delay
        "yard/cattle_bovinae": "ON",
    }

    def are_known():
        return all(broker.last(f"htsat-edge/{topic}") == content for topic, content in wanted.items())

    wait_for(lambda: output.sent == 5 and are_known())
    assert broker.all("htsat-edge/yard/event") == contents([messages[0], *events])
    broker.kill()
    broker.heard.clear()
    broker.start()
    wait_for(are_known)
    assert [content for topic, content in broker.heard if topic == "htsat-edge/yard/dog"] == ["OFF"]


def test_a_source_that_is_lost_is_not_available(broker, connect, wait_for):
    output = connect()
    offer(output, [SourceLost(source="yard", time=None, text="unplugged")])
    wait_for(lambda: broker.last("htsat-edge/yard/status") == "offline")
    assert broker.last("htsat-edge/gate/status") == "online"
    offer(output, [SourceBack(source="yard", time=None, text="the microphone is back")])
    wait_for(lambda: broker.last("htsat-edge/yard/status") == "online")


def test_a_broker_that_dies_under_load_gets_every_event_when_it_is_back(broker, connect, make_events, wait_for):
    output = connect()
    offer(output, make_events(60))
    wait_for(lambda: output.sent > 20)
    broker.kill()
    offer(output, make_events(140, first=60))
    broker.heard.clear()
    sent = output.sent
    broker.start()
    wait_for(lambda: output.sent == 200)
    wait_for(lambda: broker.all("htsat-edge/yard/event")[-1:] == contents(make_events(1, first=199)))
    ids = {content["id"] for content in broker.all("htsat-edge/yard/event")}
    assert ids >= set(range(sent + 4, 201))  # what was on its way when it died may have arrived before
    assert output.dropped == 0
    assert broker.last("htsat-edge/status") == "online"  # and sensors are announced again to a broker that forgot
    wait_for(lambda: any(topic.startswith("homeassistant/device/") for topic, _ in broker.heard))


def test_a_broker_that_dies_and_is_back_is_reported_to_the_other_outputs(
    broker, start_daemon, samples, wait_for, monkeypatch
):
    monkeypatch.setattr(Mqtt, "patience_s", 0.1)
    mqtt = MqttConfig(host="127.0.0.1", port=broker.port, off_delay_s=0)
    daemon = start_daemon(detection=DetectionConfig(labels=["Speech", "Thunder"]), outputs={"mqtt": mqtt})
    daemon.feed.open(32_000)
    daemon.source.write(samples[: 12 * 32_000])
    wait_for(lambda: broker.last("htsat-edge/yard/speech") == "OFF" and len(broker.all("htsat-edge/yard/event")) == 3)
    broker.kill()
    daemon.source.write(samples[12 * 32_000 :])
    wait_for(lambda: "output_failed" in daemon.states())
    broker.start()
    wait_for(lambda: "output_back" in daemon.states())
    messages = daemon.end()
    failed, back = (message for message in messages if str(message.get("state")).startswith("output_"))
    assert failed["output"] == back["output"] == f"mqtt 127.0.0.1:{broker.port}"
    assert failed["text"].endswith("; it is tried again")
    wanted = [message for message in messages if message not in (failed, back)]
    wait_for(lambda: wanted[-1] in broker.all("htsat-edge/yard/event"))
    for message in wanted:  # that it is away does not come to the broker itself
        assert message in broker.all("htsat-edge/yard/event")


def test_an_event_that_was_on_its_way_when_the_broker_died_is_a_failure_too(broker, connect, make_events, wait_for):
    output = connect()
    offer(output, make_events(1))
    wait_for(lambda: output.sent == 1)
    output.patience_s = 0.1
    send, died = output._client.paho.publish, []

    def publish(*arguments, **options):
        sent = send(*arguments, **options)
        if not died:
            died.append(True)
            broker.kill()
        return sent

    output._client.paho.publish = publish
    offer(output, make_events(1, first=1))
    wait_for(lambda: output.failures > 0)
    (notice,) = output.notices()
    assert notice.startswith("the broker cannot be reached")
    broker.start()
    wait_for(lambda: output.sent == 2)
    assert list(output.notices()) == [None]


def test_of_many_classes_those_that_were_heard_have_a_state(broker, connect, make_events, wait_for):
    output = connect(sources=["yard"], labels=[f"class {i}" for i in range(MOST_SENSORS + 1)])
    offer(output, make_events(1, label="class 7"))
    wait_for(lambda: broker.last("htsat-edge/yard/class_7") == "ON")
    assert {topic for topic, _ in broker.heard if "/class_" in topic} == {"htsat-edge/yard/class_7"}


def test_without_discovery_and_with_a_password_of_its_own(broker, connect, make_events, wait_for, monkeypatch):
    monkeypatch.setenv("PW", "s3cret")
    output = connect(topic="farm/ears", discovery=None, username="me", password=Secret(env="PW"), levels={"yard": True})
    offer(output, make_events(1))
    wait_for(lambda: broker.last("farm/ears/yard/dog") == "ON")
    assert not any("homeassistant" in topic for topic, _ in broker.heard)


def test_a_broker_that_is_not_there_keeps_nobody_waiting(free_port, make_events, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.2)
    output = Mqtt(MqttConfig(host="127.0.0.1", port=free_port()), {"yard": ["Dog"]}, {}, "session")
    output.patience_s = 0.1
    output.start()
    begun = time.monotonic()
    offer(output, make_events(100))
    assert time.monotonic() - begun < 0.5
    output.close()
    assert output.sent == 0


def test_a_check_connects_and_publishes_nothing_that_anybody_wants(broker, monkeypatch, wait_for):
    settings = MqttConfig(host="127.0.0.1", port=broker.port)
    assert Mqtt(settings, {"yard": ["Dog"]}, {}, "session").check() == f"127.0.0.1:{broker.port} accepts the connection"
    monkeypatch.setattr(Mqtt, "patience_s", 0.5)
    broker.kill()
    with pytest.raises(HtsatEdgeError, match=f"mqtt 127.0.0.1:{broker.port}: the broker cannot be reached: "):
        Mqtt(settings, {"yard": ["Dog"]}, {}, "session").check()
    assert {*broker.heard} <= {("htsat-edge/check", "")}
