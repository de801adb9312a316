"""What Home Assistant is told, by its documentation; tests/homeassistant asks Home Assistant itself."""

import csv
import json
import re
from pathlib import Path
from types import MappingProxyType

import jsonschema
import pytest

import htsat_edge
from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt.discovery import Discovery
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics

AUDIOSET = Path(__file__).parents[5] / "configs" / "labels" / "audioset.csv"
TEXT = {"type": "string", "minLength": 1}
TOPIC = {"type": "string", "pattern": "^[^#+]+$"}
AVAILABILITY = {
    "type": "array",
    "items": {"type": "object", "properties": {"topic": TOPIC}, "required": ["topic"], "additionalProperties": False},
}
COMMON = {
    "unique_id": TEXT,
    "name": TEXT,
    "state_topic": TOPIC,
    "availability": AVAILABILITY,
    "value_template": {"type": "string", "pattern": "^{[{%].*[}%]}$"},
    "json_attributes_topic": TOPIC,
    "json_attributes_template": {"type": "string", "pattern": "^{{.*}}$"},
    "icon": {"type": "string", "pattern": "^mdi:[a-z-]+$"},
    "entity_category": {"enum": ["diagnostic", "config"]},
}
STATE_CLASS = {"enum": ["measurement", "total", "total_increasing"]}


def component(platform, required=(), **own):
    """Return the schema of a component."""
    return {
        "type": "object",
        "properties": {
            **COMMON,
            "platform": {"const": platform},
            "default_entity_id": {"type": "string", "pattern": rf"^{platform}\.[a-z0-9]+(_[a-z0-9]+)*$"},
            **own,
        },
        "required": ["platform", "unique_id", "name", "state_topic", "default_entity_id", *required],
        "additionalProperties": False,
    }


SCHEMA = {
    "type": "object",
    "properties": {
        "device": {
            "type": "object",
            "properties": {
                "identifiers": {"type": "array", "items": TEXT, "minItems": 1},
                **dict.fromkeys(("name", "manufacturer", "sw_version", "via_device", "suggested_area"), TEXT),
                "configuration_url": {"type": "string", "pattern": "^(https?|homeassistant)://.+"},
            },
            "required": ["identifiers", "name"],
            "additionalProperties": False,
        },
        "origin": {
            "type": "object",
            "properties": {"name": TEXT, "sw_version": TEXT},
            "required": ["name"],
            "additionalProperties": False,
        },
        "availability": AVAILABILITY,
        "availability_mode": {"enum": ["all", "any", "latest"]},
        "components": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9_-]+$"},
            "additionalProperties": {
                "oneOf": [
                    component(
                        "binary_sensor",
                        device_class={"enum": ["sound", "problem", "connectivity"]},
                        payload_on=TEXT,
                        payload_off=TEXT,
                    ),
                    component(
                        "sensor",
                        device_class={"enum": ["sound_pressure", "temperature"]},
                        unit_of_measurement=TEXT,
                        state_class=STATE_CLASS,
                    ),
                    component("event", ["event_types"], event_types={"type": "array", "items": TEXT, "minItems": 1}),
                    component("switch", ["command_topic"], command_topic=TOPIC, retain={"type": "boolean"}),
                    {  # is removed
                        "type": "object",
                        "properties": {"platform": {"enum": ["binary_sensor", "event", "sensor", "switch"]}},
                        "required": ["platform"],
                        "additionalProperties": False,
                    },
                ]
            },
        },
    },
    "required": ["device", "origin", "components"],
    "additionalProperties": False,
}


def make(labels, levels=MappingProxyType({}), **settings):
    settings = MqttConfig(host="127.0.0.1", **settings)
    return Discovery(Topics(settings.topic, labels), settings, labels, levels)


def announced(discovery, labels):
    """Return all announcements, by topic."""
    sources = {discovery.source_topic(source): discovery.source(source, own) for source, own in labels.items()}
    return {
        topic: json.loads(content) for topic, content in {discovery.bridge_topic: discovery.bridge(), **sources}.items()
    }


@pytest.mark.parametrize(
    ("labels", "levels", "settings"),
    [
        ({"yard": ["Dog", "Cattle, bovinae"], "gate": ["Dog"]}, {"yard": True, "gate": False}, {"commands": True}),
        ({"yard": ["Dog"]}, {}, {"place": "Barn", "page": "http://barn.local:8080", "device": "Ears <1>"}),
        ({"Küche": ["Hündin", "Hundin"], "Kuche": ["狗 🐕"], "a_厨_b": ["a 厨 b"]}, {}, {"topic": "haus/hütte"}),
        ({"…": ["!", "…", "\udcfc"], "mic/1": ["🐈"], "mic 1": ["Connection"]}, {}, {"topic": "…"}),
        ({"bridge": ["Problem", "level dbfs", "last-sound"], "x": ["DBFS"]}, {"bridge": False, "x": True}, {}),
    ],
)
def test_announcements_are_what_the_documentation_wants(labels, levels, settings):
    discovery = make(labels, levels, **settings)
    configs = announced(discovery, labels)
    assert len(configs) == 1 + len(labels)
    ids = []
    for topic, config in configs.items():
        jsonschema.validate(config, SCHEMA)
        assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", topic)
        ids += [(each["platform"], each["unique_id"]) for each in config["components"].values()]
    assert len(ids) == len(set(ids))
    assert len({config["device"]["identifiers"][0] for config in configs.values()}) == len(configs)
    bridge, *sources = configs.values()
    assert {config["device"]["via_device"] for config in sources} == set(bridge["device"]["identifiers"])
    assert {config["device"]["sw_version"] for config in configs.values()} == {htsat_edge.__version__}


def test_plain_names_have_the_ids_that_they_always_had():
    """Else Home Assistant would take them for others, without their history and what people have made of them."""
    labels = {"yard": ["Cattle, bovinae"]}
    discovery = make(labels, {"yard": False})
    assert discovery.source_topic("yard") == "homeassistant/device/htsat_edge_yard/config"
    config = json.loads(discovery.source("yard", labels["yard"]))
    assert config["device"]["identifiers"] == ["htsat_edge_yard"]
    assert config["device"]["name"] == "yard (htsat-edge)"
    cattle, level = (config["components"][key] for key in ("cattle_bovinae", "level-dbfs"))
    assert cattle["unique_id"] == "htsat_edge_yard_cattle_bovinae"
    assert cattle["default_entity_id"] == "binary_sensor.yard_htsat_edge_cattle_bovinae"
    assert (cattle["device_class"], cattle["state_topic"]) == ("sound", "htsat-edge/yard/cattle_bovinae")
    assert level["unique_id"] == "htsat_edge_yard_level_dbfs"
    assert config["components"]["sound-event"]["unique_id"] == "htsat_edge_yard-sound-event"
    assert level["default_entity_id"] == "sensor.yard_htsat_edge_sound_level"
    assert discovery.singles("yard") == [
        "homeassistant/binary_sensor/htsat_edge_yard",
        "homeassistant/sensor/htsat_edge_yard",
    ]


def test_what_people_call_a_device_changes_no_id():
    labels = {"yard": ["Dog"]}
    more = {"device": "Ears", "place": "Barn", "page": "http://barn.local:8080"}
    plain, named = (announced(make(labels, **settings), labels) for settings in ({}, more))
    assert [[*config["components"].values()] for config in plain.values()] == [
        [*config["components"].values()] for config in named.values()
    ]
    assert [config["device"]["name"] for config in named.values()] == ["Ears", "yard (Ears)"]
    assert {config["device"]["suggested_area"] for config in named.values()} == {"Barn"}
    assert {config["device"]["configuration_url"] for config in named.values()} == {more["page"]}


def test_what_of_a_source_that_is_lost_is_still_there():
    """That it is lost, and the switch; without the daemon nothing is, but that the daemon is away."""
    labels = {"yard": ["Dog"]}
    bridge, yard = announced(make(labels, {"yard": True}, commands=True), labels).values()
    daemon, source = {"topic": "htsat-edge/status"}, {"topic": "htsat-edge/yard/status"}
    assert (bridge["availability"], bridge["availability_mode"]) == ([daemon], "all")
    assert (yard["availability"], yard["availability_mode"]) == ([daemon, source], "all")
    others = {
        key: each["availability"]
        for key, each in {**bridge["components"], **yard["components"]}.items()
        if "availability" in each
    }
    of_daemon = {key: [daemon] for key in ("input-problem", "input-coverage", "listening-switch")}
    assert others == {"connection": [], **of_daemon}
    connection = bridge["components"]["connection"]
    assert (connection["payload_on"], connection["payload_off"]) == ("online", "offline")


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_level_of_a_source_is_what_home_assistant_takes_for_one(calibrated):
    """It refuses a sound pressure in another unit than dB and dBA (homeassistant.const.UnitOfSoundPressure)."""
    config = json.loads(make({"yard": ["Level"]}, {"yard": calibrated}).source("yard", ["Level"]))
    levels = {key: each for key, each in config["components"].items() if key.startswith("level-")}
    assert {each["state_topic"] for each in levels.values()} == {"htsat-edge/yard/level"}
    seen = {
        key: (each["unit_of_measurement"], each.get("device_class"), each["value_template"])
        for key, each in levels.items()
    }
    if calibrated:
        assert seen == {
            "level-laeq_db": ("dBA", "sound_pressure", "{{ value_json.laeq_db }}"),
            "level-lamax_db": ("dBA", "sound_pressure", "{{ value_json.lamax_db }}"),
        }
    else:
        assert seen == {"level-dbfs": ("dBFS", None, "{{ value_json.dbfs }}")}
    assert config["components"]["level"]["state_topic"] != "htsat-edge/yard/level"  # a class of that name


def test_there_is_a_switch_only_where_commands_are_taken():
    without, with_ = (
        json.loads(make({"yard": ["Dog"]}, commands=commands).source("yard", ["Dog"]))["components"]
        for commands in (False, True)
    )
    assert "listening-switch" not in without
    switch = with_["listening-switch"]
    assert (switch["state_topic"], switch["command_topic"], switch["retain"]) == (
        "htsat-edge/yard/listening",
        "htsat-edge/yard/listening/set",
        True,
    )


def test_all_classes_of_audioset_are_event_types_and_no_flood():
    """Home Assistant drops, with a warning, an event of a type that was not announced: all are, from the beginning."""
    with AUDIOSET.open() as lines:
        labels = [row["label"] for row in csv.DictReader(lines)]
    discovery = make({"yard": labels})
    content = discovery.source("yard", labels[:1])
    assert json.loads(content)["components"]["sound-event"]["event_types"] == labels
    assert len(content) < 12_000
