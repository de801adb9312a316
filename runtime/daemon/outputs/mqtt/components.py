"""The components that a device has in Home Assistant beside its classes, and the templates that read our messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics

LEVELS = {"laeq_db": "Sound level", "lamax_db": "Sound level, maximum"}
"""Names of what a message of a calibrated level has."""
# Text that is rendered for a start, and nothing for any other message: Home Assistant takes no notice of nothing.
START = (
    "{% if value_json.type == 'start' %}"
    "{% set event = {'event_type': value_json.label, 'score': value_json.score, 'onset': value_json.onset,"
    " 'time': value_json.time} %}"
    "{{ (dict(event, clip=value_json.clip) if value_json.clip is defined else event) | to_json }}"
    "{% endif %}"
)
PROBLEM = (
    "{{ 'ON' if not value_json.paused and (value_json.problems or value_json.failure or not value_json.heard)"
    " else 'OFF' }}"
)
PROBLEMS = "{{ {'problems': value_json.problems, 'failure': value_json.failure, 'heard': value_json.heard} | to_json }}"
HOTTEST = "{{ value_json.temperatures.values() | max if value_json.temperatures else none }}"
FAILING = (
    "{{ {'outputs': value_json.outputs | rejectattr('works') | map(attribute='name') | list,"
    " 'sources': value_json.sources | selectattr('problems') | map(attribute='name') | list} | to_json }}"
)
MEASURED = {"state_class": "measurement"}
DIAGNOSTIC = {"entity_category": "diagnostic"}
Component = dict[str, Any]


def source_components(
    topics: Topics, source: str, labels: Sequence[str], calibrated: bool | None, commands: bool
) -> dict[str, Component]:
    """Return what a source has beside its classes, by key.

    Parameters
    ----------
    topics, source, labels
        Where its messages are, its name, its classes.
    calibrated
        Whether its level is; None: none is published.
    commands
        Whether it can be paused.
    """
    last, condition = topics.of_source(source, "last_sound"), topics.of_source(source, "condition")
    daemon = [{"topic": topics.status}]
    components: dict[str, Component] = {
        "sound-event": {
            "platform": "event",
            "name": "Sound",
            "state_topic": topics.of_source(source, "event"),
            "event_types": [*labels],
            "value_template": START,
        },
        "last-sound": {
            "platform": "sensor",
            "name": "Last sound",
            "icon": "mdi:ear-hearing",
            "state_topic": last,
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": last,
        },
        # Of a source that is lost too, so that it is no use to ask whether it is there.
        "input-problem": {**_problem(condition, PROBLEM, PROBLEMS), "availability": daemon},
        "input-coverage": {**_share("Coverage", condition, "coverage"), "availability": daemon, "icon": "mdi:percent"},
    }
    if calibrated is not None:
        components |= level_components(topics.of_source(source, "level"), calibrated)
    if commands:
        listening = topics.of_source(source, "listening")
        components["listening-switch"] = {
            "platform": "switch",
            "name": "Listening",
            "icon": "mdi:microphone",
            "state_topic": listening,
            "command_topic": f"{listening}/set",
            "retain": True,  # so that a pause outlasts a restart
            "availability": daemon,
        }
    return components


def level_components(topic: str, calibrated: bool) -> dict[str, Component]:
    """Return the level of a source, all of one message; Home Assistant knows no dBFS as sound pressure."""
    names, unit = {"dbfs": "Sound level"}, {"unit_of_measurement": "dBFS"}
    if calibrated:
        names, unit = LEVELS, {"unit_of_measurement": "dBA", "device_class": "sound_pressure"}
    return {
        f"level-{key}": {
            "platform": "sensor",
            "name": name,
            "state_topic": topic,
            "value_template": f"{{{{ value_json.{key} }}}}",
            **unit,
            **MEASURED,
        }
        for key, name in names.items()
    }


def bridge_components(topics: Topics) -> dict[str, Component]:
    """Return what the daemon itself has, by key."""
    health = {"state_topic": topics.health}
    return {
        "connection": {
            "platform": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "state_topic": topics.status,
            "payload_on": "online",
            "payload_off": "offline",
            "availability": [],  # it says itself that nothing is there
            **DIAGNOSTIC,
        },
        "daemon-problem": _problem(topics.health, "{{ 'OFF' if value_json.healthy else 'ON' }}", FAILING),
        "version": {
            "platform": "sensor",
            "name": "Version",
            "icon": "mdi:information-outline",
            "value_template": "{{ value_json.version }}",
            **health,
            **DIAGNOSTIC,
        },
        "load": _share("Load", topics.health, "load") | {"icon": "mdi:gauge"},
        "temperature": {
            "platform": "sensor",
            "name": "Temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "value_template": HOTTEST,
            **health,
            **MEASURED,
            **DIAGNOSTIC,
        },
        "queue": {
            "platform": "sensor",
            "name": "Queue",
            "icon": "mdi:tray-full",
            "unit_of_measurement": "messages",
            "value_template": "{{ value_json.outputs | sum(attribute='waiting') }}",
            **health,
            **MEASURED,
            **DIAGNOSTIC,
        },
    }


def _problem(topic: str, state: str, attributes: str) -> Component:
    """Return whether something is wrong, and what, by templates of messages."""
    return {
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "state_topic": topic,
        "value_template": state,
        "json_attributes_topic": topic,
        "json_attributes_template": attributes,
        **DIAGNOSTIC,
    }


def _share(name: str, topic: str, key: str) -> Component:
    """Return a share of a message as percentage."""
    return {
        "platform": "sensor",
        "name": name,
        "unit_of_measurement": "%",
        "state_topic": topic,
        "value_template": f"{{{{ (100 * value_json.{key}) | round(1) }}}}",
        **MEASURED,
        **DIAGNOSTIC,
    }
