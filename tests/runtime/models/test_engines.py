"""Which engines are used, and why others are not."""

import dataclasses
import hashlib
import re
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import Machine
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.engines import (
    FOLDER,
    REVISION,
    EngineManifest,
    Gpu,
    Latency,
    NoEngine,
    Platform,
    Recipe,
    Validation,
    engine_file,
    engine_folders,
    find_engines,
    incompatibility,
    manifest_file,
    read_engine,
    read_manifests,
)

ORIN = Gpu(name="Orin", compute_capability="8.7", sm_count=16)
THOR = Gpu(name="Thor", compute_capability="11.0", sm_count=20)
ORIN_10_3 = Platform("tensorrt", "10.3.0", ORIN)
VALIDATION = Validation(
    recording="farmyard.ogg",
    windows=15,
    logit_snr_db=41,
    embedding_snr_db=34,
    budget_db=30,
    largest_difference={},
    decisions_changed=0,
)


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    shutil.copy(tiny_bundle / "model.json", folder)
    (folder / "fp32.onnx").write_bytes(b"a graph")
    (folder / FOLDER).mkdir()
    return load_bundle(folder)


def recipe(bundle, **changes):
    return Recipe(
        **{
            "flavour": "tensorrt",
            "tensorrt": "10.3.0",
            "gpu": ORIN,
            "precision": "fp16",
            "graph": "fp32",
            "graph_sha256": bundle.sha256("fp32"),
            "batch": (1, 1, 8),
            "workspace_mib": 1024,
            "optimization_level": 3,
            **changes,
        }
    )


def add(bundle, p50_ms=1.0, age_days=0, engine=b"an engine", rejection=None, measured=True, **changes):
    """An engine with its manifest."""
    manifest = EngineManifest(
        recipe=recipe(bundle, **changes),
        requested="auto",
        engine_sha256=hashlib.sha256(engine).hexdigest(),
        engine_bytes=len(engine),
        calibration_sha256=None,
        cuda="12.6",
        machine=Machine(processor="aarch64", l4t="36.4.3", jetpack="6.2", power_mode="MAXN"),
        versions={},
        built=datetime(2026, 11, 24, tzinfo=timezone.utc) - timedelta(days=age_days),
        build_s=100,
        latency=Latency(p50_ms=p50_ms, p99_ms=2, runs=200, warm_up=50, batch=1, cuda_graph=False) if measured else None,
        validation=VALIDATION if measured else None,
        validated_on=(changes.get("gpu") or ORIN) if measured is True else measured or None,
        rejection=rejection,
    )
    engine_file(bundle, manifest.recipe).write_bytes(engine)
    manifest_file(bundle, manifest.recipe).write_text(manifest.model_dump_json())
    return manifest


def test_where_the_engines_of_a_bundle_are(bundle, read_only, tmp_path, monkeypatch):
    """A bundle in another place has another cache."""
    assert engine_folders(bundle)[0] == bundle.path / FOLDER
    read_only(bundle.path)
    cached, own = engine_folders(bundle)
    assert own == bundle.path / FOLDER
    assert re.fullmatch(r".*/cache/htsat-edge/engines/tiny-[0-9a-f]{8}", str(cached))
    assert engine_folders(dataclasses.replace(bundle, path=bundle.path / ".." / "tiny"))[0] == cached
    assert engine_folders(dataclasses.replace(bundle, path=tmp_path / "other" / "tiny"))[1] != cached
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/htsat-edge:/var/cache/other")
    assert engine_folders(bundle)[0].parent == Path("/var/cache/htsat-edge/engines")


def test_a_user_without_a_home_or_with_that_of_another_has_no_cache(bundle, read_only, tmp_path, monkeypatch):
    read_only(bundle.path)
    (tmp_path / "file").write_text("")  # for root no folder is out of reach
    for home in ("~nobody of this name", tmp_path / "file"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        assert engine_folders(bundle) == [bundle.path / FOLDER]


def test_what_is_in_the_cache_comes_before_what_is_in_a_read_only_bundle(bundle, read_only):
    shipped = add(bundle, 1, age_days=1, precision="int8")
    damaged = add(bundle, 1)
    engine_file(bundle, damaged.recipe).write_bytes(b"damaged")
    read_only(bundle.path)
    engine_folders(bundle)[0].mkdir(parents=True)
    shutil.copy(manifest_file(bundle, damaged.recipe), engine_folders(bundle)[0])
    (engine_folders(bundle)[0] / engine_file(bundle, damaged.recipe).name).write_bytes(b"an engine")
    assert read_manifests(bundle) == [damaged, shipped]
    assert read_engine(bundle, damaged) == b"an engine"
    assert read_engine(bundle, shipped) == b"an engine"


def test_a_manifest_is_read_as_it_was_written(bundle):
    manifest = add(bundle)
    assert read_manifests(bundle) == [manifest]
    assert read_engine(bundle, manifest) == b"an engine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flavour", "rtx"),
        ("tensorrt", "10.3.1"),
        ("gpu", None),
        ("gpu", ORIN.model_copy(update={"sm_count": 8})),
        ("gpu", ORIN.model_copy(update={"name": "Thor"})),
        ("gpu", ORIN.model_copy(update={"compute_capability": "8.6"})),
        ("precision", "int8"),
        ("graph", "fp16"),
        ("graph_sha256", "0"),
        ("batch", (1, 2, 8)),
        ("workspace_mib", 1),
        ("optimization_level", 4),
        ("revision", 0),
    ],
)
def test_everything_that_an_engine_depends_on_is_in_its_key(bundle, name, value):
    assert recipe(bundle, **{name: value}).key != recipe(bundle).key
    assert recipe(bundle).key == recipe(bundle).key


def test_the_fastest_compatible_one_is_used(bundle):
    add(bundle, 3, optimization_level=1)
    fastest = add(bundle, 1, age_days=9, optimization_level=2)
    add(bundle, 2, optimization_level=3)
    int8 = add(bundle, 4, precision="int8")
    add(bundle, 0.5, optimization_level=4, rejection="its logit SNR to fp32 is 9.0 dB, want 30")
    add(bundle, 0.5, optimization_level=5, tensorrt="8.6.2")
    assert [p.latency.p50_ms for p in find_engines(bundle, ORIN_10_3)] == [1, 2, 3, 4]
    assert find_engines(bundle, ORIN_10_3)[0] == fastest
    assert find_engines(bundle, ORIN_10_3, "int8") == [int8]
    with pytest.raises(NoEngine, match="has no fp32 engine"):
        find_engines(bundle, ORIN_10_3, "fp32")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tensorrt": "8.6.2"}, "it was built with TensorRT 8.6.2, but this machine has TensorRT 10.3.0"),
        ({"flavour": "rtx"}, "it was built with TensorRT for RTX 10.3.0, but this machine has TensorRT 10.3.0"),
        (
            {"gpu": ORIN.model_copy(update={"sm_count": 8})},
            "it was built for Orin (8.7, 8 SMs), but this machine has Orin (8.7, 16 SMs)",
        ),
        ({"graph_sha256": "0"}, "fp32.onnx has changed since it was built"),
        ({"graph": "fp16"}, "fp16.onnx has changed since it was built"),
        ({"measured": False}, "it was never compared with fp32 on a GPU"),
        (
            {"measured": THOR},
            "it was compared with fp32 on Thor (11.0, 20 SMs), but this machine has Orin (8.7, 16 SMs)",
        ),
        ({"rejection": "its logits are off"}, "its logits are off"),
    ],
)
def test_why_one_is_not_used(bundle, changes, reason):
    add(bundle, age_days=1, tensorrt="8.0.0")
    manifest = add(bundle, **changes)  # of several, the message has the newest one's reason
    with pytest.raises(NoEngine) as caught:
        find_engines(bundle, ORIN_10_3)
    assert str(caught.value) == f"{engine_file(bundle, manifest.recipe)}: {reason}"


def test_none_at_all(bundle):
    with pytest.raises(NoEngine, match="has no engine"):
        find_engines(bundle, ORIN_10_3)
    shutil.rmtree(bundle.path / FOLDER)
    with pytest.raises(NoEngine, match="has no engine"):
        find_engines(bundle, ORIN_10_3)


def test_an_engine_for_any_card_fits_one_and_none(bundle):
    portable = recipe(bundle, flavour="rtx", gpu=None)
    for gpu in (ORIN, None):
        assert incompatibility(bundle, portable, Platform("rtx", "10.3.0", gpu)) is None
    reason = incompatibility(bundle, recipe(bundle, flavour="rtx"), Platform("rtx", "10.3.0", None))
    assert reason == "it was built for Orin (8.7, 16 SMs), but this machine has no GPU"


@pytest.mark.parametrize("engine", [b"", b"an engin", b"an enginf", b"an engine "])
def test_an_engine_that_is_not_its_manifests(bundle, engine):
    manifest = add(bundle)
    engine_file(bundle, manifest.recipe).write_bytes(engine)
    with pytest.raises(NoEngine, match="is damaged: it does not match its manifest"):
        read_engine(bundle, manifest)


def test_a_manifest_of_another_engine(bundle, caplog):
    manifest = add(bundle)
    manifest_file(bundle, manifest.recipe).rename(bundle.path / FOLDER / "0123456789abcdef.json")
    assert read_manifests(bundle) == []
    assert f"is not named by its own key, {manifest.recipe.key}: was it edited?" in caplog.text


def test_an_engine_that_tensorrt_refuses(bundle, tiny_bundle, fake_tensorrt, caplog):
    """Its manifest fits and its bytes are whole, yet it does not load: onnxruntime runs the model."""
    shutil.copy(tiny_bundle / "fp32.onnx", bundle.path)
    fake_tensorrt("10.3.0")
    manifest = add(bundle)
    with pytest.raises(HtsatEdgeError) as caught:
        open_backend(bundle, kind="tensorrt")
    name = engine_file(bundle, manifest.recipe)
    assert str(caught.value).startswith(
        f"{name}: TensorRT refuses the engine (0 MiB; 1024 MiB are free): Serialization"
    )
    assert str(caught.value).endswith(f"; python -m htsat_edge.export.build_trt {bundle.path} builds one")
    open_backend(bundle).close()
    assert f"python -m htsat_edge.export.build_trt {bundle.path} builds one" in caplog.text


def test_another_engine_is_used_in_place_of_a_damaged_one(bundle, tiny_bundle, fake_tensorrt, monkeypatch):
    shutil.copy(tiny_bundle / "fp32.onnx", bundle.path)
    fake_tensorrt("10.3.0")

    class Opened:
        def __init__(self, trt, engine, *_):
            self.engine = engine

    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.TrtBackend", Opened)
    damaged = add(bundle, 1, precision="fp16")
    add(bundle, 2, precision="int8", engine=b"whole")
    engine_file(bundle, damaged.recipe).write_bytes(b"")
    backend = open_backend(bundle, kind="tensorrt")
    assert backend.engine == b"whole"
    assert backend.manifest.recipe.precision == "int8"


def test_a_manifest_of_another_version(bundle, caplog):
    """Revision 1 had other keys, of which none is named."""
    manifest = add(bundle)
    path = manifest_file(bundle, manifest.recipe)
    text = path.read_text().replace(f'"revision":{REVISION}', '"revision":1').replace('"requested"', '"asked"')
    path.write_text(text)
    assert read_manifests(bundle) == []
    assert f"{path}: was written by another version of htsat-edge; the engine must be built again" in caplog.text
    with pytest.raises(NoEngine, match="has no engine"):
        find_engines(bundle, ORIN_10_3)
    assert incompatibility(bundle, recipe(bundle, revision=1), ORIN_10_3) == (
        "it was built by another version of htsat-edge"
    )


def test_a_manifest_whose_time_has_no_zone(bundle, caplog):
    manifest = add(bundle)
    path = manifest_file(bundle, manifest.recipe)
    path.write_text(path.read_text().replace("00:00:00Z", "00:00:00"))
    assert read_manifests(bundle) == []
    assert "built: " in caplog.text
