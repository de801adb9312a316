"""What Home Assistant itself makes of our announcements and messages, through a real broker."""

import json

import pytest

import htsat_edge
from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.live.frames import DeviceStatus
from htsat_edge.runtime.daemon.messages import LevelStatus
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

DOG, SOUND = "binary_sensor.yard_htsat_edge_dog", "event.yard_htsat_edge_sound"


@pytest.fixture
def connect(broker):
    """Starts an output."""
    started = []

    def begin(labels=("Dog", "Cattle, bovinae"), levels=None, **settings):
        settings = MqttConfig(host="127.0.0.1", port=broker.port, off_delay_s=0, **settings)
        output = Mqtt(settings, {"yard": list(labels)}, {"yard": True} if levels is None else levels, "session")
        output.start()
        started.append(output)
        return output

    yield begin
    for output in started:
        output.close()


def start(label, number=1, **more):
    return EventStart(source="yard", id=number, label=label, onset=1.5, time=None, score=0.75, **more)


def bark_until_heard(home, output, wait_for):
    """Home Assistant subscribes a moment after an entity is there, in parts, and an event is not retained."""

    def is_heard():
        output.offer(start("Dog", clip="a.flac"))
        return home.states()[SOUND] not in ("unknown", "unavailable")

    wait_for(lambda: SOUND in home.states())
    wait_for(is_heard)


def end(label, number=1):
    return EventEnd(source="yard", id=number, label=label, onset=1.5, offset=2.5, time=None, score=0.875)


def level_message():
    return LevelStatus(source="yard", time=None, onset=0, offset=1, dbfs=-20, laeq_db=50.5, lamax_db=60)


def condition(**more):
    """How the source gets on, as the daemon publishes it."""
    numbers = dict.fromkeys(("gaps", "lost_s", "position_s", "hop_s", "latency_s", "behind_s", "suppressed"), 0)
    return {
        **numbers,
        **{"name": "yard", "heard": True, "problems": [], "failure": None, "coverage": 0.98765, "level_dbfs": None},
        **{"paused": False},
        **more,
    }


def health(**more):
    """How the daemon gets on, as it publishes it."""
    outputs = [
        {"name": name, "works": works, "waiting": 2, "sent": 0, "dropped": 0, "failures": 0}
        for name, works in (("store", True), ("webhook", False))
    ]
    numbers = {
        "uptime_s": 1,
        "load": 0.1234,
        "inference_ms": 1,
        "slowest_ms": 1,
        "temperatures": {"cpu": 40.5, "gpu": 51},
    }
    texts = {"time": "2026-05-01T12:00:00+00:00", "version": "1.2", "model": "m", "backend": "b", "engine": None}
    parts = {"sources": [condition(problems=["muted"])], "outputs": outputs}
    status = DeviceStatus(**{**numbers, **texts, **parts, "healthy": False, **more})
    return status.model_dump_json()


def test_a_source_and_its_daemon(broker, connect, home_assistant, wait_for):
    home, output = home_assistant(), connect(commands=True, place="Barn")
    publish = broker._client.publish
    wait_for(lambda: home.states().get(DOG) == "off")
    bark_until_heard(home, output, wait_for)
    wait_for(lambda: home.states()[DOG] == "on")
    for message in (end("Dog"), start("Cattle, bovinae", 2), end("Cattle, bovinae", 2), level_message()):
        output.offer(message)
    publish("htsat-edge/yard/condition", json.dumps(condition(problems=["muted"])), qos=1, retain=True)
    publish("htsat-edge/health", health(), qos=1, retain=True)
    wait_for(lambda: home.states()["sensor.htsat_edge_queue"] == "4")
    wait_for(lambda: home.states()["sensor.yard_htsat_edge_sound_level"] == "50.5")
    look = home.ask("look")
    states = {entity: state["state"] for entity, state in look["states"].items()}
    states.pop(SOUND)  # the time
    assert states == {
        DOG: "off",
        "binary_sensor.yard_htsat_edge_cattle_bovinae": "off",
        "binary_sensor.yard_htsat_edge_problem": "on",
        "sensor.yard_htsat_edge_coverage": "98.8",
        "sensor.yard_htsat_edge_last_sound": "Cattle, bovinae",
        "sensor.yard_htsat_edge_sound_level": "50.5",
        "sensor.yard_htsat_edge_sound_level_maximum": "60.0",
        "switch.yard_htsat_edge_listening": states["switch.yard_htsat_edge_listening"],
        "binary_sensor.htsat_edge_connection": "on",
        "binary_sensor.htsat_edge_problem": "on",
        "sensor.htsat_edge_load": "12.3",
        "sensor.htsat_edge_queue": "4",
        "sensor.htsat_edge_temperature": "51.0",
        "sensor.htsat_edge_version": "1.2",
    }
    event = look["states"][SOUND]["attributes"]
    assert event["event_types"] == ["Dog", "Cattle, bovinae"]
    assert (event["event_type"], event["score"], event["onset"]) == ("Cattle, bovinae", 0.75, 1.5)
    assert "clip" not in event
    assert look["states"]["binary_sensor.yard_htsat_edge_problem"]["attributes"]["problems"] == ["muted"]
    assert look["states"]["binary_sensor.htsat_edge_problem"]["attributes"]["outputs"] == ["webhook"]
    yard, bridge = (look["devices"][f"htsat_edge_{name}"] for name in ("yard", "bridge"))
    assert (yard["name"], yard["area"], yard["via"]) == ("yard (htsat-edge)", "barn", bridge["id"])
    assert bridge["sw_version"] == yard["sw_version"] == htsat_edge.__version__
    assert look["warnings"] == []
    publish("htsat-edge/yard/condition", json.dumps(condition(problems=["muted"], paused=True)), qos=1, retain=True)
    publish("htsat-edge/health", health(healthy=True, temperatures={}), qos=1, retain=True)
    wait_for(lambda: home.states()["sensor.htsat_edge_temperature"] == "unknown")
    assert home.states()["binary_sensor.yard_htsat_edge_problem"] == "off"
    assert home.states()["binary_sensor.htsat_edge_problem"] == "off"
    for fault, wanted in (({"failure": "unplugged"}, "on"), ({}, "off"), ({"heard": False}, "on")):
        publish("htsat-edge/yard/condition", json.dumps(condition(**fault)), qos=1, retain=True)
        wait_for(lambda wanted=wanted: home.states()["binary_sensor.yard_htsat_edge_problem"] == wanted)
    output.close()
    wait_for(lambda: home.states()["binary_sensor.htsat_edge_connection"] == "off")
    assert home.states()[DOG] == "unavailable"
    assert home.ask("look")["warnings"] == []


def test_the_clip_of_an_event_is_an_attribute(connect, home_assistant, wait_for):
    home, output = home_assistant(), connect()
    bark_until_heard(home, output, wait_for)
    wait_for(lambda: home.states()["sensor.yard_htsat_edge_last_sound"] == "Dog")
    states = home.ask("look")["states"]
    assert states[SOUND]["attributes"]["clip"] == "a.flac"
    assert states["sensor.yard_htsat_edge_last_sound"]["attributes"]["clip"] == "a.flac"


def test_the_switch_pauses_also_over_a_restart(broker, connect, home_assistant, wait_for):
    home = home_assistant()
    connect(commands=True)
    switch, topic = "switch.yard_htsat_edge_listening", "htsat-edge/yard/listening"
    for wanted, before in (("off", "on"), ("on", "off")):
        broker._client.publish(topic, before.upper(), qos=1, retain=True)
        wait_for(lambda before=before: home.states().get(switch) == before)
        home.ask("call", "switch", f"turn_{wanted}", {"entity_id": switch})
        wait_for(lambda wanted=wanted: broker.last(f"{topic}/set") == wanted.upper())
    late = []
    broker._client.message_callback_add(f"{topic}/set", lambda _, __, message: late.append(message.retain))
    broker._client.subscribe(f"{topic}/set", qos=1)
    wait_for(lambda: late == [True])


def test_names_stay_over_restarts(connect, home_assistant, wait_for):
    home, output = home_assistant(), connect()
    wait_for(lambda: home.states().get(DOG) == "off")
    entities = home.ask("look")["entities"]
    output.close()
    home = home_assistant()
    wait_for(lambda: home.states().get(DOG) == "unavailable")
    connect(device="Another name", place="Elsewhere")
    wait_for(lambda: home.states()[DOG] == "off")
    wait_for(lambda: "Another" in home.ask("look")["devices"]["htsat_edge_bridge"]["name"])
    look = home.ask("look")
    assert (look["entities"], look["warnings"]) == (entities, [])


def test_of_many_classes_those_that_are_heard_are_there(connect, home_assistant, wait_for):
    """Also where several are heard at once, one after the other, and after a restart."""
    labels = [f"Class {i}" for i in range(527)]
    home, output = home_assistant(), connect(labels)
    wait_for(lambda: home.states().get(SOUND) == "unknown")
    assert not any("class" in entity for entity in home.states())
    heard = [3, 1, 526, 77, 20]
    for number in heard:
        output.offer(start(f"Class {number}", number + 1))
    entities = {f"binary_sensor.yard_htsat_edge_class_{number}" for number in heard}
    wait_for(lambda: entities <= {entity for entity, state in home.states().items() if state == "on"})
    output.close()
    output = connect(labels)
    output.offer(start("Class 5"))
    entities.add("binary_sensor.yard_htsat_edge_class_5")
    wait_for(lambda: home.states().get("binary_sensor.yard_htsat_edge_class_5") == "on")
    home = home_assistant()
    wait_for(lambda: entities <= home.states().keys())
    assert {entity for entity in home.states() if "class" in entity} == entities
    assert home.ask("look")["warnings"] == []


def test_a_class_that_was_taken_out_of_the_configuration_goes(broker, connect, home_assistant, wait_for):
    home = home_assistant()
    before = connect(["Dog", "Cat"])
    cat = "binary_sensor.yard_htsat_edge_cat"
    wait_for(lambda: home.states().get(cat) == "off")
    before.close()
    broker._client.publish("htsat-edge/yard/level", json.dumps({"laeq_db": 50, "lamax_db": 60}), qos=1, retain=True)
    wait_for(lambda: home.states().get("sensor.yard_htsat_edge_sound_level") != "unknown")
    connect(["Dog"], levels={})
    wait_for(lambda: not {cat, "sensor.yard_htsat_edge_sound_level"} & home.states().keys())
    wait_for(lambda: home.states()[DOG] == "off")
    wait_for(lambda: (broker.last("htsat-edge/yard/cat"), broker.last("htsat-edge/yard/level")) == ("", ""))
    look = home.ask("look")
    assert cat not in look["entities"].values()
    assert look["warnings"] == []


def single(source, key, label, kind="binary_sensor", **more):
    """What earlier versions announced: a class or a level by itself."""
    config = {
        "name": label,
        "unique_id": f"htsat_edge_{source}_{key}",
        "state_topic": f"htsat-edge/{source}/{key}",
        "device_class": "sound",
        **more,
        "availability": [{"topic": "htsat-edge/status"}, {"topic": f"htsat-edge/{source}/status"}],
        "availability_mode": "all",
        "device": {
            "identifiers": [f"htsat_edge_{source}"],
            "name": f"{source} (htsat-edge)",
            "manufacturer": "htsat-edge",
        },
    }
    return f"homeassistant/{kind}/htsat_edge_{source}/{key}/config", json.dumps(config)


@pytest.mark.parametrize("many", [False, True])
def test_what_an_earlier_version_announced_is_handed_over(broker, connect, home_assistant, wait_for, many):
    """With the names that people have given; a class that there is no more goes."""
    level = {"state_topic": "htsat-edge/yard/level", "value_template": "{{ value_json.dbfs }}", "device_class": None}
    earlier = [
        single("yard", "dog", "Dog"),
        single("yard", "cattle_bovinae", "Cattle, bovinae"),
        single("yard", "cat", "Cat"),
        single("yard", "dbfs", "Sound level", "sensor", unique_id="htsat_edge_yard_level_dbfs", **level),
    ]
    for topic, content in earlier:
        broker._client.publish(topic, content, qos=1, retain=True)
    home = home_assistant()
    wait_for(lambda: len(home.states()) == 4)
    home.ask("rename", DOG, "binary_sensor.our_dog")
    wait_for(lambda: "binary_sensor.our_dog" in home.states())
    labels = ["Dog", "Cattle, bovinae", *(f"Class {i}" for i in range(100 if many else 0))]
    connect(labels, levels={"yard": False}).offer(level_message())
    wait_for(lambda: home.states().get(SOUND) == "unknown")
    wait_for(lambda: home.states().get("sensor.yard_htsat_edge_sound_level") == "-20.0")
    look = home.ask("look")
    assert look["entities"]["htsat_edge_yard_dog"] == "binary_sensor.our_dog"
    assert look["entities"]["htsat_edge_yard_cattle_bovinae"] == "binary_sensor.yard_htsat_edge_cattle_bovinae"
    assert look["entities"]["htsat_edge_yard_level_dbfs"] == "sensor.yard_htsat_edge_sound_level"
    assert "htsat_edge_yard_cat" not in look["entities"]
    assert look["warnings"] == []
    assert [broker.last(topic) for topic, _ in earlier] == [""] * 4
