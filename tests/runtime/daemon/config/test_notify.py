"""What a configuration may say of notifications."""

import json

import pytest

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.settings import prepare
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

SERVICES = {"phone": {"url": {"env": "NTFY"}}}
YARD = {"name": "yard", "file": "yard.flac"}


def make(rule, **outputs):
    """A configuration with a rule of notifications."""
    notify = {"services": SERVICES, "rules": [rule]}
    return DaemonConfig.model_validate({"sources": [YARD], "outputs": {"notify": notify, **outputs}})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"services": "phon"}, "rules.0.services: 'phon' is no service, meant phone?"),
        ({"services": "mail"}, "rules.0.services: 'mail' is no service; there is phone"),
        ({"sources": "yrd"}, "outputs.notify.rules.0.sources: 'yrd' is no source, meant yard?"),
        (
            {"quiet_hours": [{"from": "22:00", "to": "06:00", "sources": "gate"}]},
            "outputs.notify.rules.0.quiet_hours.0.sources: 'gate' is no source; there is yard",
        ),
        ({"unusual": {"fewer_than": 3}}, "notify.rules.0.unusual: what is unusual is counted in outputs.store: add it"),
        ({"clip": True}, "notify.rules.0.clip: clips are written by outputs.clips: add it"),
        ({"title": "{labl}"}, "{labl} is none of the names"),
        ({"text": "{label"}, "a brace is not closed"),
        ({"between": {"from": "25:00", "to": "06:00"}}, "want a time of day in quotes"),
        ({"min_score": 1}, "less than 1"),
    ],
)
def test_what_is_wrong_is_said(rule, message):
    with pytest.raises(ValueError, match=r".") as raised:
        make(rule)
    assert message in str(raised.value)


def test_what_a_rule_needs_is_there(tmp_path):
    rule = {"unusual": {"fewer_than": 3}, "clip": True, "sources": "yard", "services": ["phone"]}
    outputs = {"store": {"path": tmp_path / "a.db"}, "clips": {"folder": tmp_path}}
    assert make(rule, **outputs).outputs.notify.rules[0].services == ["phone"]


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ({"labels": ["Dog", "Dgo"]}, "labels"),
        ({"quiet_hours": [{"from": "22:00", "to": "06:00", "labels": "Dgo"}]}, "quiet_hours.0.labels"),
    ],
)
def test_a_class_that_is_not_reported_is_refused(rule, key):
    with pytest.raises(HtsatEdgeError) as raised:
        prepare(load_bundle(BUNDLED).info, make(rule))
    assert str(raised.value).startswith(f"outputs.notify.rules.0.{key}: 'Dgo' is no class that is reported, meant Dog?")
    prepare(load_bundle(BUNDLED).info, make({"labels": ["Dog"]}))


@pytest.mark.parametrize("phone", ["ntfys://hunter2", {"url": "ntfys://hunter2"}, {"url": ["ntfys://hunter2"]}])
def test_an_address_is_a_secret(tmp_path, phone):
    path = tmp_path / "detector.yaml"
    path.write_text(json.dumps({"outputs": {"notify": {"services": {"phone": phone}}}}))
    with pytest.raises(HtsatEdgeError, match=r"outputs\.notify\.services\.phone") as raised:
        read_yaml(path, DaemonConfig)
    assert "hunter2" not in str(raised.value)
