import os
import re
from pathlib import Path

import pytest

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import (
    ClipsConfig,
    DaemonConfig,
    JsonLinesConfig,
    LevelEventConfig,
    MetricsConfig,
    MqttConfig,
    PcmConfig,
    Secret,
    StoreConfig,
    WebConfig,
    WebhookConfig,
    slug,
)

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
        (
            "sources: [{name: 'a#b', file: x}]",
            "sources.0.name: want text without #, + and control characters, no space",
        ),
        ("outputs: {mqtt: {host: a, port: 0}}", "outputs.mqtt.port: Input should be greater than 0"),
        ("outputs: {mqtt: {host: a, password: {}}}", "outputs.mqtt.password: want one of env and file"),
        ("outputs: {mqtt: {host: a, password: {env: A}}}", "outputs.mqtt: password: is used only with `username`"),
        ('outputs: {mqtt: {host: a, username: "\\e[31m"}}', "outputs.mqtt.username: want text of one line"),
        ('outputs: {mqtt: {host: a, place: "Barn\\e"}}', "outputs.mqtt.place: want text of one line, without control"),
        ("outputs: {mqtt: {host: a, password: hunter2}}", "outputs.mqtt.password: Input should be a valid dictionary"),
        (
            "detection: {groups: {Dog: 5}}",
            "detection.groups: want the name of a file, or groups such as {Dog: [Dog, Bark]}",
        ),
        ("detection: {confirm_s: {Dog: -1}}", "detection.confirm_s.Dog: Input should be greater than or equal to 0"),
        ("sources: [{name: a, file: x, detection: {hop_s: 1}}]", "sources.0.detection.hop_s: unknown key"),
        ("detection: {hop_s: .inf}", "detection.hop_s: want auto, or seconds above 0, not inf"),
        ("sources: [{name: a b, file: x}, {name: a-b, file: y}]", "a b, a-b: two of these would have the same topic"),
        ("sources: [{name: a, stream: {url: 'rtsp://me:hunter2@cam/x'}}]", "url: holds a password; put {password}"),
        ("sources: [{name: a, stream: {url: 'rtsp://me:hun/ter2@cam/x'}}]", "url: holds a password; put {password}"),
        ("sources: [{name: a, stream: {url: 'rtsp://me:12/hunter2@cam/x'}}]", "url: holds a password; put {password}"),
        ("sources: [{name: a, stream: {url: 'rtsp://me:hun#ter2?@cam/x'}}]", "url: holds a password; put {password}"),
        ("sources: [{name: a, stream: {url: 'rtsp://me:hunter 2@cam/x'}}]", "url: holds a space; write %20 for it"),
        ("sources: [{name: a, stream: {url: 'rtsp://me:{password}@c'}}]", "url: has {password}, but `password` does"),
        (
            "sources: [{name: a, stream: {url: 'rtsp://c', password: {env: A}}}]",
            "password: is not used; put {password}",
        ),
        (
            "sources: [{name: a, stream: 'rtsp://me:hunter2@cam/x'}]",
            "stream: wants keys (url, password, options), not 'rtsp://cam/x'",
        ),
        ("sources: [{name: 'rtsp://me:hunter2@cam/x', file: x}]", "name: holds a user name or a password, and would"),
        ("sources: [{name: a, file: 'http://me:hunter2@cam/x'}]", "file: is an address; write stream: {url: …}"),
        ("outputs: {webhook: {url: 'http://me:hunter2@x/y'}}", "outputs.webhook: url: holds a user name or a password"),
        (
            "outputs: {store: {path: 'postgresql://me:hunter2@x/y'}}",
            "outputs.store.path: is a URL: want a file of this",
        ),
        ("outputs: {webhook: {url: 'http://hunter2@x/y'}}", "outputs.webhook: url: holds a user name or a password"),
        ("outputs: {webhook: {url: 'ftp://me:hunter2@x'}}", "want http://… or https://…, not 'ftp://x'"),
        ("outputs: {webhook: {url: 'http://x:hunter2/y'}}", "outputs.webhook: url: names no host, or no port"),
        ("outputs: {webhook: {url: 'http://[x'}}", "outputs.webhook: url: names no host, or no port"),
        ("outputs: {webhook: {url: 'https:///y'}}", "outputs.webhook: url: names no host, or no port"),
        ("outputs: {webhook: {url: 'http://x/ü'}}", "outputs.webhook: url: holds a space, or what is not ASCII"),
        ("outputs: {webhook: [{token: hunter2}]}", "outputs.webhook: wants keys (url, token, timeout_s), not a list"),
        ("outputs: {mqtt: {host: 'mqtt://me:hunter2@x'}}", "outputs.mqtt.host: want the name or the address of a host"),
        ("outputs: {mqtt: {host: a..b}}", "outputs.mqtt.host: a..b cannot be the name of a host"),
        ("outputs: {webhook: {url: http://me:hunter2@x", "is not YAML: "),
        ("outputs: {webhook: {url: ftp://x}}", "outputs.webhook.url: want http://… or https://…"),
        ("outputs: {clips: {folder: c, privacy: no_speach}}", "outputs.clips.privacy: Input should be 'none' or"),
        ("outputs: {clips: {folder: c, most_s: 0.9}}", "most_s: Input should be greater than or equal to 1, not 0.9"),
        (
            "outputs: {clips: {folder: c, most_s: 120.5}}",
            "most_s: Input should be less than or equal to 120, not 120.5",
        ),
        ("outputs: {metrics: {port: 65536}}", "outputs.metrics.port: Input should be less than 65536"),
        ("sources: [{name: a, stdin: {sample_rate: 7999}}]", "Input should be greater than or equal to 8000"),
        ("sources: [{name: a, stdin: {sample_rate: 384001}}]", "Input should be less than or equal to 384000"),
        ("sources: [{name: a, stdin: {sample_rate: 8000, channels: 0}}]", "channels: Input should be greater than or"),
        ("sources: [{name: a, stdin: {sample_rate: 8000, channels: 65}}]", "channels: Input should be less than or"),
        ("health: {clipped_percent: 100.1}", "clipped_percent: Input should be less than or equal to 100, not 100.1"),
        ("outputs: {clips: {folder: c, pre_roll_s: -0.1}}", "pre_roll_s: Input should be greater than or equal to 0"),
        ("outputs: {clips: {folder: c, pre_roll_s: 30.1}}", "pre_roll_s: Input should be less than or equal to 30"),
        ("outputs: {clips: {folder: c, post_roll_s: -0.1}}", "post_roll_s: Input should be greater than or equal to 0"),
        ("outputs: {clips: {folder: c, post_roll_s: 30.1}}", "post_roll_s: Input should be less than or equal to 30"),
        ("outputs: {clips: {folder: c, quota_mb: 0}}", "quota_mb: Input should be greater than 0"),
        ("outputs: {json_lines: {path: x, rotate_mb: 0}}", "rotate_mb: Input should be greater than 0"),
        ("outputs: {json_lines: {path: x, keep: -1}}", "keep: Input should be greater than or equal to 0"),
        ("outputs: {store: events.db}", "outputs.store: wants keys: store: {path: 'events.db'}"),
        ("outputs: {mqtt: 'mqtt://me:hunter2@x'}", "wants keys (host, port, tls, ca_file and 10 more), not 'mqtt://x'"),
        ("detection: 0.5", "detection: wants keys (hop_s, look_ahead_s, early_margin, mirror_s and "),
        ("sources: [yard]", "sources.0: wants keys (name, microphone, "),
        ("[1, 2]", "detector.yaml: wants keys (model, detection, sources, health and "),
        ("outputs: {store: {path: x, keep_days: 0}}", "keep_days: Input should be greater than 0"),
        ("outputs: {webhook: {url: 'http://x', timeout_s: 0}}", "timeout_s: Input should be greater than 0"),
        ("detection: {threshold: 0}", "detection.threshold: Input should be greater than 0"),
        ("detection: {release: 1}", "detection.release: Input should be less than 1"),
        ("detection: {hop_s: 0}", "detection.hop_s: want auto, or seconds above 0, not 0"),
        ("detection: {hop_s: often}", "detection.hop_s: want auto, or seconds above 0, not 'often'"),
        ("detection: {look_ahead_s: -0.1}", "look_ahead_s: Input should be greater than or equal to 0"),
        ("detection: {min_length_s: -0.1}", "min_length_s: Input should be greater than or equal to 0"),
        ("detection: {merge_gap_s: -0.1}", "merge_gap_s: Input should be greater than or equal to 0"),
        ("detection: {min_length_s: 1.0e+300}", "min_length_s: Input should be less than or equal to 3600"),
        ('level: {event: {above_db: 80, label: "a\\nb"}}', "label: want a name that can be printed"),
        ("detection: {gate_dbfs: 0.1}", "gate_dbfs: Input should be less than or equal to 0"),
        ("health: {quiet_dbfs: 0.1}", "quiet_dbfs: Input should be less than or equal to 0"),
        ("level: {every_s: 0}", "level.every_s: Input should be greater than or equal to 1, not 0"),
        ("level: {every_s: 0.5}", "level.every_s: Input should be a valid integer"),
        ("level: {event: {label: x}}", "level.event.above_db: key is missing"),
        (
            "level: {event: {above_db: 85}}",
            "level.event.above_db: in microphone want a level below 0 dBFS, or set level.offset_db",
        ),
        (
            "{level: {offset_db: 120, event: {above_db: 95}}, sources: [{name: a, file: x, level: {offset_db: 94}}]}",
            "level.event.above_db: want a level below 94 dB, which is 0 dBFS in a",
        ),
        ("model: {threads: 0}", "model.threads: Input should be greater than or equal to 1"),
        ("sources: [{name: a, microphone: {sample_rate: 7999}}]", "Input should be greater than or equal to 8000"),
        ("sources: [{name: a, microphone: {channel: 0}}]", "channel"),
        ("health: {clipped_percent: 0}", "clipped_percent: Input should be greater than 0, not 0"),
        ("outputs: {mqtt: {host: a, topic: a/#}}", "no / or space at its ends, no $ at its beginning, not 'a/#'"),
        (
            'outputs: {mqtt: {host: a, topic: "a\\n"}}',
            r"outputs.mqtt.topic: want text without #, + and control characters",
        ),
        ("outputs: {mqtt: {host: a, topic: ''}}", "outputs.mqtt.topic: want text without #, + and control characters"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(HtsatEdgeError) as raised:
        read(tmp_path, text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "outputs: {clips: {folder: c, most_s: 1}, mqtt: {host: a, port: 1}, metrics: {port: 65535}}",
        "outputs: {clips: {folder: c, most_s: 120, pre_roll_s: 0, post_roll_s: 0}, json_lines: {path: x, keep: 0}}",
        "outputs: {clips: {folder: c, pre_roll_s: 30, post_roll_s: 30, quota_mb: 0.1}}",
        "outputs: {json_lines: {path: x, rotate_mb: 0.1}, store: {path: x, keep_days: 0.1}}",
        "sources: [{name: a, stdin: {sample_rate: 8000, channels: 1}}]",
        "sources: [{name: a, stdin: {sample_rate: 384000, channels: 64}}]",
        "sources: [{name: a, microphone: {sample_rate: 8000, channel: 1}}]",
        "model: {threads: 1}",
        "health: {clipped_percent: 100, quiet_dbfs: 0}",
        "level: {offset_db: 0, every_s: 1, event: {above_db: -0.1, release_db: 0, min_length_s: 0, merge_gap_s: 0}}",
        "level: {offset_db: 300, every_s: 3600, event: {above_db: 299.9, label: x}}",
        "detection: {look_ahead_s: 0, min_length_s: 0, merge_gap_s: 0, gate_dbfs: 0}",
        "sources: [{name: a, stream: {url: 'rtsp://me@cam:554/x?a=b%40c'}}]",
        "sources: [{name: a, stream: {url: 'http://cam/@me/x:y@z'}}]",
        "sources: [{name: a, stream: {url: 'udp://@:1234'}}]",
        "sources: [{name: a, stream: {url: 'x', options: [-headers, 'A: {password}'], password: {env: A}}}]",
        "outputs: {webhook: {url: 'https://[::1]:8443/a?b=c%40d'}, mqtt: {host: 'fe80::1%eth0'}}",
    ],
)
def test_the_ends_of_each_range_are_in_it(tmp_path, text):
    read(tmp_path, text)


def test_a_level_is_calibrated_for_each_source(tmp_path):
    sources = "[{name: a, file: x, level: {offset_db: 94}}, {name: b, file: y}]"
    one, none, never = (
        read(tmp_path, f"{{level: {{{level}}}, sources: {sources}}}")
        for level in ("offset_db: 120, every_s: 60", "every_s: 1", "offset_db: 120")
    )
    assert [one.level_of(name).offset_db for name in ("a", "a/2", "b", "b/1", "elsewhere")] == [94, 94, 120, 120, 120]
    assert one.calibrated(["a/1", "b"]) == {"a/1": True, "b": True}
    assert none.calibrated(["a", "b"]) == {"a": True, "b": False}
    assert never.calibrated(["a", "b"]) == {}


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


def test_what_is_commented_out_in_detector_yaml_has_the_defaults_too(tmp_path):
    head, text = (CONFIGS / "detector.yaml").read_text().split("\n\n", 1)
    assert head.count("\n") == 1
    config = read(tmp_path, re.sub("^# ", "  ", text, flags=re.MULTILINE))
    _, gate, pipe, recording = config.sources
    outputs = config.outputs
    token = Secret(env="WEBHOOK_TOKEN")
    assert (gate.stream.password, recording.file) == (Secret(env="CAMERA_PASSWORD"), Path("yard.flac"))
    assert pipe.stdin == PcmConfig(sample_rate=48_000)
    assert config.level.event == LevelEventConfig(above_db=-20)
    assert outputs.json_lines == JsonLinesConfig(path="events.jsonl")
    assert outputs.store == StoreConfig(path="events.db")
    assert outputs.mqtt == MqttConfig(host="localhost")
    assert outputs.webhook == WebhookConfig(url="https://example.org/events", token=token)
    assert outputs.clips == ClipsConfig(folder="clips")
    assert outputs.metrics == MetricsConfig()
    assert config.web == WebConfig()


def keys(model, prefix=""):
    """Yield every key that the file may have, dotted; of what may be null, too."""
    for name, field in model.model_fields.items():
        name = field.alias or name
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


def test_a_secret_is_read_from_a_small_file_alone(tmp_path):
    """A device without an end filled the memory; a pipe that nobody writes was waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(HtsatEdgeError, match=f"{path}: is no regular file; it must hold a secret"):
            Secret(file=path).read()
    (tmp_path / "long").write_text("x" * 10_001)
    with pytest.raises(HtsatEdgeError, match="must hold a secret of one line, and is longer than 10000 bytes"):
        Secret(file=tmp_path / "long").read()
    (tmp_path / "windows").write_bytes(b"\xef\xbb\xbfs3cret\r\n")
    assert Secret(file=tmp_path / "windows").read() == "s3cret"


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


def test_thresholds_of_another_configuration_and_nothing_else():
    mine = DaemonConfig.model_validate(
        {
            "detection": {"threshold": 0.4, "release": 0.5, "labels": ["Dog"]},
            "sources": [
                {"name": "yard", "file": "a.wav", "detection": {"thresholds": {"Dog": 0.1}, "release": 0.7}},
                {"name": "gate", "file": "b.wav", "detection": {"thresholds": {"Dog": 0.2}}},
            ],
        }
    )
    other = DaemonConfig.model_validate(
        {
            "detection": {"thresholds": {"Dog": 0.9}, "sensitivity": "miss_little", "release": 0.9},
            "sources": [
                {"name": "wood", "file": "c.wav"},
                {"name": "yard", "file": "d.wav", "detection": {"threshold": 0.8, "release": 0.9}},
            ],
        }
    )
    both = mine.with_thresholds_of(other)
    assert (both.detection.threshold, both.detection.thresholds) == (None, {"Dog": 0.9})
    assert (both.detection.sensitivity, both.detection.release, both.detection.labels) == ("miss_little", 0.5, ["Dog"])
    yard, gate = both.sources
    assert (yard.file, yard.detection.threshold, yard.detection.thresholds) == (Path("a.wav"), 0.8, {})
    assert yard.detection.release == 0.7
    assert gate == mine.sources[1]
    assert mine.with_thresholds_of(mine) == mine
