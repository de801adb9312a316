"""What people see of a daemon in Home Assistant, through a real broker."""

import json
import re
import time

import pytest

from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt import home_assistant as announcing
from htsat_edge.runtime.daemon.outputs.mqtt.broker import Publication
from htsat_edge.runtime.daemon.outputs.mqtt.home_assistant import HomeAssistant
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics

pytestmark = pytest.mark.usefixtures("short_pauses")
DOG = "htsat-edge/yard/dog"


@pytest.fixture
def quick(monkeypatch):
    """Has announcements come soon."""
    monkeypatch.setattr(announcing, "SETTLE_S", 0.2)
    monkeypatch.setattr(announcing, "BURST_S", 0.05)


def states(broker, topic=DOG):
    return [content for at, content in broker.heard if at == topic]


def test_a_bark_is_on_for_a_while_and_off_then(broker, connect, make_events, wait_for):
    output = connect(off_delay_s=0.2)
    for kind in ("start", "end"):
        output.offer(*make_events(1, kind=kind))
    wait_for(lambda: states(broker) == ["OFF", "ON", "OFF"])
    assert output.sent == 2


def test_it_stays_on_until_the_delay_is_over_whatever_else_comes(broker, connect, make_events, wait_for):
    output = connect(off_delay_s=1000)
    for number in range(3):
        for kind in ("start", "end"):
            output.offer(*make_events(1, first=number, kind=kind))
    output.offer(*make_events(1, label="Cattle, bovinae"))
    wait_for(lambda: broker.last("htsat-edge/yard/cattle_bovinae") == "ON")
    assert states(broker) == ["OFF", "ON", "ON", "ON"]
    output._off_s["yard", "Dog"] = time.monotonic()
    output.offer(*make_events(1, label="Cattle, bovinae", kind="end"))  # while messages come as well
    wait_for(lambda: broker.last(DOG) == "OFF")
    assert broker.last("htsat-edge/yard/cattle_bovinae") == "ON"
    output.close()
    wait_for(lambda: broker.last("htsat-edge/status") == "offline")
    assert broker.last("htsat-edge/yard/cattle_bovinae") == "OFF"


def test_one_that_goes_on_for_longer_than_the_delay_is_off_at_its_end(broker, connect, make_events, wait_for):
    output = connect(off_delay_s=1000)
    output.offer(*make_events(1))
    wait_for(lambda: broker.last(DOG) == "ON")
    output._started_s["yard", "Dog"] -= 1000
    output.offer(*make_events(1, kind="end"))
    wait_for(lambda: broker.last(DOG) == "OFF")


def components(broker, source="yard"):
    """Return what is announced of a source."""
    return json.loads(broker.last(f"homeassistant/device/htsat_edge_{source}/config") or "{}").get("components", {})


def test_classes_that_were_taken_out_of_the_configuration_go(broker, connect, wait_for, quick):
    """With their states; what others have announced, and other sources, stay."""
    before = connect(sources=["yard", "gate"], labels=["Dog", "Cat"])
    wait_for(lambda: "cat" in components(broker) and "cat" in components(broker, "gate"))
    before.close()
    connect(sources=["yard"], labels=["Dog"])
    wait_for(lambda: components(broker).get("cat") == {"platform": "binary_sensor"})
    wait_for(lambda: broker.last("htsat-edge/yard/cat") == "")
    assert components(broker)["dog"]["name"] == "Dog"
    assert components(broker, "gate")["cat"]["name"] == "Cat"
    connect(sources=["yard"], labels=["Dog"])
    wait_for(lambda: "cat" not in components(broker))


def test_what_an_earlier_version_announced_is_handed_over_and_removed(broker, connect, wait_for, quick):
    """A class that there is no more is removed at once; what is not ours stays."""

    def announce(key, manufacturer="htsat-edge", kind="binary_sensor"):
        topic = f"homeassistant/{kind}/htsat_edge_yard/{key}/config"
        config = {"device": {"manufacturer": manufacturer}, "state_topic": f"htsat-edge/yard/{key}"}
        broker._client.publish(topic, json.dumps(config), qos=1, retain=True)
        return topic

    dog, cat, level = announce("dog"), announce("cat"), announce("dbfs", kind="sensor")
    theirs = announce("theirs", "somebody")
    connect(labels=["Dog"], levels={"yard": False})
    handed = ["homeassistant/device/htsat_edge_bridge/config", "homeassistant/device/htsat_edge_yard/config"]
    wait_for(lambda: handed[-1] in [topic for topic, _ in broker.heard])
    seen = {topic: [content for at, content in broker.heard if at == topic] for topic in (dog, cat, level, theirs)}
    assert seen[dog][1:] == seen[level][1:] == ['{"migrate_discovery": true}', ""]
    assert seen[cat][1:] == [""]
    assert seen[theirs][1:] == []
    topics = [topic for topic, _ in broker.heard]
    assert max(map(topics.index, handed)) > max(len(topics) - 1 - topics[::-1].index(topic) for topic in (dog, level))
    wait_for(lambda: broker.last("htsat-edge/yard/cat") == "")


def test_of_many_classes_those_that_were_heard_stay_announced(broker, connect, make_events, wait_for, quick):
    """Also over a restart; what is new comes first, since Home Assistant may take only the beginning."""
    labels = [f"Class {i}" for i in range(527)]
    output = connect(sources=["yard"], labels=labels)
    for label in ("Class 7", "Class 3"):
        output.offer(*make_events(1, label=label))
        wait_for(lambda label=label: label.lower().replace(" ", "_") in components(broker))
    assert [key for key in components(broker) if key.startswith("class")] == ["class_3", "class_7"]
    output.close()
    connect(sources=["yard"], labels=labels).offer(*make_events(1, label="Class 5"))
    wait_for(lambda: "class_5" in components(broker))
    wait_for(lambda: {"class_3", "class_7"} <= components(broker).keys())


def test_classes_that_are_heard_in_a_burst_are_announced_together(make_events, monkeypatch):
    labels = {"yard": [f"Class {i}" for i in range(527)]}
    settings = MqttConfig(host="127.0.0.1")
    home = HomeAssistant(Topics("htsat-edge", labels), settings, labels)
    clock = [100.0]
    monkeypatch.setattr(announcing.time, "monotonic", lambda: clock[0])
    home.greet()
    clock[0] += announcing.SETTLE_S
    assert len([*home.due()]) == 2
    for label in labels["yard"]:
        (last,) = home.take(*make_events(1, label=label))
        assert json.loads(last.content)["label"] == label
        assert [*home.due()] == []
    clock[0] += announcing.BURST_S
    _, yard = home.due()
    assert len(json.loads(yard.content)["components"]) == 527 + 4
    assert [*home.due()] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b'{"device": 1}',
        b"\xff",
        b'{"device": {"manufacturer": "somebody"}, "components": {"cat": {"platform": "sensor", "x": 1}}}',
        b'{"device": {"manufacturer": "htsat-edge"}, "components": [1]}',
        b'{"device": {"manufacturer": "htsat-edge"}, "components": {"cat": 1, "dog": {"platform": "sensor"}}}',
        b'{"device": {"manufacturer": "htsat-edge"}, "components": {"cat": {"platform": ["x"], "state_topic": 1}}}',
    ],
)
@pytest.mark.parametrize("topic", ["device/htsat_edge_yard/config", "device/htsat_edge_bridge/config", "x"])
def test_announcements_that_are_not_ours_or_damaged_change_nothing(content, topic):
    labels = {"yard": ["Dog"]}
    home = HomeAssistant(Topics("htsat-edge", labels), MqttConfig(host="127.0.0.1"), labels)
    before = home._discovery.source("yard", home._announced["yard"], home._removed["yard"])
    assert [*home.look_at(f"homeassistant/{topic}", content)] == []
    assert home._discovery.source("yard", home._announced["yard"], home._removed["yard"]) == before


def test_names_that_are_not_ascii_are_announced_so_that_they_are_taken(broker, connect, make_events, wait_for, quick):
    connect(["Küche", "Kuche"], ["Hündin", "Hundin"], topic="haus/hütte").offer(
        *make_events(1, source="Küche", label="Hündin")
    )
    wait_for(lambda: broker.last("haus/hütte/küche/hündin") == "ON")
    wait_for(lambda: len(states(broker, "haus/hütte/kuche/hundin")) == 1)
    wait_for(lambda: len([topic for topic, _ in broker.heard if topic.endswith("/config")]) >= 3)
    announced = {at: json.loads(content) for at, content in broker.heard if at.endswith("/config")}
    wanted = re.compile(r"homeassistant/device/[A-Za-z0-9_-]+/config")
    assert all(wanted.fullmatch(topic) for topic in announced)
    assert len(announced) == 3
    names = {each["name"] for config in announced.values() for each in config["components"].values()}
    assert {"Hündin", "Hundin"} <= names


def test_a_daemon_that_is_there_contradicts_that_it_is_not(broker, connect, wait_for):
    """A broker notices a lost connection minutes later, when the same daemon has long had another."""
    output = connect()
    wait_for(lambda: broker.last("htsat-edge/status") == "online")
    output._publish([Publication("htsat-edge/status", "offline")])
    wait_for(lambda: states(broker, "htsat-edge/status")[-2:] == ["offline", "online"])


def test_two_daemons_of_one_topic_and_host_live_side_by_side(broker, connect, make_events, wait_for):
    first, second = connect(sources=["yard"]), connect(sources=["gate"])
    for number in range(3):
        first.offer(*make_events(1, first=number))
        second.offer(*make_events(1, first=number, source="gate"))
        wait_for(lambda number=number: first.sent == second.sent == number + 1)
    assert set(states(broker, "htsat-edge/status")) == {"online"}  # a broker that throws one out says that it is gone
    assert (first.failures, second.failures) == (0, 0)
    first.close()
    wait_for(lambda: states(broker, "htsat-edge/status")[-2:] == ["offline", "online"])


def test_of_many_classes_one_that_was_on_when_power_went_is_off_again(broker, connect, make_events, wait_for, quick):
    labels = [f"Class {i}" for i in range(527)]
    before = connect(sources=["yard"], labels=labels)
    before.offer(*make_events(1, label="Class 3"))
    wait_for(lambda: "class_3" in components(broker) and broker.last("htsat-edge/yard/class_3") == "ON")
    before._client.paho._sock_close()
    before._client.paho.loop_stop()
    connect(sources=["yard"], labels=labels)
    wait_for(lambda: broker.last("htsat-edge/yard/class_3") == "OFF")
