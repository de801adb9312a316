"""`htsat-edge detect --config`: recordings as the daemon hears them."""

import json
import shutil
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import soundfile
import yaml

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.outputs.clips import Clip, encode
from htsat_edge.runtime.models.bundle import BUNDLED
from htsat_edge.runtime.models.model import load_model

CONFIG = {
    "model": {"precision": "fp32", "backend": "onnxruntime", "threads": 1},
    "detection": {
        "hop_s": 1.28,
        "threshold": 0.3,
        "thresholds": {"Fowl": 0.99999},
        "labels": ["Beast", "Bird", "Fowl", "Speech", "Thunder"],
        "groups": {"Beast": ["Dog", "Cattle, bovinae"]},
        "confirm_s": {"Speech": 0.64},
    },
    "level": {"event": {"above_db": -25, "label": "Loud"}},
    "rules": {
        "suppress": {"Thunder": {"while": "Beast", "within_s": 5}},
        "quiet_hours": [{"from": "22:00", "to": "06:00", "labels": ["Speech"], "sources": ["front door"]}],
    },
}
"""Without the rule there would be thunder, and without the threshold ducks."""


@pytest.fixture
def config(tmp_path, farmyard):
    """Write the configuration, with changes, of a yard and a front door; return its path."""

    def write(**changed):
        yard = {
            "name": "yard",
            "file": str(farmyard),
            "detection": {"thresholds": {"Bird": 0.05, "Fowl": 0.5, "Speech": 0.99999}},
        }
        sources = [yard, {"name": "front door", "microphone": {}}]
        path = tmp_path / "detector.yaml"
        path.write_text(yaml.safe_dump({**CONFIG, "sources": sources, **changed}))
        return path

    return write


@pytest.fixture(scope="module")
def six_seconds(farmyard, tmp_path_factory):
    """The beginning of the recording: speech."""
    path = tmp_path_factory.mktemp("clips") / "six.flac"
    samples, rate = soundfile.read(farmyard)
    soundfile.write(path, samples[: 6 * rate], rate)
    return path


@pytest.fixture
def events(command):
    """What is printed of recordings, message by message, and what goes to stderr."""

    def run(*arguments):
        status, out, err = command("detect", "--json", *arguments)
        assert status == 0, err
        return [json.loads(line) for line in out.splitlines()], err

    return run


def labels_of(messages):
    return {message["label"] for message in messages if message["type"] == "end"}


def test_a_recording_gives_what_the_daemon_would_report(config, events, farmyard, tmp_path):
    detection = {**CONFIG["detection"], "gate_dbfs": -15}  # the speech passes it only at its end
    path, kept = config(detection=detection), tmp_path / "kept.jsonl"
    settings = read_yaml(path, DaemonConfig)
    outputs = settings.outputs.model_validate({"stdout": False, "json_lines": {"path": kept}})
    settings = settings.model_copy(update={"outputs": outputs, "sources": settings.sources[:1]})
    Daemon(assemble(settings), Notifier()).run()
    reported = [json.loads(line) for line in kept.read_text().splitlines()]
    reported = [{**one, "source": str(farmyard)} for one in reported if one["type"] in ("start", "end")]
    found, err = events(farmyard, "--config", path, "--source", "yard")
    assert (found, err) == (reported, "")
    assert labels_of(found) == {"Beast", "Fowl", "Loud"}


def test_a_clip_has_the_settings_and_the_time_of_its_source(config, events, six_seconds, tmp_path, caplog):
    clips = [tmp_path / f"20261127T{name}_Speech.flac" for name in CLIPS]
    for clip in clips:
        shutil.copy(six_seconds, clip)
    found, _ = events(*clips, "--config", path := config())
    night, day, yard, pond = [[one for one in found if one["source"] == str(clip)] for clip in clips]
    assert labels_of(night) == {"Loud"}
    assert labels_of(day) == labels_of(pond) == {"Speech", "Loud"}
    assert labels_of(yard) == {"Bird", "Loud"}
    speech = next(one for one in day if one["label"] == "Speech")
    assert datetime.fromisoformat(speech["time"]) == NOON + timedelta(seconds=speech["onset"])
    (note,) = caplog.messages
    assert note == f"pond: no source of {path} is called so: the settings of all count; --source names another"


def test_a_renamed_clip_has_its_time_and_it_is_told_what_rules_leave_out(config, command, six_seconds, tmp_path):
    samples, rate = soundfile.read(six_seconds, dtype="float32")
    clip = tmp_path / "a word at night.flac"
    clip.write_bytes(encode(Clip("", samples, rate, time="2026-11-27T23:00:00.500+00:00"), "flac"))
    status, out, _ = command("detect", "--config", config(), "--source", "front door", clip)
    assert (status, "  left out by the configuration's rules: Speech 1\n" in out) == (0, True)


CLIPS = [
    "230000.500+0000_front-door",
    "120000.500+0000_front-door",
    "120000.500+0000_yard-2",
    "230000.500+0000_pond",
]
NOON = datetime(2026, 11, 27, 12, 0, 0, 500_000, timezone.utc)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--labels", "fowl, thunder", "--threshold", 0.5], {"Fowl"}),
        (["--labels", "bird, thunder", "--threshold", 0.99], set()),  # beasts of 0.3 still suppress the thunder
        (["--labels", "loud"], {"Loud"}),
        (["--threshold", 0.99], {"Fowl", "Loud", "Speech", "Thunder"}),  # there are no beasts to suppress it
        (["--groups", "groups.yaml"], {"Beast", "Loud", "Speech"}),
    ],
)
def test_options_count_more_than_the_file(options, wanted, config, events, farmyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groups.yaml").write_text("Beast: [Dog, Sheep, 'Cattle, bovinae']\n")
    assert labels_of(events(farmyard, "--config", config(), *options)[0]) == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "yard"], "--source yard: is a source of a configuration: give --config FILE, too"),
        (["--config", "PATH", "--source", "yrd"], "--source yrd: is no source of PATH, meant yard?"),
        (["--config", "PATH", "--groups", "audioset"], "detection.labels: 'Fowl' is a part of the group Poultry"),
        (["--config", "PATH", "--labels", "Dog"], "--labels: 'Dog' is no class of this model"),
        (["--config", "absent.yaml"], "absent.yaml: no such file"),
    ],
)
def test_what_does_not_fit_is_one_line(options, message, config, command, farmyard):
    path = str(config())
    status, out, err = command("detect", farmyard, *(path if option == "PATH" else option for option in options))
    assert (status, out) == (2, "")
    assert err.startswith(f"htsat-edge: {message.replace('PATH', path)}")
    assert len(err.splitlines()) == 1


def test_several_recordings_are_summed_up_whatever_their_channels(config, command, six_seconds, in_zone, tmp_path):
    in_zone("Europe/Berlin")
    mono, rate = soundfile.read(six_seconds, dtype="float32")
    clips = [tmp_path / f"20261127T120000.500+0000_front-door_{label}.flac" for label in ("Speech", "Thunder")]
    for clip, samples in zip(clips, (mono, np.stack([mono, mono], 1)), strict=True):
        soundfile.write(clip, samples, rate)
    options = ["--config", config(), "--labels", "Speech,Thunder", "--channel", "each"]
    status, out, err = command("detect", *clips, *options)
    assert (status, err) == (0, "")
    assert "2026-11-27 13:00:00  front door" in out
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["sound", "recordings", "of", "its", "own", "clips"],
        ["Speech", "2", "of", "2", "1", "of", "1"],
        ["Thunder", "0", "of", "2", "0", "of", "1"],
    ]


def test_a_sensitivity_counts_more_than_the_thresholds_of_the_configuration(config, events, noise):
    levels = load_model(BUNDLED).info.levels.classes
    for options in ([], ["--config", config(detection={"threshold": 0.3, "thresholds": {"Dog": 0.4}}, rules={})]):
        (*_, top), err = events(noise, *options, "--sensitivity", "miss_little", "--top", 22)
        assert err == ""
        assert {one["label"]: one["threshold"] for one in top["top"]} == {
            label: round(own.miss_little.threshold, 4) for label, own in levels.items()
        }


def test_a_model_without_such_a_sensitivity_is_told_of(command, tiny_bundle, noise, caplog):
    status, *_ = command("detect", noise, "--bundle", tiny_bundle, "--sensitivity", "few_false_alarms")
    assert status == 0
    assert "no such threshold was measured for any class: thresholds are as when balanced" in caplog.text
