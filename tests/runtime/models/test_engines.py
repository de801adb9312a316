"""Which engines are taken, and why others are not."""

import hashlib
import shutil
from datetime import datetime, timedelta, timezone

import pytest
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import Machine
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import read_bundle
from htsat_edge.runtime.models.engines import (
    FOLDER,
    Check,
    Gpu,
    Here,
    Latency,
    NoEngine,
    Passport,
    Recipe,
    engine_file,
    find,
    misfit,
    passport_file,
    read_engine,
    read_passports,
)

ORIN = Gpu(name="Orin", compute_capability="8.7", sm_count=16)
THOR = Gpu(name="Thor", compute_capability="11.0", sm_count=20)
HERE = Here("tensorrt", "10.3.0", ORIN)
CHECK = Check(
    material="farmyard.ogg",
    clips=15,
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
    return read_bundle(folder)


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


def add(bundle, p50_ms=1.0, age_days=0, engine=b"an engine", broken=None, measured=True, **changes):
    """An engine with its passport."""
    passport = Passport(
        recipe=recipe(bundle, **changes),
        asked="auto",
        engine_sha256=hashlib.sha256(engine).hexdigest(),
        engine_bytes=len(engine),
        calibration_sha256=None,
        cuda="12.6",
        machine=Machine(processor="aarch64", l4t="36.4.3", jetpack="6.2", power_mode="MAXN"),
        versions={},
        built=datetime(2026, 11, 24, tzinfo=timezone.utc) - timedelta(days=age_days),
        build_s=100,
        latency=Latency(p50_ms=p50_ms, p99_ms=2, runs=200, warm_up=50, batch=1, cuda_graph=False) if measured else None,
        check=CHECK if measured else None,
        proven_on=(changes.get("gpu") or ORIN) if measured is True else measured or None,
        broken=broken,
    )
    engine_file(bundle, passport.recipe).write_bytes(engine)
    passport_file(bundle, passport.recipe).write_text(passport.model_dump_json())
    return passport


def test_a_passport_is_read_as_it_was_written(bundle):
    passport = add(bundle)
    assert read_passports(bundle) == [passport]
    assert read_engine(bundle, passport) == b"an engine"


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


def test_the_fastest_that_fits_is_taken(bundle):
    add(bundle, 3, optimization_level=1)
    fastest = add(bundle, 1, age_days=9, optimization_level=2)
    add(bundle, 2, optimization_level=3)
    int8 = add(bundle, 4, precision="int8")
    add(bundle, 0.5, optimization_level=4, broken="its logits are within 9.0 dB of fp32, want 30")
    add(bundle, 0.5, optimization_level=5, tensorrt="8.6.2")
    assert [p.latency.p50_ms for p in find(bundle, HERE)] == [1, 2, 3, 4]
    assert find(bundle, HERE)[0] == fastest
    assert find(bundle, HERE, "int8") == [int8]
    with pytest.raises(NoEngine, match="has no fp32 engine"):
        find(bundle, HERE, "fp32")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tensorrt": "8.6.2"}, "it is of TensorRT 8.6.2, and here is TensorRT 10.3.0"),
        ({"flavour": "rtx"}, "it is of TensorRT for RTX 10.3.0, and here is TensorRT 10.3.0"),
        (
            {"gpu": ORIN.model_copy(update={"sm_count": 8})},
            "it is for Orin (8.7, 8 SMs), and here is Orin (8.7, 16 SMs)",
        ),
        ({"graph_sha256": "0"}, "fp32.onnx is not what it was built from"),
        ({"graph": "fp16"}, "fp16.onnx is not what it was built from"),
        ({"revision": 0}, "it was built by another version of htsat-edge"),
        ({"measured": False}, "it was never compared with fp32 on a GPU"),
        ({"measured": THOR}, "it was compared with fp32 on Thor (11.0, 20 SMs), and here is Orin (8.7, 16 SMs)"),
        ({"broken": "its logits are off"}, "its logits are off"),
    ],
)
def test_why_one_is_not_taken(bundle, changes, reason):
    add(bundle, age_days=1, tensorrt="8.0.0")
    passport = add(bundle, **changes)  # of several, the newest one's reason is told
    with pytest.raises(NoEngine) as told:
        find(bundle, HERE)
    assert str(told.value) == f"{engine_file(bundle, passport.recipe)}: {reason}"


def test_none_at_all(bundle):
    with pytest.raises(NoEngine, match="has no engine"):
        find(bundle, HERE)
    shutil.rmtree(bundle.path / FOLDER)
    with pytest.raises(NoEngine, match="has no engine"):
        find(bundle, HERE)


def test_an_engine_for_any_card_fits_one_and_none(bundle):
    portable = recipe(bundle, flavour="rtx", gpu=None)
    for gpu in (ORIN, None):
        assert misfit(bundle, portable, Here("rtx", "10.3.0", gpu)) is None
    told = misfit(bundle, recipe(bundle, flavour="rtx"), Here("rtx", "10.3.0", None))
    assert told == "it is for Orin (8.7, 16 SMs), and here is no GPU"


@pytest.mark.parametrize("engine", [b"", b"an engin", b"an enginf", b"an engine "])
def test_an_engine_that_is_not_its_passports(bundle, engine):
    passport = add(bundle)
    engine_file(bundle, passport.recipe).write_bytes(engine)
    with pytest.raises(NoEngine, match="is damaged: it does not match its passport"):
        read_engine(bundle, passport)


def test_a_passport_of_another_engine(bundle, caplog):
    passport = add(bundle)
    passport_file(bundle, passport.recipe).rename(bundle.path / FOLDER / "0123456789abcdef.json")
    assert read_passports(bundle) == []
    assert f"is not named by its own key, {passport.recipe.key}: was it edited?" in caplog.text


def test_an_engine_that_tensorrt_refuses(bundle, tiny_bundle, fake_tensorrt, caplog):
    """Its passport fits and its bytes are whole, yet it does not load: onnxruntime runs the model, and says why."""
    shutil.copy(tiny_bundle / "fp32.onnx", bundle.path)
    fake_tensorrt("10.3.0")
    passport = add(bundle)
    with pytest.raises(HtsatEdgeError) as told:
        open_backend(bundle, kind="tensorrt")
    name = engine_file(bundle, passport.recipe)
    assert str(told.value).startswith(
        f"{name}: TensorRT does not take the engine (0 MiB; 1024 MiB are free): Serialization"
    )
    assert str(told.value).endswith(f"; python export/build_trt.py {bundle.path} builds one")
    open_backend(bundle).close()
    assert f"python export/build_trt.py {bundle.path} builds one" in caplog.text


def test_a_damaged_engine_does_not_stand_in_the_way_of_another(bundle, tiny_bundle, fake_tensorrt, monkeypatch):
    shutil.copy(tiny_bundle / "fp32.onnx", bundle.path)
    fake_tensorrt("10.3.0")
    seen = []
    monkeypatch.setattr(
        "htsat_edge.runtime.models.backends.trt.TrtBackend", lambda trt, engine, *_: seen.append(engine)
    )
    damaged = add(bundle, 1, precision="fp16")
    add(bundle, 2, precision="int8", engine=b"whole")
    engine_file(bundle, damaged.recipe).write_bytes(b"")
    open_backend(bundle, kind="tensorrt")
    assert seen == [b"whole"]


def test_a_passport_whose_time_has_no_zone(bundle, caplog):
    passport = add(bundle)
    path = passport_file(bundle, passport.recipe)
    path.write_text(path.read_text().replace("00:00:00Z", "00:00:00"))
    assert read_passports(bundle) == []
    assert "built: " in caplog.text
