"""Names of topics and sensors, whatever sources and classes are called."""

import json
import re

import pytest

from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics, distinct, identifier


def test_ids_are_ascii_and_differ_where_the_names_do():
    names = [
        "Küche",
        "Kuche",
        "küche",
        "厨房",
        "…",
        "!",
        "Höhle/+#",
        "straße",
        "strasse",
        "Cattle, bovinae",
        "Dog 🐕",
        "Dog",
    ]
    ids = [identifier(name) for name in names]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", each) for each in ids)
    assert ids[1] == "kuche"
    assert re.fullmatch(r"kuche_[0-9a-f]{6}", ids[0])
    assert ids[7:10] == ["strasse", "strasse", "cattle_bovinae"]  # distinct() keeps the first two apart
    assert len({*ids[:4], *ids[6:8], ids[9]}) == 7


def test_the_first_of_several_with_one_short_form_keeps_it():
    short = distinct(["Dog", "dog", "DOG", "status"], str.casefold, ["status"])
    assert short["Dog"] == "dog"
    assert len(set(short.values())) == 4
    assert all(re.fullmatch(r"(dog|status)(_[0-9a-f]{6})?", each) for each in short.values())
    assert distinct(["Dog", "dog", "DOG", "status"], str.casefold, ["status"]) == short


@pytest.mark.parametrize(
    ("topic", "sources", "labels"),
    [
        ("htsat-edge", ["yard", "gate"], ["Dog", "Cattle, bovinae"]),
        ("haus/hütte", ["Küche", "Kuche", "厨房", "客厅"], ["Hündin", "Hundin", "Status", "event", "dog", "Dog"]),
        ("a", ["yard", "yard dog", "yard_dog"], ["dog house", "house", "dog  house"]),
        ("…", ["mic/1", "mic 1"], ["🐕", "🐈", "\udcfc"]),
    ],
)
def test_every_source_and_class_has_topics_and_ids_of_its_own(topic, sources, labels):
    topics = Topics(topic, "homeassistant", dict.fromkeys(sources, labels))
    sensors = {(source, label): topics.sensor(source, label) for source in sources for label in labels}
    contents = {pair: json.loads(sensor.content) for pair, sensor in sensors.items()}
    count = len(sources) * len(labels)
    own = {topics.of_source(source, last) for source in sources for last in ("event", "status")}
    states = {sensor.state for sensor in sensors.values()}
    assert len(own) == 2 * len(sources)
    assert len(states) == count
    assert not states & own
    assert len({sensor.announced_at for sensor in sensors.values()}) == count
    assert len({content["unique_id"] for content in contents.values()}) == count
    assert len({content["device"]["identifiers"][0] for content in contents.values()}) == len(sources)
    for (source, label), sensor in sensors.items():
        assert re.fullmatch(r"homeassistant/binary_sensor/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/config", sensor.announced_at)
        assert contents[source, label]["name"] == label
        assert contents[source, label]["state_topic"] == sensor.state
        assert not any(letter in sensor.state for letter in "#+")


def test_plain_names_have_the_ids_that_they_always_had():
    sensor = Topics("htsat-edge", "homeassistant", {"yard": ["Cattle, bovinae"]}).sensor("yard", "Cattle, bovinae")
    assert sensor.announced_at == "homeassistant/binary_sensor/htsat_edge_yard/cattle_bovinae/config"
    assert sensor.state == "htsat-edge/yard/cattle_bovinae"
    assert json.loads(sensor.content)["unique_id"] == "htsat_edge_yard_cattle_bovinae"


def test_a_source_has_only_its_own_classes():
    """One that both have is called the same in both."""
    topics = Topics("farm", "ha", {"yard": ["Dog", "dog"], "gate": ["dog"]})
    assert topics.sensor("yard", "dog").state.removeprefix("farm/yard/").startswith("dog_")
    assert topics.sensor("gate", "dog").state == topics.sensor("yard", "dog").state.replace("yard", "gate")
    gone = Topics("farm", "ha", {"gate": ["Cat"]}).sensor("gate", "Cat")
    assert Topics("farm", "ha", {"yard": ["Cat"], "gate": ["dog"]}).stale_states(
        gone.announced_at, gone.content.encode()
    ) == ["farm/gate/cat"]


def test_only_our_announcements_of_classes_that_are_no_more_are_stale():
    then, now = (Topics("farm", "ha", {"yard": labels}) for labels in (["Dog", "Cat"], ["Dog"]))
    dog, cat = (then.sensor("yard", label) for label in ("Dog", "Cat"))
    assert now.stale_states(dog.announced_at, dog.content.encode()) is None
    assert now.stale_states(cat.announced_at, cat.content.encode()) == ["farm/yard/cat"]
    elsewhere = json.loads(cat.content) | {"state_topic": "their/state"}
    assert now.stale_states(cat.announced_at, json.dumps(elsewhere).encode()) == []
    theirs = json.loads(cat.content) | {"device": {"manufacturer": "somebody"}}
    for content in (b"", b"no JSON", b"[]", b"{}", b'{"device": 1}', b"\xff", json.dumps(theirs).encode()):
        assert now.stale_states(cat.announced_at, content) is None


def test_the_level_of_a_source_is_what_home_assistant_takes_for_one():
    """It refuses a sound pressure in another unit than dB and dBA (homeassistant.const.UnitOfSoundPressure)."""
    topics = Topics("farm", "ha", {"yard": ["Level", "Dog"], "gate": ["Level"]}, {"yard": True, "gate": False})
    mean, highest = (json.loads(sensor.content) for sensor in topics.level_sensors("yard"))
    assert (mean["name"], mean["value_template"]) == ("Sound level", "{{ value_json.laeq_db }}")
    assert (highest["name"], highest["value_template"]) == ("Sound level, maximum", "{{ value_json.lamax_db }}")
    for sensor in (mean, highest):
        assert sensor["state_topic"] == "farm/yard/level"
        assert (sensor["device_class"], sensor["unit_of_measurement"]) == ("sound_pressure", "dBA")
        assert sensor["state_class"] == "measurement"
        assert sensor["device"] == json.loads(topics.sensor("yard", "Dog").content)["device"]
    assert mean["unique_id"] != highest["unique_id"]
    (plain,) = topics.level_sensors("gate")
    content = json.loads(plain.content)
    assert plain.announced_at == "ha/sensor/farm_gate/dbfs/config"
    assert (content["unit_of_measurement"], content["value_template"]) == ("dBFS", "{{ value_json.dbfs }}")
    assert "device_class" not in content
    assert topics.sensor("yard", "Level").state != "farm/yard/level"  # a class of that name


def test_a_level_that_is_published_in_another_way_or_no_more_is_stale():
    never, plain, calibrated = (
        Topics("farm", "ha", {"yard": ["Dog"]}, levels) for levels in ({}, {"yard": False}, {"yard": True})
    )
    (sensor,) = plain.level_sensors("yard")
    assert plain.stale_states(sensor.announced_at, sensor.content.encode()) is None
    assert calibrated.stale_states(sensor.announced_at, sensor.content.encode()) == []  # the topic is in use
    assert never.stale_states(sensor.announced_at, sensor.content.encode()) == ["farm/yard/level"]
    assert "ha/sensor/farm_yard/+/config" in never.announcements
