"""What people see of a daemon in Home Assistant, through a real broker."""

import itertools
import json
import re
import time
from types import SimpleNamespace

import pytest

from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt import home_assistant as announcing
from htsat_edge.runtime.daemon.outputs.mqtt import output as publishing
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


@pytest.fixture
def later(monkeypatch):
    """Has the time of outputs go on by some seconds at once."""
    ahead = [0.0]

    def go_on(seconds):
        ahead[0] += seconds

    monkeypatch.setattr(publishing, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0]))
    return go_on


def states(broker, topic=DOG):
    return [content for at, content in broker.heard if at == topic]


def test_a_bark_is_on_for_a_while_and_off_then(broker, connect, make_events, wait_for):
    output = connect(off_delay_s=0.2)
    for kind in ("start", "end"):
        output.offer(*make_events(1, kind=kind))
    wait_for(lambda: states(broker) == ["OFF", "ON", "OFF"])
    assert output.sent == 2


def test_it_stays_on_until_the_delay_is_over_whatever_else_comes(broker, connect, make_events, wait_for, later):
    output = connect(off_delay_s=1000)
    for number in range(3):
        for kind in ("start", "end"):
            output.offer(*make_events(1, first=number, kind=kind))
    wait_for(lambda: output.sent == 6)
    later(900)
    output.offer(*make_events(1, label="Cattle, bovinae"))
    wait_for(lambda: broker.last("htsat-edge/yard/cattle_bovinae") == "ON")
    assert states(broker) == ["OFF", "ON", "ON", "ON"]
    later(100)
    output.offer(*make_events(1, label="Cattle, bovinae", kind="end"))  # while messages come as well
    wait_for(lambda: broker.last(DOG) == "OFF")
    assert broker.last("htsat-edge/yard/cattle_bovinae") == "ON"
    output.close()
    wait_for(lambda: broker.last("htsat-edge/status") == "offline")
    assert broker.last("htsat-edge/yard/cattle_bovinae") == "OFF"


def test_one_that_goes_on_for_longer_than_the_delay_is_off_at_its_end(broker, connect, make_events, wait_for, later):
    """Also where there was one before it, whose delay is over meanwhile."""
    output = connect(off_delay_s=1000)
    for kind in ("start", "end", "start"):
        output.offer(*make_events(1, kind=kind))
    wait_for(lambda: output.sent == 3)
    later(1000)
    output.offer(*make_events(1, label="Cattle, bovinae"))
    wait_for(lambda: broker.last("htsat-edge/yard/cattle_bovinae") == "ON")
    assert states(broker) == ["OFF", "ON", "ON"]
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


@pytest.fixture
def clock(monkeypatch):
    """The seconds of a clock that the test sets."""
    clock = [100.0]
    monkeypatch.setattr(announcing.time, "monotonic", lambda: clock[0])
    return clock


def make_home(labels, **settings):
    return HomeAssistant(Topics("htsat-edge", labels), MqttConfig(host="127.0.0.1", **settings), labels)


@pytest.mark.parametrize(("count", "at_once"), [(40, True), (41, False)])
def test_up_to_forty_classes_are_announced_at_once(clock, count, at_once):
    home = make_home({"yard": [f"Class {i}" for i in range(count)]})
    home.greet()
    clock[0] += announcing.SETTLE_S
    _, yard = home.due()
    assert ("class_39" in json.loads(yard.content)["components"]) == at_once


def announcement(**components):
    return json.dumps({"device": {"manufacturer": "htsat-edge"}, "components": components}).encode()


def removed(publication):
    """The keys of components that an announcement takes back, as it does before all else."""
    components = json.loads(publication.content)["components"]
    return [*itertools.takewhile(lambda key: components[key].keys() == {"platform"}, components)]


def test_of_what_there_is_no_more_the_state_goes_once_nobody_reads_it(clock):
    """And only where it is ours, and of nothing else."""
    home, topic = make_home({"yard": ["Dog"]}), "homeassistant/device/htsat_edge_yard/config"
    home.greet()
    sensors = {"cat": "htsat-edge/yard/cat", "alias": "htsat-edge/yard/event", "foreign": "house/cat"}
    earlier = {key: {"platform": "sensor", "state_topic": state} for key, state in sensors.items()}
    assert [*home.look_at(topic, announcement(**earlier, gone={"platform": "sensor"}))] == []
    clock[0] += announcing.SETTLE_S
    _, yard = home.due()
    assert removed(yard) == [*sensors]
    assert [*home.due()] == []
    clock[0] += announcing.SETTLE_S
    assert [*home.due()] == [Publication("htsat-edge/yard/cat", "")]
    home.greet()
    for wanted in (2, 0):
        clock[0] += announcing.SETTLE_S
        assert len([*home.due()]) == wanted


def test_two_daemons_with_one_source_do_not_take_back_for_ever_what_the_other_announces(clock):
    """What comes from the broker is looked at once a connection."""
    home, topic = make_home({"yard": ["Dog"]}), "homeassistant/device/htsat_edge_yard/config"
    bird = announcement(bird={"platform": "sensor", "name": "Bird"})
    for earlier, wanted in ((announcement(), []), (bird, ["bird"])):
        home.greet()
        for content in (earlier, bird):
            assert [*home.look_at(topic, content)] == []
        clock[0] += announcing.SETTLE_S
        _, yard = home.due()
        assert removed(yard) == wanted


def test_what_was_announced_by_itself_is_announced_once_home_assistant_has_handed_it_over(clock):
    home = make_home({"yard": ["Dog"]})
    home.greet()
    clock[0] += 0.9 * announcing.SETTLE_S
    handed_over = [*home.look_at("homeassistant/binary_sensor/htsat_edge_yard/dog/config", announcement())]
    assert [one.content for one in handed_over] == ['{"migrate_discovery": true}', ""]
    clock[0] += 0.9 * announcing.SETTLE_S
    assert [*home.due()] == []
    clock[0] += 0.2 * announcing.SETTLE_S
    assert len([*home.due()]) == 2
    assert home.adopted == []  # it may sound now: this run has announced it already


def test_classes_that_are_heard_in_a_burst_are_announced_together(make_events, clock):
    labels = {"yard": [f"Class {i}" for i in range(527)]}
    home = make_home(labels)
    home.greet()
    clock[0] += announcing.SETTLE_S
    assert len([*home.due()]) == 2
    for label in labels["yard"]:
        (last,) = home.take(*make_events(1, label=label))
        assert json.loads(last.content) == {"label": label, "score": 0.5, "onset": 0.0}
        assert [*home.take(*make_events(1, label=label, kind="end"))] == []
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
    wait_for(lambda: broker.last("htsat-edge/status") == "offline")  # which the broker says in its place
    connect(sources=["yard"], labels=labels)
    wait_for(lambda: broker.last("htsat-edge/yard/class_3") == "OFF")
