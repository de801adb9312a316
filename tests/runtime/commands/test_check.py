"""`htsat-edge check` where it needs no microphone; what it says of one is in ../daemon/sources/test_microphone.py."""

import os

import pytest

from htsat_edge.runtime.commands.check import attempt, check, check_folder, check_model, output_folders
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig

needs_no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def config_of(*sources, **sections):
    return DaemonConfig.model_validate({"sources": sources, **sections})


def results_of(config):
    return {result.name: result for result in check(config)}


def test_what_is_ready_is_ok(command, noise, tiny_bundle, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"model: {{bundle: {tiny_bundle}}}\noutputs: {{store: {{path: {tmp_path}/new/store.db}}}}\n")
    status, out, err = command("check", "--config", path, noise)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok   machine",
        "ok   model",
        f"ok   source {noise}",
        "ok   store",
        "ok   clock",
    ]
    assert lines[1].startswith("ok   model: tiny, 10 classes, ")
    assert lines[1].endswith(" ms a window on onnxruntime, one every 1.28 s")
    assert not (tmp_path / "new").exists()


def test_what_is_not_ready_says_how_to_mend_it(command, tiny_bundle, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"model: {{bundle: {tiny_bundle}, precision: int3}}\n")
    status, out, err = command("check", "--config", path, "absent.wav")
    assert (status, err) == (1, "")
    assert f"fix  model: {tiny_bundle}: has no int3.onnx; precisions here: fp32" in out
    assert "fix  source absent.wav: absent.wav: no such file" in out


def test_a_configuration_that_cannot_be_read_is_bad_input(command, tmp_path):
    assert command("check", "--config", tmp_path / "absent.yaml") == (
        2,
        "",
        f"htsat-edge: {tmp_path}/absent.yaml: no such file\n",
    )


def test_a_model_that_is_too_slow_for_its_sources(tiny_bundle):
    """No machine runs even the tiny one for 2000 sources three times a second."""
    sources = [{"name": f"{i}", "file": "x.wav"} for i in range(2000)]
    config = config_of(*sources, model={"bundle": tiny_bundle}, detection={"hop_s": 0.32})
    with pytest.raises(HtsatEdgeError) as raised:
        check_model(config)
    assert str(raised.value).endswith(": too slow for 2000 sources; raise detection.hop_s, or build an engine")


def test_a_stream_needs_ffmpeg_and_stdin_nothing(tiny_bundle, monkeypatch, tmp_path):
    config = config_of(
        {"name": "gate", "stream": {"url": "rtsp://gate/1"}},
        {"name": "pipe", "stdin": {"sample_rate": 16_000}},
        model={"bundle": tiny_bundle},
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    results = results_of(config)
    assert (results["source gate"].ok, results["source gate"].text) == (False, "needs ffmpeg: sudo apt install ffmpeg")
    assert (results["source pipe"].ok, results["source pipe"].text) == (True, "stdin")
    (tmp_path / "ffmpeg").write_text("")
    (tmp_path / "ffmpeg").chmod(0o755)
    results = results_of(config)
    assert (results["source gate"].ok, results["source gate"].text) == (True, "ffmpeg is there")


def test_the_folder_of_every_output_is_looked_at(tmp_path):
    outputs = {
        "json_lines": {"path": tmp_path / "a" / "x.jsonl"},
        "store": {"path": tmp_path / "b" / "x.db"},
        "clips": {"folder": tmp_path / "c"},
    }
    config = config_of({"name": "x", "file": "x.wav"}, outputs=outputs)
    assert list(output_folders(config)) == [
        ("json_lines", tmp_path / "a"),
        ("store", tmp_path / "b"),
        ("clips", tmp_path / "c"),
    ]
    assert check_folder(tmp_path / "a" / "b").startswith(f"{tmp_path}/a/b: ")
    assert list(tmp_path.iterdir()) == []


@needs_no_root
def test_a_folder_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(HtsatEdgeError, match=r"cannot be written to by .*: chown it"):
        check_folder(tmp_path / "a")


def test_an_error_is_a_result():
    def fail():
        raise HtsatEdgeError("the cable is out")

    found = attempt("cable", fail)
    assert (found.name, found.ok, found.text) == ("cable", False, "the cable is out")


def test_names_are_printed_as_they_are(command, tiny_bundle, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"model: {{bundle: {tiny_bundle}}}\n")
    _, out, _ = command("check", "--config", path, "[/] :dog: [bold].wav")
    assert "fix  source [/] :dog: [bold].wav: [/] :dog: [bold].wav: no such file" in out
