"""Announcements, whatever sources and classes are called, are what Home Assistant's own schemas take."""

import csv
import json
import subprocess
from pathlib import Path
from types import MappingProxyType

import pytest

from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt.discovery import Discovery
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def validate(home_assistants_python):
    """Returns what is wrong with each announcement: (topic, content)."""

    def ask(announcements):
        lines = [json.dumps({"topic": topic, "payload": content}) for topic, content in announcements]
        run = subprocess.run(
            [home_assistants_python, HERE / "validate.py"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return [json.loads(line) for line in run.stdout.splitlines()]

    return ask


@pytest.fixture(scope="module")
def audioset():
    """The labels of AudioSet."""
    with (HERE.parents[1] / "configs" / "labels" / "audioset.csv").open() as lines:
        return [row["label"] for row in csv.DictReader(lines)]


def announcements(labels, levels=MappingProxyType({}), **settings):
    """Return all announcements of a configuration."""
    settings = MqttConfig(host="127.0.0.1", **settings)
    discovery = Discovery(Topics(settings.topic, labels), settings, labels, levels)
    return [
        (discovery.bridge_topic, discovery.bridge()),
        *((discovery.source_topic(source), discovery.source(source, own)) for source, own in labels.items()),
    ]


def test_every_form_is_taken(validate, audioset):
    made = [
        *announcements({"yard": ["Dog", "Cattle, bovinae"], "gate": ["Dog"]}),
        *announcements({"yard": audioset}, {"yard": True}, commands=True, place="Barn", page="http://barn.local:8080"),
        *announcements(
            {"Küche": ["Hündin"], "厨房": ["狗 🐕"], "a_厨_b": ["a 厨 b"]}, {"厨房": False}, topic="haus/hütte"
        ),
        *announcements({"…": ["!", "…"], "mic/1": ["🐈", "x" * 200]}, topic="…", device="Mäher <1>"),
    ]
    assert validate(made) == [None] * len(made)


def test_a_removed_component_is_taken(validate):
    labels = {"yard": ["Dog"]}
    settings = MqttConfig(host="127.0.0.1")
    discovery = Discovery(Topics("htsat-edge", labels), settings, labels)
    removed = discovery.source("yard", ["Dog"], {"cat": "binary_sensor", "level-dbfs": "sensor"})
    assert validate([(discovery.source_topic("yard"), removed)]) == [None]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda config: config.pop("origin"), "origin"),
        (lambda config: config["device"].update(configuration_url="barn"), "configuration_url"),
        (lambda config: config["components"]["dog"].pop("unique_id"), "unique_id"),
        (lambda config: config["components"]["dog"].update(device_class="bark"), "device_class"),
        (lambda config: config["components"]["dog"].update(default_entity_id="sensor.dog"), "no id of an entity"),
        (lambda config: config["components"]["sound-event"].pop("event_types"), "event_types"),
        (lambda config: config["components"]["sound-event"].update(value_template="{{ % }"), "value_template"),
        (lambda config: config["components"]["last-sound"].update(event_types=["Dog"]), "is not known"),
        (lambda config: config["components"].update({"a b": {"platform": "sensor"}}), "key a b"),
    ],
)
def test_what_is_wrong_is_noticed(validate, change, wrong):
    """Else the tests above could not fail."""
    topic, content = announcements({"yard": ["Dog"]})[1]
    config = json.loads(content)
    change(config)
    (complaint,) = validate([(topic, json.dumps(config))])
    assert wrong in complaint
