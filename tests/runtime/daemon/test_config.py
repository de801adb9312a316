import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig, Secret

CONFIGS = Path(__file__).parents[3] / "configs"


def read(tmp_path, text):
    path = tmp_path / "detector.yaml"
    path.write_text(text)
    return read_yaml(path, DaemonConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detection: {releese: 0.5}", "detection.releese: unknown key, meant release?"),
        ("outputs: {mqqt: {host: a}}", "outputs.mqqt: unknown key, meant mqtt?"),
        ("sources: [{name: a, microfone: {}}]", "sources.0.microfone: unknown key, meant microphone?"),
        ("detection: {threshold: 1.5}", "detection.threshold: Input should be less than 1, not 1.5"),
        ("sources: [{name: a}]", "a: want one of microphone, stream, stdin and file"),
        ("sources: [{name: a, file: x, stdin: {sample_rate: 48000}}]", "want one of microphone"),
        ("sources: [{name: a, file: x}, {name: a, file: y}]", "sources: a stands there twice"),
        ("sources: []", "sources: List should have at least 1 item"),
        ("sources: [{name: 'a#b', file: x}]", "sources.0.name: String should match pattern"),
        ("outputs: {mqtt: {host: a, port: 0}}", "outputs.mqtt.port: Input should be greater than 0"),
        ("outputs: {mqtt: {host: a, password: {}}}", "outputs.mqtt.password: want one of env and file"),
        ("outputs: {mqtt: {host: a, password: hunter2}}", "outputs.mqtt.password: Input should be a valid dictionary"),
        ("detection: {hop_s: .inf}", "detection.hop_s: Input should be a finite number"),
        ("sources: [{name: a b, file: x}, {name: a-b, file: y}]", "a b, a-b: two of these would have the same topic"),
        ("sources: [{name: a, stream: {url: 'rtsp://me:hunter2@cam/x'}}]", "url: holds a password; put {password}"),
        ("outputs: {webhook: {url: ftp://x}}", "outputs.webhook.url: String should match pattern"),
        ("outputs: {clips: {folder: c, privacy: no_speach}}", "outputs.clips.privacy: Input should be 'none' or"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(HtsatEdgeError) as told:
        read(tmp_path, text)
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert "hunter2" not in str(told.value)


def test_nothing_is_needed(tmp_path):
    config = read(tmp_path, "")
    assert [source.name for source in config.sources] == ["microphone"]
    assert config.outputs.stdout
    assert config.outputs.mqtt is None


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("detector.yaml")) + sorted(CONFIGS.glob("jetson.yaml")), ids=str)
def test_ours_are_read(path):
    config = read_yaml(path, DaemonConfig)
    assert config.sources


def keys(model, prefix=""):
    """Every key that the file may have, dotted; of what may be null, too."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for part in inner:
            if hasattr(part, "model_fields"):
                yield from keys(part, f"{prefix}{name}.")


def test_detector_yaml_has_every_key_with_a_comment():
    text = (CONFIGS / "detector.yaml").read_text()
    for key in keys(DaemonConfig):
        name = key.rpartition(".")[2]
        assert f"{name}:" in text, key
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#") and not stripped.endswith(":") and not stripped.startswith("- "):
            assert "#" in line, f"line {number} says nothing about {stripped}"


def test_secrets_come_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HTSAT_TOKEN", "s3cret")
    assert Secret(env="HTSAT_TOKEN").read() == "s3cret"
    (tmp_path / "token").write_text("s3cret\n")
    assert Secret(file=tmp_path / "token").read() == "s3cret"
    monkeypatch.setenv("HTSAT_TOKEN", "two\nlines")
    with pytest.raises(HtsatEdgeError, match="HTSAT_TOKEN: is to hold a secret of one line"):
        Secret(env="HTSAT_TOKEN").read()
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(HtsatEdgeError, match="token: is no text"):
        Secret(file=tmp_path / "token").read()
    with pytest.raises(HtsatEdgeError, match="the environment has no NOTHING_HERE"):
        Secret(env="NOTHING_HERE").read()
    with pytest.raises(HtsatEdgeError, match="No such file"):
        Secret(file=tmp_path / "none").read()


def run(*arguments):
    command = [sys.executable, "-m", "htsat_edge", "listen", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_is_printed_whole_and_read_again(tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text("sources: [{name: yard, file: x.flac}]\noutputs: {mqtt: {host: broker, password: {env: PW}}}\n")
    done = run("--config", path, "--print-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["outputs"]["mqtt"]["topic"] == "htsat-edge"
    again = tmp_path / "again.yaml"
    again.write_text(done.stdout)
    assert read_yaml(again, DaemonConfig) == read_yaml(path, DaemonConfig)


def test_its_schema_is_for_editors():
    done = run("--schema")
    schema = json.loads(done.stdout)
    assert schema["$defs"]["Detection"]["properties"]["hop_s"]["description"].startswith("From one run of the model")
    assert schema["$defs"]["Mqtt"]["additionalProperties"] is False


def test_arguments_that_cannot_be():
    done = run("--stdin", "100")
    assert done.returncode == 2
    assert done.stderr.startswith("htsat-edge: --stdin: sample_rate: Input should be greater than or equal to 8000")


def test_a_bad_one_ends_it_in_one_line(tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text("detection: {releese: 0.5}\n")
    done = run("--config", path)
    assert done.returncode == 2
    assert done.stderr == f"htsat-edge: {path}: detection.releese: unknown key, meant release?\n"
