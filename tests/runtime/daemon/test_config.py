from pathlib import Path

import pytest

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig, Secret, slug

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
        ("sources: [{name: a, file: x}, {name: a, file: y}]", "sources: a is there twice"),
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
    with pytest.raises(HtsatEdgeError) as raised:
        read(tmp_path, text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_nothing_is_needed(tmp_path):
    config = read(tmp_path, "")
    assert [source.name for source in config.sources] == ["microphone"]
    assert config.outputs.stdout
    assert config.outputs.mqtt is None


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("detector.yaml")) + sorted(CONFIGS.glob("jetson.yaml")), ids=str)
def test_ours_are_read(path):
    config = read_yaml(path, DaemonConfig)
    assert config.sources


def test_detector_yaml_has_the_defaults():
    assert read_yaml(CONFIGS / "detector.yaml", DaemonConfig) == DaemonConfig()


def keys(model, prefix=""):
    """Yield every key that the file may have, dotted; of what may be null, too."""
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
    with pytest.raises(HtsatEdgeError, match="HTSAT_TOKEN: must hold a secret of one line"):
        Secret(env="HTSAT_TOKEN").read()
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(HtsatEdgeError, match="token: is no text"):
        Secret(file=tmp_path / "token").read()
    with pytest.raises(HtsatEdgeError, match="the environment has no NOTHING_HERE"):
        Secret(env="NOTHING_HERE").read()
    with pytest.raises(HtsatEdgeError, match="No such file"):
        Secret(file=tmp_path / "none").read()


def test_its_schema_is_for_editors():
    schema = DaemonConfig.model_json_schema()
    assert schema["$defs"]["DetectionConfig"]["properties"]["hop_s"]["description"].startswith(
        "From one run of the model"
    )
    assert schema["$defs"]["MqttConfig"]["additionalProperties"] is False


def test_names_become_topics():
    assert slug("Cattle, bovinae") == "cattle_bovinae"
    assert slug("Höhle/+#") == "höhle"
    assert slug("厨房") == "厨房"
    assert slug("…") == "_"
