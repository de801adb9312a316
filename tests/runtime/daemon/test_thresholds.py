"""Thresholds of a changed configuration in a daemon that goes on: nothing else of it is taken over."""

import logging
import re

import numpy as np
import pytest

from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.thresholds import describe_changes, take_over


def config_of(detection=None, rules=None, yard=None, gate=None):
    return DaemonConfig.model_validate(
        {
            "model": {"backend": "onnxruntime"},
            "detection": {"hop_s": 1.28, **(detection or {})},
            "rules": rules or {},
            "sources": [
                {"name": "yard", "stdin": {"sample_rate": 32_000}, "detection": yard or {}},
                {"name": "gate", "microphone": {"channel": "each"}, "detection": gate or {}},
            ],
            "outputs": {"stdout": False},
        }
    )


@pytest.fixture(scope="module")
def make(filled_source):
    opened = []

    def make(config):
        parts = assemble(config, [filled_source("yard"), filled_source("gate/1"), filled_source("gate/2")])
        opened.append(parts)
        return parts

    yield make
    for parts in opened:
        parts.opened.close()


def thresholds(parts, label="Dog"):
    """That of each session."""
    found = []
    for session in parts.sessions:
        classes = session.settings.classes(session.info)
        found.append(round(float(classes.thresholds[classes.labels.index(label)]), 4))
    return found


def test_only_thresholds_are_taken_over_and_of_sources_that_there_are(make, caplog):
    config = config_of({"thresholds": {"Dog": 0.4}}, gate={"thresholds": {"Dog": 0.5}})
    parts = make(config)
    read = config_of(
        {"thresholds": {"Dog": 0.3}, "release": 0.9, "labels": ["Dog"]},
        rules={"cooldown_s": 9},
        yard={"threshold": 0.2, "min_length_s": 3},
        gate={"thresholds": {"Dog": 0.6, "Fowl": 0.7}},
    )
    with caplog.at_level(logging.INFO):
        *ends, loaded = take_over(parts, read)
    assert ends == []
    assert thresholds(parts) == [0.3, 0.6, 0.6]
    assert thresholds(parts, "Fowl") == [0.2, 0.7, 0.7]
    assert loaded.state == "config_loaded"
    assert loaded.text.startswith("thresholds: yard: ")
    assert "gate/1: Fowl " in loaded.text
    assert "Dog 0.5 -> 0.6; gate/2: " in loaded.text
    assert parts.config.rules == config.rules
    assert (parts.config.detection.release, parts.config.detection.labels) == (0.6, None)
    assert parts.config.sources[0].detection.min_length_s is None
    assert all(session.settings.release == 0.6 for session in parts.sessions)
    assert "what else has changed in the configuration is in force after SIGHUP" in caplog.text
    assert take_over(parts, read) == []


def test_the_sensitivity_is_a_threshold(make, caplog):
    parts = make(config_of())
    take_over(parts, config_of({"sensitivity": "few_false_alarms"}, gate={"sensitivity": "miss_little"}))
    assert [session.settings.sensitivity for session in parts.sessions] == ["few_false_alarms", *["miss_little"] * 2]
    assert re.search(r"changed thresholds are in force: those of \d\d sounds$", caplog.text, re.MULTILINE)


def test_thresholds_that_do_not_fit_are_rejected_and_all_stay(make):
    parts = make(config_of({"thresholds": {"Dog": 0.4}}))
    (rejected,) = take_over(parts, config_of({"thresholds": {"Dog": 0.3, "Dgo": 0.3}}))
    assert rejected.state == "config_rejected"
    assert rejected.text == "detection.thresholds: 'Dgo' is no class of this model, meant Dog?"
    assert thresholds(parts) == [0.4] * 3
    assert parts.config == config_of({"thresholds": {"Dog": 0.4}})


def test_the_hop_and_the_groups_of_a_session_stay(make, tmp_path):
    """The hop is that of the device's speed; a file of groups may be another by now, with other classes."""
    path = tmp_path / "groups.yaml"
    path.write_text("Pet: [Dog]")
    parts = make(config_of({"hop_s": "auto", "groups": str(path)}))
    path.write_text("Pet: [Fowl]")
    parts.sessions[0].set_hop(2.56, "slow")
    (loaded,) = take_over(parts, config_of({"hop_s": "auto", "groups": str(path), "thresholds": {"Pet": 0.9}}))
    assert "Pet" in loaded.text
    assert parts.sessions[0].settings.hop_s == 2.56
    assert parts.sessions[0].settings.groups["Pet"].labels == ["Dog"]


def test_an_event_that_goes_on_ends_before_the_status_and_rules_hear_of_it(make):
    """A retune that fails is a failure of that source alone."""
    parts = make(config_of(rules={"cooldown_s": {"Dog": 60}}))
    for session in parts.sessions:
        session.feed.open(32_000)
    yard, first, second = parts.sessions
    yard.feed.write(np.zeros(32_000, np.float32))
    yard.take(yard.feed.read())
    first.retune = None  # not to be called
    messages = take_over(parts, config_of({"thresholds": {"Dog": 0.9}}, rules={"cooldown_s": {"Dog": 60}}))
    assert [message.state for message in messages] == ["source_lost", "config_loaded"]
    assert messages[0].source == "gate/1"
    assert first.failure is not None
    assert (yard.failure, second.failure) == (None, None)


def test_what_has_changed_in_words():
    dog, many = {"Dog": (0.37, 0.62)}, {f"Class {k}": (0.5, 0.25) for k in range(30)}
    assert describe_changes({"yard": dog}) == "thresholds: Dog 0.37 -> 0.62"
    assert describe_changes({"yard": dog, "gate": dog}) == "thresholds: Dog 0.37 -> 0.62"
    assert describe_changes({"yard": {}, "gate": dog}) == "thresholds: gate: Dog 0.37 -> 0.62"
    assert describe_changes({"yard": {}, "gate": {}}) == "thresholds: the same as before"
    assert describe_changes({"yard": many}).endswith("Class 19 0.5 -> 0.25 and 10 more")
