import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.daemon.assembly import assemble, make_outputs, make_source, open_model
from htsat_edge.runtime.daemon.config import (
    ClipsConfig,
    DaemonConfig,
    DetectionConfig,
    JsonLinesConfig,
    LevelConfig,
    LevelEventConfig,
    MetricsConfig,
    MicrophoneConfig,
    ModelConfig,
    MqttConfig,
    OutputsConfig,
    PcmConfig,
    RulesConfig,
    SourceConfig,
    StoreConfig,
    StreamConfig,
    WebhookConfig,
)
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.outputs.clips import Clip
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile, Stdout
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt
from htsat_edge.runtime.daemon.outputs.store import StoreOutput
from htsat_edge.runtime.daemon.outputs.webhook import Webhook
from htsat_edge.runtime.daemon.settings import prepare
from htsat_edge.runtime.daemon.sources.streams import FfmpegSource, FileSource, PcmSource
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info


def quiet(**sections):
    """A configuration without stdout, on onnxruntime."""
    return DaemonConfig(
        model=ModelConfig(backend="onnxruntime"),
        outputs=OutputsConfig(stdout=False, **sections.pop("outputs", {})),
        **sections,
    )


def test_it_says_first_what_listens(tiny_bundle, farmyard, caplog):
    caplog.set_level("INFO")
    model, yard = ModelConfig(bundle=tiny_bundle, backend="onnxruntime"), SourceConfig(name="yard", file=farmyard)
    assemble(DaemonConfig(model=model, outputs=OutputsConfig(stdout=False), sources=[yard])).opened.close()
    assert caplog.messages[0] == f"bundle {tiny_bundle}: tiny, 10 classes, on onnxruntime, fp32.onnx"


def test_settings_are_the_configurations():
    detection = DetectionConfig(
        hop_s=2.56,
        look_ahead_s=1.28,
        threshold=0.4,
        labels=["Dog", "Thunder"],
        release=0.5,
        min_length_s=0.64,
        merge_gap_s=0.32,
    )
    assert prepare(INFO, DaemonConfig(detection=detection)) == Settings(
        hop_s=2.56,
        look_ahead_s=1.28,
        threshold=0.4,
        release=0.5,
        min_length_s=0.64,
        merge_gap_s=0.32,
        labels=("Dog", "Thunder"),
    )
    assert prepare(INFO, DaemonConfig()) == Settings()


@pytest.mark.parametrize(
    ("detection", "message"),
    [
        ({"labels": ["Dogg"]}, r"detection.labels: 'Dogg' is no class of this model, meant Dog\?"),
        ({"thresholds": {"Cat": 0.5}}, "detection.thresholds: 'Cat' is no class of this model"),
        ({"groups": {"Pets": ["Dog"]}, "labels": ["Dog"]}, "detection.labels: 'Dog' is a part of the group Pets"),
        ({"groups": "audioste"}, r"detection.groups: audioste: no such file, meant audioset\?"),
        ({"hop_s": 99}, "hop of 99 s"),
        ({"look_ahead_s": 11}, "look_ahead_s"),
    ],
)
def test_what_the_model_cannot_is_an_error_before_anything_is_opened(detection, message, filled_source):
    source = filled_source()
    with pytest.raises(HtsatEdgeError, match=message):
        assemble(quiet(detection=DetectionConfig(**detection)), [source], source.news)


@pytest.mark.parametrize(
    ("hop_s", "live", "found"), [("auto", True, 2), ("auto", False, 1), (3.84, True, None), (3.84, False, None)]
)
def test_the_hop_is_chosen_where_it_is_to_be_and_a_source_is_live(hop_s, live, found, filled_source, monkeypatch):
    shortest_s = Settings().grid(INFO).hop_steps * INFO.step_s
    monkeypatch.setattr("htsat_edge.runtime.daemon.hop.time_window", lambda *_: 0.3 * shortest_s)
    config = quiet(detection=DetectionConfig(hop_s=hop_s))
    with assemble(config, [filled_source("yard", live), filled_source("gate", live)]) as parts:
        assert [session.hop_s for session in parts.sessions] == 2 * [found * shortest_s if found else hop_s]
        assert (parts.hop is not None) == (hop_s == "auto" and live)


def test_rules_are_for_classes_that_are_reported(filled_source):
    rules = RulesConfig.model_validate({"suppress": {"Speech": {"while": "Dog"}}})
    config = quiet(rules=rules, detection=DetectionConfig(labels=["Dog", "Thunder"]))
    with pytest.raises(HtsatEdgeError, match=r"rules.suppress: 'Speech' is no class that is reported; those are Dog"):
        assemble(config, [filled_source()])
    with assemble(quiet(rules=rules), [filled_source(), filled_source("gate")]) as parts:
        yard, gate = (session.rules for session in parts.sessions)
        assert yard is not gate


def test_the_level_of_each_source_is_measured_as_the_configuration_wants(farmyard, tmp_path):
    """The second source hears the same recording at 20 dB less: never above the limit, which the first one passes."""
    path = tmp_path / "messages.jsonl"
    sources = [SourceConfig(name="a", file=farmyard), SourceConfig(name="b", file=farmyard, level={"offset_db": 100})]
    level = LevelConfig(offset_db=120, every_s=10, event=LevelEventConfig(above_db=99))
    outputs = {"json_lines": JsonLinesConfig(path=path)}
    config = quiet(sources=sources, level=level, outputs=outputs, detection=DetectionConfig(hop_s=2.56))
    Daemon(assemble(config), Notifier()).run()
    messages = [json.loads(line) for line in path.read_text().splitlines()]
    a, b = (
        [message for message in messages if message["source"] == source and message.get("state") == "level"]
        for source in ("a", "b")
    )
    assert [(message["onset"], message["offset"]) for message in a] == [(0, 10), (10, 20), (20, 27)]
    assert [message["laeq_db"] for message in b] == pytest.approx([message["laeq_db"] - 20 for message in a], abs=0.011)
    loud = [message for message in messages if message.get("label") == "Loud sound"]
    assert {message["source"] for message in loud} == {"a"}
    assert [message["type"] for message in loud[:2]] == ["start", "end"]
    assert loud[0]["score"] == 1.0


def test_a_level_event_has_a_label_of_its_own(filled_source):
    config = quiet(level=LevelConfig(event=LevelEventConfig(above_db=-20, label="Dog")))
    with pytest.raises(HtsatEdgeError, match=r"^level\.event\.label: Dog is a class, too; give another$"):
        assemble(config, [filled_source()])


def test_a_gate_that_is_configured_saves_runs_in_silence(filled_source, run_daemon):
    """40 s of noise at -80 dBFS: the model runs once, for silence, and never without a gate below that level."""
    noise = (1e-4 * np.random.default_rng(0).normal(size=40 * 32_000)).astype(np.float32)
    found = {}
    for gate_dbfs in (None, -90.0, -60.0):
        source = filled_source()
        parts = assemble(quiet(detection=DetectionConfig(gate_dbfs=gate_dbfs, hop_s=5.12)), [source], source.news)
        source.feed.open(32_000)
        _, thread = run_daemon(parts)
        source.write(noise)
        source.feed.end()
        thread.join(60)
        assert not thread.is_alive()
        found[gate_dbfs] = (parts.scorer.windows, parts.scorer.gated)
    assert found[None] == found[-90.0]
    assert found[None][0] >= 6
    assert found[None][1] == 0
    assert found[-60.0] == (1, found[None][0])


@pytest.mark.parametrize(("threads", "used"), [(None, max(1, cores() - 1)), (1, 1), (3, 3)])
def test_one_core_is_left_to_the_sound_card(threads, used):
    config = DaemonConfig(model=ModelConfig(backend="onnxruntime", threads=threads))
    backend = open_model(load_model(), config, build=False)
    assert backend._at_once == used
    assert backend._session.get_session_options().intra_op_num_threads == used
    backend.close()


@pytest.mark.parametrize(
    ("kind", "live", "source"),
    [
        (FileSource, False, {"file": "farmyard"}),
        (PcmSource, True, {"stdin": PcmConfig(sample_rate=48_000)}),
        (FfmpegSource, True, {"stream": StreamConfig(url="rtsp://x/y")}),
    ],
)
def test_a_source_is_what_the_configuration_says(kind, live, source, farmyard, monkeypatch):
    if "file" in source:
        source = {"file": farmyard}
    with Path(os.devnull).open() as stdin:  # pytest's own is none
        monkeypatch.setattr("sys.stdin", stdin)
        made = make_source(SourceConfig(name="yard", **source), INFO, threading.Event())
    assert type(made) is kind
    assert [(feed.name, feed.live) for feed in made.feeds] == [("yard", live)]


def test_each_source_has_a_session(farmyard):
    with assemble(quiet(sources=[SourceConfig(name=name, file=farmyard) for name in ("a", "b")])) as parts:
        assert [session.feed.name for session in parts.sessions] == ["a", "b"]
        assert [[session.feed] for session in parts.sessions] == [source.feeds for source in parts.sources]


def test_a_microphone_whose_channels_are_sources_of_their_own(monkeypatch):
    pytest.importorskip("sounddevice")
    monkeypatch.setattr("htsat_edge.runtime.daemon.sources.microphone.count_channels", lambda _: 3)
    config = SourceConfig(name="array", microphone=MicrophoneConfig(channel="each"))
    source = make_source(config, INFO, threading.Event())
    assert [(feed.name, feed.live) for feed in source.feeds] == [(f"array/{i}", True) for i in (1, 2, 3)]
    mixed = make_source(SourceConfig(name="array", microphone=MicrophoneConfig()), INFO, threading.Event())
    assert [feed.name for feed in mixed.feeds] == ["array"]


def test_outputs_are_those_of_the_configuration(tmp_path):
    config = OutputsConfig(
        json_lines=JsonLinesConfig(path=tmp_path / "x.jsonl"),
        store=StoreConfig(path=tmp_path / "x.db"),
        mqtt=MqttConfig(host="localhost"),
        webhook=WebhookConfig(url="http://localhost/secret"),
    )
    outputs = make_outputs(config, {"yard": ["Dog"]}, {}, "session")
    assert [type(output) for output in outputs] == [Stdout, JsonLinesFile, StoreOutput, Mqtt, Webhook]
    assert make_outputs(OutputsConfig(stdout=False), {"yard": ["Dog"]}, {}, "session") == []


def test_an_output_that_cannot_be_closes_what_was_opened(tmp_path, filled_source, free_port):
    """The port of the metrics is taken: the file's thread ends, and nothing listens."""
    port, path = free_port(), tmp_path / "messages.jsonl"
    config = quiet(outputs={"json_lines": JsonLinesConfig(path=path), "metrics": MetricsConfig(port=port)})
    source = filled_source()
    first = assemble(config, [source], source.news)
    before = threading.active_count()
    with pytest.raises(HtsatEdgeError, match="cannot be listened on"):
        assemble(config, [source], source.news)
    assert threading.active_count() == before
    with first:
        pass
    with assemble(config, [source], source.news):  # all of it is free again
        pass


def test_parts_that_are_released_have_sent_what_was_queued(tmp_path, filled_source, make_events):
    path, source = tmp_path / "messages.jsonl", filled_source()
    with assemble(quiet(outputs={"json_lines": JsonLinesConfig(path=path)}), [source], source.news) as parts:
        parts.publisher.publish(make_events(500))
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == list(range(1, 501))


def test_clips_are_cut_for_each_source(tmp_path, filled_source):
    sources = [filled_source("yard"), filled_source("gate")]
    with assemble(quiet(outputs={"clips": ClipsConfig(folder=tmp_path / "clips")}), sources) as parts:
        recorders = [observer for session in parts.sessions for observer in session.observers]
        assert len(set(map(id, recorders))) == 2
        assert [sender.name for sender in parts.publisher.senders] == [f"clips {tmp_path / 'clips'}"]
    with assemble(quiet(), sources) as parts:
        assert not any(session.observers for session in parts.sessions)


def test_no_speech_in_clips_needs_a_model_that_knows_speech(tmp_path, filled_source):
    clips = ClipsConfig(folder=tmp_path, privacy="no_speech", speech_label="Talk")
    with pytest.raises(HtsatEdgeError, match=r"outputs.clips.speech_label: Talk: the model knows no such class"):
        assemble(quiet(outputs={"clips": clips}), [filled_source()])


def test_the_store_knows_of_a_clip_that_is_written_at_the_end(filled_source, tmp_path):
    outputs = {"store": StoreConfig(path=tmp_path / "events.db"), "clips": ClipsConfig(folder=tmp_path / "clips")}
    samples = np.random.default_rng(0).normal(0, 0.1, 320_000).astype(np.float32)  # which takes a while to encode
    with assemble(quiet(outputs=outputs), [filled_source()]) as parts:
        parts.publisher.senders[-1].put(Clip("one", samples, 32_000, "yard", 1))
    assert all(sender.undelivered == 0 for sender in parts.publisher.senders)
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        assert database.execute("SELECT name FROM clips").fetchall() == [("one.flac",)]
