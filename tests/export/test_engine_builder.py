"""When an engine is built, found or given up, with a fake TensorRT and GPU (tests/fakes)."""

import hashlib
import json
import os
import signal

import onnx
import pytest

from htsat_edge.export.validate import RECORDING
from htsat_edge.runtime.models.engines import (
    FOLDER,
    NoEngine,
    Platform,
    engine_file,
    find_engines,
    manifest_file,
    read_engine,
    read_manifests,
)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("version", ["8.6.1", "11.4.0"])
def test_the_manifest_has_everything(version, bundled, build_trt, fake_tensorrt, monkeypatch):
    monkeypatch.setattr("htsat_edge.export.validate.RECORDING", RECORDING)  # the whole of it
    fake_tensorrt(version)
    status, out, _ = build_trt(bundled, "--precision", "int8")
    assert status == 0
    (manifest,) = read_manifests(bundled)
    recipe = manifest.recipe
    assert (recipe.tensorrt, recipe.flavour, recipe.precision, recipe.graph) == (version, "tensorrt", "int8", "int8")
    assert recipe.graph_sha256 == hashlib.sha256((bundled.path / "int8.onnx").read_bytes()).hexdigest()
    assert str(recipe.gpu) == "Orin (8.7, 16 SMs)"
    assert recipe.batch == (1, 1, 8)
    engine = engine_file(bundled, recipe).read_bytes()
    assert manifest.engine_sha256 == hashlib.sha256(engine).hexdigest()
    assert manifest.engine_bytes == len(engine)
    assert manifest.calibration_sha256 is not None
    assert (manifest.requested, manifest.cuda, manifest.rejection) == ("int8", "12.6", None)
    assert 35 < manifest.validation.logit_snr_db < 50
    assert manifest.validation.largest_difference.keys() == set(bundled.info.labels)
    assert 0 < max(manifest.validation.largest_difference.values()) < 0.2
    assert manifest.validation.decisions_changed < 0.01
    assert 25 < manifest.validation.embedding_snr_db < 45
    assert manifest.validated_on == recipe.gpu
    assert (manifest.validation.recording, manifest.validation.windows) == ("farmyard.ogg", 22)
    assert 0 < manifest.latency.p50_ms <= manifest.latency.p99_ms
    assert f"logit SNR to fp32 {manifest.validation.logit_snr_db:g} dB" in out
    assert "int8: building; on a Jetson this takes minutes" in out


def test_an_engine_that_exists_is_used_again(bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    before = contents(bundle.path / FOLDER)
    status, out, _ = build_trt(bundle, "--precision", "fp32")
    assert status == 0
    assert "fp32: already built on" in out
    assert contents(bundle.path / FOLDER) == before


def another_version(bundle, fake_tensorrt):
    fake_tensorrt("10.13.2")


def another_graph(bundle, fake_tensorrt):
    onnx.save(onnx.load(bundle.path / "fp32.onnx"), bundle.path / "fp32.onnx")
    (bundle.path / "fp32.onnx").write_bytes((bundle.path / "fp32.onnx").read_bytes() + b"\x3a\x00")


@pytest.mark.parametrize("change", [another_version, another_graph])
def test_an_incompatible_engine_is_replaced(change, bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    (old,) = read_manifests(bundle)
    change(bundle, fake_tensorrt)
    status, out, _ = build_trt(bundle, "--precision", "fp32")
    assert status == 0
    assert "fp32: removed the engine of " in out
    (new,) = read_manifests(bundle)
    assert new.recipe.key != old.recipe.key
    files = {engine_file(bundle, new.recipe).name, manifest_file(bundle, new.recipe).name, "timing.cache"}
    assert set(contents(bundle.path / FOLDER)) == files


def test_an_engine_for_another_gpu_stays_and_is_not_used(bundle, build_trt, fake_tensorrt):
    """The power mode of a module may change how many SMs there are."""
    fake_tensorrt("10.3.0")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    fake_tensorrt("10.3.0", GPU="Thor")
    assert "fp32: built in" in build_trt(bundle, "--precision", "fp32")[1]
    assert {manifest.recipe.gpu.name for manifest in read_manifests(bundle)} == {"Orin", "Thor"}
    thor = read_manifests(bundle)[0].recipe.gpu
    assert find_engines(bundle, Platform("tensorrt", "10.3.0", thor))[0].recipe.gpu == thor


def test_an_engine_that_tensorrt_refuses_is_built_again(bundle, build_trt, fake_tensorrt):
    """Its bytes match its manifest, and yet it does not load, as after a change of a patch version."""
    fake_tensorrt("10.3.0")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    (manifest,) = read_manifests(bundle)
    engine = b"of another patch version"
    changed = {"engine_sha256": hashlib.sha256(engine).hexdigest(), "engine_bytes": len(engine)}
    engine_file(bundle, manifest.recipe).write_bytes(engine)
    manifest_file(bundle, manifest.recipe).write_text(manifest.model_copy(update=changed).model_dump_json())
    status, out, err = build_trt(bundle, "--precision", "fp32")
    assert status == 0
    assert "TensorRT refuses the engine" in err
    assert "it is built again" in err
    assert "fp32: built in" in out


@pytest.mark.parametrize("damage", [lambda x: x[: len(x) // 2], lambda x: x[:-9] + b"x" + x[-8:], None])
def test_a_damaged_engine_is_built_again(damage, bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    path = engine_file(bundle, read_manifests(bundle)[0].recipe)
    whole = path.read_bytes()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(whole))
    status, _, err = build_trt(bundle, "--precision", "fp32")
    assert status == 0
    assert "is damaged: it does not match its manifest" in err or "cannot be read: No such file" in err
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "{",
        lambda text: text.replace('"optimization_level": 3', '"optimization_level": 2'),
        lambda text: text.replace('"revision": 2', '"revision": 1').replace('"requested"', '"asked"'),
    ],
)
def test_a_manifest_that_cannot_be_read_is_replaced(damage, bundle, build_trt, fake_tensorrt, caplog):
    fake_tensorrt("10.3.0")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    (manifest,) = read_manifests(bundle)
    path = manifest_file(bundle, manifest.recipe)
    path.write_text(damage(path.read_text()))
    assert read_manifests(bundle) == []
    assert "the engine beside it is not used" in caplog.text
    status, out, _ = build_trt(bundle, "--precision", "fp32")
    assert status == 0
    assert "fp32: built in" in out
    assert [m.recipe for m in read_manifests(bundle)] == [manifest.recipe]


def test_a_build_that_fails_gives_the_reason_and_is_given_up(bundle, build_trt, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0", FAULTS="build")
    for _ in range(3):
        status, _, err = build_trt(bundle, "--precision", "fp32", "--background")
        assert status == 2
        assert "TensorRT 10.3.0 cannot build fp32.onnx in fp32, with 1024 MiB for each layer: Error Code 10" in err
    status, _, err = build_trt(bundle, "--precision", "fp32", "--background")
    assert status == 1
    assert "fp32: the build failed 3 times: TensorRT 10.3.0 cannot build" in err
    assert "; python -m htsat_edge.export.build_trt " in err
    assert build_trt(bundle, "--precision", "fp32")[0] == 2  # by hand it is tried again
    monkeypatch.setenv("FAKE_FAULTS", "")
    assert build_trt(bundle, "--precision", "fp16")[0] == 0  # another engine does not reset the count
    assert len(list((bundle.path / FOLDER).glob("*.failed"))) == 1
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    assert not list((bundle.path / FOLDER).glob("*.failed"))


@pytest.mark.parametrize(("version", "how"), [("8.6.1", signal.SIGINT), ("11.4.0", signal.SIGTERM)])
def test_a_stopped_build_ends_at_once_and_has_not_failed(version, how, bundle, start, fake_tensorrt, wait_for):
    trace, folder = bundle.path / "trace", bundle.path / FOLDER
    fake_tensorrt(version, BUILD_UNTIL=bundle.path / "never", TRACE=trace)
    for failures in (0, 1):
        process = start(bundle, "--precision", "fp32", "--background")
        wait_for(trace.exists)  # TensorRT builds now, and would go on for two minutes
        (failed,) = folder.glob("*.failed")
        assert json.loads(failed.read_text())["count"] == failures + 1
        process.send_signal(how)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert json.loads(failed.read_text())["count"] == failures  # as many as there were before
        failed.write_text(failed.read_text().replace('"count":0', '"count":1'))
        trace.unlink()
    assert {path.suffix for path in folder.iterdir()} == {"", ".failed"}


def test_a_killed_build_counts_as_a_failure(bundle, start, fake_tensorrt, wait_for):
    trace = bundle.path / "trace"
    fake_tensorrt("10.3.0", BUILD_UNTIL=bundle.path / "never", TRACE=trace)
    process = start(bundle, "--precision", "fp32", "--background")
    wait_for(trace.exists)
    process.kill()
    process.communicate()
    (failed,) = (bundle.path / FOLDER).glob("*.failed")
    attempts = json.loads(failed.read_text())
    assert (attempts["count"], attempts["reason"]) == (1, "the process was killed, or the machine went down")


@pytest.mark.parametrize("runs", [0, 10, 100])
def test_killed_while_an_engine_is_replaced(runs, bundle, build_trt, start, fake_tensorrt, monkeypatch, wait_for):
    """Each build makes other bytes: whatever a kill leaves, only an engine that was validated would be used.

    The kill comes after so many runs of validation.
    """
    trace = bundle.path / "trace"
    fake_tensorrt("10.3.0", SALT="before")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    (manifest,) = read_manifests(bundle)
    rejected = manifest.model_copy(update={"rejection": "of this test"})  # so that it is built again
    manifest_file(bundle, manifest.recipe).write_text(rejected.model_dump_json())
    engine = engine_file(bundle, manifest.recipe)
    old = engine.read_bytes()
    process = start(bundle, "--precision", "fp32", FAKE_SALT="after", FAKE_TRACE=str(trace))
    wait_for(lambda: engine.read_bytes() != old)
    wait_for(lambda: trace.read_text().count("run") >= runs)
    process.kill()
    process.communicate()
    (found,) = read_manifests(bundle)
    assert found.rejection == "of this test"
    with pytest.raises(NoEngine, match="does not match its manifest"):
        read_engine(bundle, found)


def test_the_builder_is_nice_in_the_background(bundle, build_trt, fake_tensorrt, monkeypatch):
    nice = []
    monkeypatch.setattr(os, "nice", nice.append)
    fake_tensorrt("10.3.0")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    assert nice == []
    assert build_trt(bundle, "--precision", "fp32", "--background")[0] == 0
    assert nice == [19]


def test_engines_of_a_bundle_that_cannot_be_written_to_go_into_the_cache(
    bundle, build_trt, fake_tensorrt, tmp_path, read_only
):
    """As in a system install: it is built there, found there, and pruned there; the bundle stays as it was."""
    fake_tensorrt("8.6.1")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    (shipped,) = read_manifests(bundle)
    before = contents(bundle.path / FOLDER)
    read_only(bundle.path)
    for version in ("10.3.0", "10.13.2"):  # the second is after an upgrade
        fake_tensorrt(version)
        status, out, err = build_trt(bundle, "--precision", "fp32")
        assert (status, err) == (0, "")
        new, other = read_manifests(bundle)
        assert (new.recipe.tensorrt, other) == (version, shipped)
        folder = engine_file(bundle, new.recipe).parent
        assert folder.parent == tmp_path / "cache" / "htsat-edge" / "engines"
        assert f"{bundle.path} cannot be written to; engines go into {folder}\n" in out
        assert f"--backend tensorrt; the engines are in {folder}, a cache of this machine" in out
        assert find_engines(bundle, Platform("tensorrt", version, new.recipe.gpu)) == [new]
        assert len(list(folder.glob("*.engine"))) == 1
    assert "fp32: already built on" in build_trt(bundle, "--precision", "fp32")[1]
    assert contents(bundle.path / FOLDER) == before
