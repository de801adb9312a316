"""What of the section `detection` a source has of its own."""

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.settings import note_thresholds, notes_of, prepare, settings_of
from htsat_edge.runtime.detector import detect_file
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.groups import Group
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle().info
ALL = len(INFO.labels)
PAIR = {"Alert": ["Dog", "Thunder"]}


def config_of(detection=None, **sources):
    """A configuration of sources, each with keys of its own."""
    return DaemonConfig.model_validate(
        {
            "detection": detection or {},
            "sources": [{"name": name, "file": f"{name}.wav", "detection": own} for name, own in sources.items()],
        }
    )


def test_a_source_has_the_global_settings_but_for_its_own():
    config = config_of(
        {"threshold": 0.6, "thresholds": {"Dog": 0.3, "Thunder": 0.2}, "confirm_s": {"Dog": 1}, "labels": ["Dog"]},
        yard={"thresholds": {"Dog": 0.4}, "confirm_s": {"Thunder": 2}, "release": 0.5, "labels": []},
        gate={},
    )
    wanted = Settings(threshold=0.6, thresholds={"Dog": 0.3, "Thunder": 0.2}, confirm_s={"Dog": 1}, labels=("Dog",))
    assert (
        prepare(INFO, config) == settings_of("gate", INFO, config) == settings_of("elsewhere", INFO, config) == wanted
    )
    for name in ("yard", "yard/2"):  # the second channel of it
        assert settings_of(name, INFO, config) == Settings(
            threshold=0.6,
            thresholds={"Dog": 0.4, "Thunder": 0.2},
            confirm_s={"Dog": 1, "Thunder": 2},
            release=0.5,
        )
    again = DaemonConfig.model_validate(config.model_dump(mode="json", by_alias=True))  # as --print-config has it
    assert [settings_of(name, INFO, again) for name in ("gate", "yard")] == [
        settings_of(name, INFO, config) for name in ("gate", "yard")
    ]


def test_a_source_may_have_a_sensitivity_of_its_own_and_what_has_no_level_is_noted_once():
    config = config_of({"sensitivity": "few_false_alarms"}, yard={"sensitivity": "miss_little"}, gate={})
    assert prepare(INFO, config).sensitivity == settings_of("gate", INFO, config).sensitivity == "few_false_alarms"
    assert settings_of("yard", INFO, config).sensitivity == "miss_little"
    known = {"Dog": INFO.levels.classes["Dog"]}
    info = INFO.model_copy(update={"levels": INFO.levels.model_copy(update={"classes": known})})
    few, little = {"sensitivity": "few_false_alarms"}, {"sensitivity": "miss_little"}
    several = config_of({}, gate=few, yard=little, road=little, hall={})
    gate, yard = notes_of(info, info, several)
    first, second = [label for label in INFO.labels if label != "Dog"][:2]
    prefix = "bundled: sensitivity few_false_alarms: no such threshold was measured for "
    assert gate.startswith(f"{prefix}{first}, {second}, ")
    assert yard.startswith("bundled: sensitivity miss_little: ")
    assert notes_of(INFO, INFO, config) == notes_of(info, info, config_of({}, yard={})) == []


def test_a_source_has_groups_of_its_own():
    config = config_of({"groups": "audioset"}, yard={"groups": PAIR}, gate={"groups": {}})
    assert "Music" not in settings_of("yard", INFO, config).reported(INFO)
    assert settings_of("yard", INFO, config).groups == {"Alert": Group(labels=["Dog", "Thunder"])}
    assert settings_of("gate", INFO, config) == Settings()
    assert prepare(INFO, config).groups["Dog"] == Group(labels=["Dog"])


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"labels": ["Dgo"]}, "sources: yard: detection.labels: 'Dgo' is no class of this model, meant Dog?"),
        ({"groups": PAIR, "labels": ["Dog"]}, "labels: 'Dog' is a part of the group Alert: write 'Alert'"),
        ({"groups": PAIR, "confirm_s": {"Alert": 11}}, "confirm_s: Alert: 11 s: want less than a window, 10.24 s"),
        ({"groups": "absent.yaml"}, "sources: yard: detection.groups: absent.yaml: no such file; audioset ship"),
    ],
)
def test_what_does_not_fit_is_an_error_before_anything_is_opened(own, message):
    with pytest.raises(HtsatEdgeError) as raised:
        assemble(config_of(yard=own))
    assert message in str(raised.value)


def test_a_rule_may_name_what_one_source_reports():
    config = config_of(yard={"groups": PAIR}).model_dump(mode="json", by_alias=True)
    prepare(INFO, DaemonConfig.model_validate({**config, "rules": {"cooldown_s": {"Alert": 5, "Dog": 5}}}))
    with pytest.raises(HtsatEdgeError, match=r"rules.cooldown_s: 'Bark' is no class that is reported"):
        prepare(INFO, DaemonConfig.model_validate({**config, "rules": {"cooldown_s": {"Bark": 5}}}))


def test_each_source_is_heard_with_its_own_settings(farmyard, tmp_path, read_lines, run_daemon):
    """As the same recording is in a detector of its own."""
    out = tmp_path / "messages.jsonl"
    sources = {
        "dogs": ({"labels": ["Dog"], "threshold": 0.3}, Settings(labels=("Dog",), threshold=0.3)),
        "alerts": ({"groups": PAIR, "labels": ["Alert"]}, Settings(labels=("Alert",), groups=PAIR)),
        "all": ({}, Settings()),
    }
    config = DaemonConfig.model_validate(
        {
            "model": {"backend": "onnxruntime"},
            "sources": [{"name": name, "file": str(farmyard), "detection": own} for name, (own, _) in sources.items()],
            "outputs": {"stdout": False, "json_lines": {"path": str(out)}},
        }
    )
    with assemble(config) as parts:
        _, thread = run_daemon(parts)
        thread.join(300)
        assert not thread.is_alive()
    messages = [message for message in read_lines(out) if message["type"] == "end"]
    for name, (_, settings) in sources.items():
        found = [(m["onset"], m["offset"], m["label"], m["score"]) for m in messages if m["source"] == name]
        wanted = [(e.onset, e.offset, e.label, e.score) for e in detect_file(farmyard, settings=settings)]
        assert sorted(found) == sorted(wanted)
        assert wanted
    labels = {name: {m["label"] for m in messages if m["source"] == name} for name in sources}
    assert (labels["dogs"], labels["alerts"]) == ({"Dog"}, {"Alert"})
    assert len(labels["all"]) > 2


def test_speech_in_a_group_is_silent_in_clips_too(tmp_path, filled_source):
    """Where speech is no class of its own, the group that it belongs to is speech."""
    config = {
        "model": {"backend": "onnxruntime"},
        "detection": {"groups": {"People": ["Speech", "Dog"]}},
        "outputs": {"stdout": False, "clips": {"folder": str(tmp_path), "privacy": "no_speech"}},
    }
    with assemble(DaemonConfig.model_validate(config), [filled_source()]) as parts:
        (session,) = parts.sessions
        (recorder,) = session.observers
        scores = np.zeros((2, len(INFO.labels) - 1), np.float32)
        scores[1, -1] = 0.9  # the last class is the group
        recorder.scores(0.0, 0.32, scores)
        assert list(recorder._spoken) == [(0.32 - 0.5, 0.64 + 0.5)]


@pytest.mark.parametrize(
    ("thresholds", "detection", "counts"),
    [
        ({}, {}, (0, ALL)),
        ({}, {"thresholds": {"Dog": 0.3}}, (1, ALL - 1)),
        ({}, {"groups": {"Alert": {"labels": ["Dog", "Thunder"], "threshold": 0.4}}}, (1, ALL - 2)),
        ({}, {"groups": PAIR, "labels": ["Alert"]}, (0, 1)),
        ({}, {"threshold": 0.3}, None),
        ({"Dog": 0.3}, {}, None),
    ],
)
def test_a_bundle_without_thresholds_is_reported(thresholds, detection, counts):
    info = INFO.model_copy(update={"thresholds": thresholds})
    note = note_thresholds(info, prepare(info, config_of(detection, yard={})))
    if counts is None:
        assert note == ""
    else:
        assert f": {counts[0]} classes have those of the configuration or of their groups, {counts[1]} have 0.5" in note
