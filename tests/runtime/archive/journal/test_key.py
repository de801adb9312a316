"""The key of a scan changes with everything that its results depend on, and with nothing else."""

import dataclasses
import shutil
from datetime import datetime

import pytest

from htsat_edge.runtime.archive.journal import key_of
from htsat_edge.runtime.archive.journal.key import PATHS
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.models.settings import Settings

CHANGED = {
    "detection": Settings(hop_s=1.28),
    "shown": ("Cat",),
    "precision": "fp32",
    "backend": "onnxruntime",
    "served": "int8",
    "channel": "each",
    "gate_dbfs": -60.0,
    "rules": RulesConfig(cooldown_s=3.0),
    "source": "yard",
    "start": datetime(2026, 5, 1),
    "span_s": 60.0,
    "scores": True,
}
"""Another value of each setting."""


@pytest.fixture
def asked(tiny_bundle):
    return HearingSettings(tiny_bundle, Settings(), ("Dog",))


def test_every_setting_counts(asked):
    assert {field.name for field in dataclasses.fields(HearingSettings)} == {*CHANGED, *PATHS}
    key = key_of(asked)
    for name, value in CHANGED.items():
        other = key_of(dataclasses.replace(asked, **{name: value}))
        differing = {one for one in {**key, **other} if key.get(one) != other.get(one)}
        assert differing == ({"hop_s"} if name == "detection" else {name})


def test_where_a_bundle_lies_does_not_count_but_its_content_does(asked, tiny_bundle, tmp_path):
    other = dataclasses.replace(asked, bundle=tmp_path / "moved")
    shutil.copytree(tiny_bundle, other.bundle)
    assert key_of(other) == key_of(asked)
    (other.bundle / "accuracy.txt").write_text("notes")
    (other.bundle / "sounds").mkdir()
    assert key_of(other) == key_of(asked)
    (other.bundle / "sounds" / "bell.json").write_text("{}")
    assert {name for name, value in key_of(other).items() if value != key_of(asked)[name]} == {"enrolled sounds"}
    graph = other.bundle / "fp32.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert key_of(other)["model"] != key_of(asked)["model"]


def test_the_folder_of_sounds_that_was_named_counts(asked, tmp_path):
    (tmp_path / "bell.json").write_text("{}")
    assert key_of(dataclasses.replace(asked, sounds=tmp_path))["enrolled sounds"] != key_of(asked)["enrolled sounds"]


def test_a_bundle_that_is_missing_is_an_error(asked, tmp_path):
    with pytest.raises(HtsatEdgeError, match="no such bundle"):
        key_of(dataclasses.replace(asked, bundle=tmp_path / "nothing"))
