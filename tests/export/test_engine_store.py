"""The folder of engines: one build at a time, a torn memory of failures, and what is removed."""

import hashlib
import json
import resource
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from htsat_edge.export.engine_store import Attempts, EngineStore
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import Machine
from htsat_edge.runtime.models.engines import (
    FOLDER,
    EngineManifest,
    Gpu,
    Platform,
    Recipe,
    engine_file,
    manifest_file,
    read_manifests,
)

SCRIPT = Path(__file__).parent.parent.parent / "export" / "build_trt.py"
ORIN = Gpu(name="Orin", compute_capability="8.7", sm_count=16)


@pytest.fixture
def store(bundle):
    (bundle.path / FOLDER).mkdir()
    return EngineStore(bundle, Platform("tensorrt", "10.3.0", ORIN))


def make_recipe(bundle, **changes):
    options = {"flavour": "tensorrt", "tensorrt": "10.3.0", "gpu": ORIN, "precision": "fp32", "graph": "fp32"}
    options |= {"graph_sha256": bundle.sha256("fp32"), "batch": (1, 1, 8), "workspace_mib": 64, "optimization_level": 3}
    return Recipe(**{**options, **changes})


def add(store, bundle, age_days=0, **changes):
    """Add an engine with its manifest."""
    manifest = EngineManifest(
        recipe=make_recipe(bundle, **changes),
        requested="fp32",
        engine_sha256=hashlib.sha256(b"an engine").hexdigest(),
        engine_bytes=9,
        calibration_sha256=None,
        cuda=None,
        machine=Machine(processor="aarch64", l4t=None, jetpack=None, power_mode=None),
        versions={},
        built=datetime(2026, 11, 24, tzinfo=timezone.utc) - timedelta(days=age_days),
        build_s=1,
        latency=None,
        validation=None,
        validated_on=None,
        rejection=None,
    )
    store.write_engine(manifest.recipe, b"an engine")
    store.write_manifest(manifest)
    return manifest


def test_an_engine_is_found_by_its_recipe(store, bundle):
    manifest = add(store, bundle)
    assert store.find(manifest.recipe) == manifest
    assert engine_file(bundle, manifest.recipe).read_bytes() == b"an engine"
    assert store.find(make_recipe(bundle, optimization_level=4)) is None


def test_outdated_engines_are_pruned(store, bundle):
    kept = [
        add(store, bundle),
        add(store, bundle, precision="fp16"),
        add(store, bundle, gpu=ORIN.model_copy(update={"sm_count": 8})),
        add(store, bundle, flavour="rtx", gpu=None, tensorrt="1.7"),
    ]
    removed = {
        add(store, bundle, age_days=1, optimization_level=1).recipe.key: "a newer one replaces it",
        add(store, bundle, tensorrt="8.6.2", precision="int8").recipe.key: (
            "it was built with TensorRT 8.6.2, but this machine has TensorRT 10.3.0"
        ),
        add(store, bundle, graph_sha256="0", gpu=ORIN.model_copy(update={"sm_count": 4})).recipe.key: (
            "fp32.onnx has changed since it was built"
        ),
    }
    assert {manifest.recipe.key: reason for manifest, reason in store.prune()} == removed
    files = {path for m in kept for path in (engine_file(bundle, m.recipe), manifest_file(bundle, m.recipe))}
    assert set(store.folder.iterdir()) == files
    assert store.prune() == []


def test_files_of_others_stay_and_those_of_killed_builds_go(store, bundle):
    (store.folder / "notes").mkdir()
    for name in ("NOTES.txt", ".0123.engine.part", "0123.engine", "0123.json", "0123.failed", "timing.cache"):
        (store.folder / name).write_text("{}")
    add(store, bundle)
    store.prune()
    assert {path.suffix for path in store.folder.iterdir()} == {"", ".txt", ".engine", ".json", ".cache"}
    assert len(list(store.folder.iterdir())) == 5


def test_attempts_are_counted_by_recipe(store, bundle):
    recipe, other = make_recipe(bundle), make_recipe(bundle, precision="fp16")
    assert store.read_attempts(recipe).count == 0
    store.write_attempts(Attempts(recipe=recipe, count=2, reason="out of memory"))
    assert (store.read_attempts(recipe).count, store.read_attempts(other).count) == (2, 0)
    store.write_attempts(Attempts(recipe=make_recipe(bundle, tensorrt="8.6.2"), count=1, reason=""))
    store.prune()  # removes those of another version
    assert [json.loads(path.read_text())["count"] for path in store.folder.glob("*.failed")] == [2]
    for torn in ("", '{"recipe"'):
        (file,) = store.folder.glob("*.failed")
        file.write_text(torn)
        assert store.read_attempts(recipe).count == 0
    store.forget_attempts(recipe)
    assert list(store.folder.iterdir()) == []
    store.forget_attempts(recipe)


def test_the_timing_cache_is_kept(store):
    assert store.read_timing_cache() == b""
    store.write_timing_cache(b"times")
    assert store.read_timing_cache() == b"times"


def test_a_second_build_waits_for_the_first_and_uses_its_engine(bundle, start, fake_tensorrt, wait_for):
    trace, go_on = bundle.path / "trace", bundle.path / "go on"
    fake_tensorrt("10.3.0", BUILD_UNTIL=go_on, TRACE=trace, FAULTS="bindings")
    first = start(bundle, "--precision", "fp32")
    wait_for(trace.exists)
    second = start(bundle, "--precision", "fp32")
    assert second.stderr.readline() == f"waiting for process {first.pid}, which builds here\n"
    go_on.touch()
    out, err = second.communicate(timeout=300)
    assert err == ""
    assert "fp32: already built on" in out
    assert "fp32: built in" in first.communicate()[0]
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_disk_that_fills_leaves_no_engine(bundle, fake_tensorrt):
    fake_tensorrt("10.3.0")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = [sys.executable, SCRIPT, bundle.path, "--precision", "fp32"]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert ".engine: cannot be written: File too large; what was there is as it was" in done.stderr
    assert read_manifests(bundle) == []
    assert not list((bundle.path / FOLDER).glob("*.engine"))


def test_a_file_in_the_place_of_the_folder(bundle):
    (bundle.path / FOLDER).write_text("")
    store = EngineStore(bundle, Platform("tensorrt", "10.3.0", ORIN))
    with pytest.raises(HtsatEdgeError, match="engines: cannot be written: File exists"), store.locked():
        pass
