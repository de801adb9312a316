"""build_trt.py with a fake TensorRT and GPU of each version (tests/fakes); NVIDIA's builder is in test_build_rtx.py."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle
from htsat_edge.runtime.models.engines import FOLDER, Here, NoEngine, engine_file, find, passport_file, read_passports

ROOT = Path(__file__).parent.parent.parent
VERSIONS = ("8.6.1", "10.3.0", "10.13.2", "10.16.1", "11.4.0")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def opened(bundle, passport):
    """What the fake builder was told, and the graph that it was given."""
    from tensorrt import MAGIC

    told, _, model = engine_file(bundle, passport.recipe).read_bytes()[len(MAGIC) + 32 :].partition(b"\n")
    return json.loads(told), onnx.load_from_string(model)


def hear_ctrl_c():
    """Shells have what they run in the background ignore it, and so their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start():
    """Starts build_trt.py in a process of its own."""
    started = []

    def run(bundle, *arguments, **environment):
        started.append(
            subprocess.Popen(
                [sys.executable, ROOT / "export" / "build_trt.py", bundle.path, *arguments],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=hear_ctrl_c,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_version_gets_its_flags(version, precision, bundled, build, fake_tensorrt):
    fake_tensorrt(version)
    options = ("--precision", precision, "--batch", "1,2,3", "--workspace-mib", 77, "--optimization-level", 1)
    status, _, err = build(bundled, *options)
    assert (status, err) == (0, "")
    (passport,) = read_passports(bundled)
    told, model = opened(bundled, passport)
    assert told["profile"] == [[1, 1024, 64], [2, 1024, 64], [3, 1024, 64]]
    assert (told["pools"], told["level"]) == ({"WORKSPACE": 77 * 2**20}, 1)
    tf32 = [] if precision == "fp32" else ["TF32"]
    if version == "8.6.1":
        assert told["network"] == ["EXPLICIT_BATCH"]
        assert told["flags"] == {"fp32": [], "fp16": ["FP16"], "int8": ["FP16", "INT8"]}[precision] + tf32
    else:
        assert told["network"] == ["STRONGLY_TYPED"]
        assert told["flags"] == tf32
    types = {x.data_type for x in model.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in types) == (version != "8.6.1" and precision != "fp32")
    assert (onnx.TensorProto.INT8 in types) == (precision == "int8")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_passport_tells_everything(version, bundled, build, fake_tensorrt):
    fake_tensorrt(version)
    status, out, _ = build(bundled, "--precision", "int8")
    assert status == 0
    (passport,) = read_passports(bundled)
    recipe = passport.recipe
    assert (recipe.tensorrt, recipe.flavour, recipe.precision, recipe.graph) == (version, "tensorrt", "int8", "int8")
    assert recipe.graph_sha256 == hashlib.sha256((bundled.path / "int8.onnx").read_bytes()).hexdigest()
    assert str(recipe.gpu) == "Orin (8.7, 16 SMs)"
    assert recipe.batch == (1, 1, 8)
    engine = engine_file(bundled, recipe).read_bytes()
    assert passport.engine_sha256 == hashlib.sha256(engine).hexdigest()
    assert passport.engine_bytes == len(engine)
    assert passport.calibration_sha256 is not None
    assert passport.cuda == "12.6"
    assert passport.broken is None
    assert 35 < passport.check.logit_snr_db < 50
    assert passport.check.largest_difference.keys() == set(bundled.info.labels)
    assert 0 < max(passport.check.largest_difference.values()) < 0.2
    assert passport.check.decisions_changed < 0.01
    assert 25 < passport.check.embedding_snr_db < 45
    assert passport.proven_on == recipe.gpu
    assert passport.check.clips > 10
    assert 0 < passport.latency.p50_ms <= passport.latency.p99_ms
    assert f"logits within {passport.check.logit_snr_db:g} dB of fp32" in out
    assert ("is being built; on a Jetson this takes minutes" in out) == (version == "8.6.1")


def test_an_engine_that_is_there_is_used_again(bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    assert build(bundle, "--precision", "fp32")[0] == 0
    before = contents(bundle.path / FOLDER)
    status, out, _ = build(bundle, "--precision", "fp32")
    assert status == 0
    assert "fp32: is there since" in out
    assert contents(bundle.path / FOLDER) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle, set_env: set_env("FAKE_TENSORRT", "10.13.2"),
        lambda bundle, set_env: (
            onnx.save(onnx.load(bundle.path / "fp32.onnx"), bundle.path / "fp32.onnx", all_tensors_to_one_file=True)
            or (bundle.path / "fp32.onnx").write_bytes((bundle.path / "fp32.onnx").read_bytes() + b"\x3a\x00")
        ),
    ],
    ids=["version", "graph"],
)
def test_what_does_not_fit_any_more_is_built_anew_and_removed(change, bundle, build, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0")
    assert build(bundle, "--precision", "fp32")[0] == 0
    (old,) = read_passports(bundle)
    change(bundle, monkeypatch.setenv)
    fake_tensorrt(os.environ["FAKE_TENSORRT"])
    status, out, _ = build(bundle, "--precision", "fp32")
    assert status == 0
    assert "is removed: " in out
    (new,) = read_passports(bundle)
    assert new.recipe.key != old.recipe.key
    assert set(contents(bundle.path / FOLDER)) == {
        engine_file(bundle, new.recipe).name,
        passport_file(bundle, new.recipe).name,
        "timing.cache",
    }


def test_an_engine_for_another_gpu_stays_and_is_not_used(bundle, build, fake_tensorrt, monkeypatch):
    """The power mode of a module may change how many SMs there are."""
    fake_tensorrt("10.3.0")
    assert build(bundle, "--precision", "fp32")[0] == 0
    monkeypatch.setenv("FAKE_GPU", "Thor")
    fake_tensorrt("10.3.0")
    assert "fp32: built in" in build(bundle, "--precision", "fp32")[1]
    assert {passport.recipe.gpu.name for passport in read_passports(bundle)} == {"Orin", "Thor"}
    thor = read_passports(bundle)[0].recipe.gpu
    assert find(bundle, Here("tensorrt", "10.3.0", thor))[0].recipe.gpu == thor


def test_an_engine_that_tensorrt_does_not_take_is_built_anew(bundle, build, fake_tensorrt):
    """Its bytes are those of its passport, and yet it does not load, as after a change of a patch version."""
    fake_tensorrt("10.3.0")
    assert build(bundle, "--precision", "fp32")[0] == 0
    (passport,) = read_passports(bundle)
    engine = b"of another patch version"
    changed = {"engine_sha256": hashlib.sha256(engine).hexdigest(), "engine_bytes": len(engine)}
    engine_file(bundle, passport.recipe).write_bytes(engine)
    passport_file(bundle, passport.recipe).write_text(passport.model_copy(update=changed).model_dump_json())
    status, out, err = build(bundle, "--precision", "fp32")
    assert status == 0
    assert "TensorRT does not take the engine" in err
    assert "it is built anew" in err
    assert "fp32: built in" in out


@pytest.mark.parametrize("damage", [lambda x: x[: len(x) // 2], lambda x: x[:-9] + b"x" + x[-8:], lambda x: None])
def test_a_damaged_engine_is_built_anew(damage, bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    assert build(bundle, "--precision", "fp32")[0] == 0
    path = engine_file(bundle, read_passports(bundle)[0].recipe)
    whole = path.read_bytes()
    if (damaged := damage(whole)) is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    status, _, err = build(bundle, "--precision", "fp32")
    assert status == 0
    assert "is damaged: it does not match its passport" in err or "cannot be read: No such file" in err
    assert path.read_bytes() == whole


@pytest.mark.parametrize("text", ["", "{", '{"recipe": 1}', None])
def test_a_passport_that_is_none_is_written_anew(text, bundle, build, fake_tensorrt, caplog):
    fake_tensorrt("10.3.0")
    assert build(bundle, "--precision", "fp32")[0] == 0
    path = passport_file(bundle, read_passports(bundle)[0].recipe)
    path.write_text(path.read_text().replace('"level": 3', '"level": 4') if text is None else text)
    if text is None:
        path.write_text(path.read_text().replace('"optimization_level": 3', '"optimization_level": 2'))
    assert read_passports(bundle) == []
    assert "the engine beside it is not used" in caplog.text
    assert build(bundle, "--precision", "fp32")[0] == 0
    assert len(read_passports(bundle)) == 1


def test_auto_keeps_the_faster_one_within_the_budget(bundled, build, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0")
    times = {"fp16": 1.0, "int8": 2.0}
    monkeypatch.setattr(
        "htsat_edge.export.validate.measure", lambda backend, clips, size, cuda_graph: latency(times, bundled)
    )
    status, out, _ = build(bundled)
    assert status == 0
    assert "htsat-edge uses fp16, the fastest that is near enough to fp32" in out
    here = Here("tensorrt", "10.3.0", read_passports(bundled)[0].recipe.gpu)
    assert find(bundled, here)[0].recipe.precision == "fp16"
    assert find(bundled, here, "int8")[0].recipe.precision == "int8"
    assert "fp16: is there since" in build(bundled)[1]


def latency(times, bundle):
    """Of the engine that is being proven: the one without a passport."""
    from htsat_edge.runtime.models.engines import Latency

    known = {passport.recipe.precision for passport in read_passports(bundle)}
    p50 = next(time for precision, time in times.items() if precision not in known)
    return Latency(p50_ms=p50, p99_ms=p50, runs=1, warm_up=0, batch=1, cuda_graph=False)


def test_auto_leaves_a_fast_one_that_is_off(bundled, build, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0")
    times = {"fp16": 2.0, "int8": 1.0}
    monkeypatch.setattr(
        "htsat_edge.export.validate.measure", lambda backend, clips, size, cuda_graph: latency(times, bundled)
    )
    status, out, _ = build(bundled, "--budget", 50)  # int8 is within 41 dB, fp16 within 57
    assert status == 0
    assert "dB of fp32, want 50" in out
    assert "htsat-edge uses fp16, the fastest" in out
    here = Here("tensorrt", "10.3.0", read_passports(bundled)[0].recipe.gpu)
    assert find(bundled, here)[0].recipe.precision == "fp16"
    with pytest.raises(NoEngine, match=r"its logits are within 4.* dB of fp32, want 50"):
        find(bundled, here, "int8")


def test_a_stricter_budget_counts_for_an_engine_that_is_there(bundled, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    assert build(bundled, "--precision", "int8")[0] == 0
    status, out, err = build(bundled, "--precision", "int8", "--budget", 60)
    assert status == 1
    assert "is there since" in out
    assert "not fit to be used: int8: its logits are within 4" in err
    here = Here("tensorrt", "10.3.0", read_passports(bundled)[0].recipe.gpu)
    with pytest.raises(NoEngine, match="want 60"):
        find(bundled, here)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("noise", "want 30"),
        ("nan", "scores that are no numbers"),
        ("batch", "want 30"),
        ("embedding", "its embedding is within -6.0 dB of that of fp32, want 20"),
    ],
)
def test_an_engine_that_is_off_is_never_used(fault, message, bundle, build, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0", FAULTS=fault)
    status, _, err = build(bundle, "--precision", "fp32")
    assert status == 1
    assert message in err
    (passport,) = read_passports(bundle)
    assert message in passport.broken
    with pytest.raises(HtsatEdgeError, match=message):
        open_backend(bundle, kind="tensorrt")
    status, _, err = build(bundle, "--precision", "fp32", "--background")
    assert status == 1
    assert "python export/build_trt.py builds it again" in err
    monkeypatch.setenv("FAKE_FAULTS", "")
    assert build(bundle, "--precision", "fp32")[0] == 0


def test_a_cuda_graph_is_used_where_it_is_faster_and_the_same(bundle, build, fake_tensorrt, monkeypatch):
    from htsat_edge.export import validate as prove

    fake_tensorrt("10.3.0")
    measure = prove.measure

    def measured(backend, clips, size, cuda_graph):
        return measure(backend, clips, size, cuda_graph).model_copy(update={"p50_ms": 1.0 if cuda_graph else 2.0})

    monkeypatch.setattr("htsat_edge.export.validate.measure", measured)
    for level, (fault, used) in enumerate((("", True), ("graph", False), ("record", False))):
        monkeypatch.setenv("FAKE_FAULTS", fault)
        assert build(bundle, "--precision", "fp32", "--optimization-level", level)[0] == 0
        (passport,) = read_passports(bundle)  # that of other options is gone
        assert passport.recipe.optimization_level == level
        assert passport.latency.cuda_graph == used


def test_without_cuda_bindings_it_launches_plainly(bundle, build, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0")
    monkeypatch.setattr("htsat_edge.export.build_trt.has_cudart", lambda: False)
    assert build(bundle, "--precision", "fp32")[0] == 0
    assert not read_passports(bundle)[0].latency.cuda_graph


def test_a_timing_cache_is_kept(bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    cache = bundle.path / FOLDER / "timing.cache"
    for level in (1, 2, 3):
        assert build(bundle, "--precision", "fp32", "--optimization-level", level)[0] == 0
    assert cache.read_bytes() == b"10.3.0 Orin 111"  # the fake adds a 1 in each build
    for content in (b"garbage", b"8.6.1 Orin 1"):
        cache.write_bytes(content)
        engine_file(bundle, read_passports(bundle)[0].recipe).unlink()
        assert build(bundle, "--precision", "fp32", "--optimization-level", 3)[0] == 0
        assert cache.read_bytes() == b"10.3.0 Orin 1"


def test_an_operation_that_the_parser_does_not_know_is_named(bundle, build, fake_tensorrt):
    model = onnx.load(bundle.path / "fp32.onnx")
    for node in model.graph.node:
        if node.op_type == "Erf":
            node.op_type = "Gelu"
    onnx.save(model, bundle.path / "fp32.onnx")
    fake_tensorrt("8.6.1")
    status, _, err = build(bundle, "--precision", "fp32")
    assert status == 2
    assert "fp32.onnx: TensorRT 8.6.1 does not know Gelu (9 nodes, first layers.0.blocks.0.mlp.gelu.erf)" in err
    assert "export/to_onnx.py writes one that 8.6 knows" in err
    assert read_passports(bundle) == []


def test_a_node_that_the_parser_refuses_is_named(bundle, build, fake_tensorrt):
    model = onnx.load(bundle.path / "fp32.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.attribute.append(onnx.helper.make_attribute("refuse", 1))
    onnx.save(model, bundle.path / "fp32.onnx")
    fake_tensorrt("10.3.0")
    status, _, err = build(bundle, "--precision", "fp32")
    assert status == 2
    assert f"{node.name}, operation Softmax: Assertion failed: attribute refuse; export/to_onnx.py" in err
    assert len(err.splitlines()) == 1


def test_a_graph_that_is_none(bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    (bundle.path / "fp32.onnx").write_bytes(b"no graph")
    status, _, err = build(bundle, "--precision", "fp32")
    assert status == 2
    assert "fp32.onnx: is no ONNX file that can be built from" in err


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_graph_of_something_else(precision, bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "other", [x], [y])
    for model in (onnx.helper.make_model(graph), onnx.ModelProto()):
        onnx.save(model, bundle.path / "fp32.onnx")
        status, _, err = build(bundle, "--precision", precision)
        assert status == 2
        assert "fp32.onnx: want the input log_mel and the outputs" in err
        assert len(err.splitlines()) == 1


def test_files_that_are_not_ours_stay(bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    (bundle.path / FOLDER / "notes").mkdir(parents=True)
    (bundle.path / FOLDER / "NOTES.txt").write_text("mine")
    (bundle.path / FOLDER / ".0123.engine.part").write_text("of a killed build")
    assert build(bundle, "--precision", "fp32")[0] == 0
    assert {path.suffix for path in (bundle.path / FOLDER).iterdir()} == {"", ".txt", ".engine", ".json", ".cache"}


def test_what_the_bundle_cannot_be_built_of_is_named(bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    status, _, err = build(bundle, "--precision", "int8")
    assert status == 2
    assert "has no int8.onnx, of which int8 engines are built; calibration/quantize.py" in err
    status, out, _ = build(bundle)
    assert status == 0
    assert "has no 8-bit graph, which calibration/quantize.py makes: fp16 is built" in out


def test_a_builder_that_fails_says_why_and_is_not_tried_for_ever(bundle, build, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0", FAULTS="build")
    for _ in range(3):
        status, _, err = build(bundle, "--precision", "fp32", "--background")
        assert status == 2
        assert "TensorRT 10.3.0 cannot build fp32.onnx in fp32, with 1024 MiB for each layer: Error Code 10" in err
    status, _, err = build(bundle, "--precision", "fp32", "--background")
    assert status == 1
    assert "was tried 3 times: TensorRT 10.3.0 cannot build" in err
    assert build(bundle, "--precision", "fp32")[0] == 2  # by hand, again
    monkeypatch.setenv("FAKE_FAULTS", "")
    assert build(bundle, "--precision", "fp16")[0] == 0  # another one forgets nothing of it
    assert len(list((bundle.path / FOLDER).glob("*.failed"))) == 1
    assert build(bundle, "--precision", "fp32")[0] == 0
    assert not list((bundle.path / FOLDER).glob("*.failed"))


def test_a_memory_of_failures_that_a_power_cut_has_torn(bundle, build, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0", FAULTS="build")
    assert build(bundle, "--precision", "fp32", "--background")[0] == 2
    (failed,) = (bundle.path / FOLDER).glob("*.failed")
    failed.write_text("")
    assert build(bundle, "--precision", "fp32", "--background")[0] == 2
    assert json.loads(failed.read_text())["count"] == 1
    failed.write_text('{"recipe"')
    monkeypatch.setenv("FAKE_FAULTS", "")
    assert build(bundle, "--precision", "fp32")[0] == 0


def test_of_two_the_other_is_built_when_one_fails(bundled, build, fake_tensorrt):
    (bundled.path / "int8.onnx").write_bytes(b"no graph")
    fake_tensorrt("10.3.0")
    status, out, err = build(bundled)
    assert status == 0
    assert "int8.onnx: is no ONNX file" in err
    assert "fp16: built in" in out


@pytest.mark.parametrize("version", ["8.6.1", "11.4.0"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_ends_at_once_and_has_not_failed(version, how, bundle, start, fake_tensorrt):
    fake_tensorrt(version, BUILD_S="600")
    folder = bundle.path / FOLDER
    for failures in (0, 1):
        process = start(bundle, "--precision", "fp32", "--background")
        wait_for(
            lambda failures=failures: [f for f in folder.glob("*.failed") if f'"count":{failures + 1}' in f.read_text()]
        )
        time.sleep(0.3)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)  # of the ten minutes that a build takes
        assert process.returncode == 130
        assert "Traceback" not in err
        (failed,) = folder.glob("*.failed")
        assert json.loads(failed.read_text())["count"] == failures  # as many as there were before
        failed.write_text(failed.read_text().replace('"count":0', '"count":1'))
    assert {path.suffix for path in folder.iterdir()} == {"", ".failed"}


def test_a_kill_is_remembered(bundle, start, fake_tensorrt):
    fake_tensorrt("10.3.0", BUILD_S="30")
    process = start(bundle, "--precision", "fp32", "--background")
    wait_for(lambda: list((bundle.path / FOLDER).glob("*.failed")))
    process.kill()
    process.communicate()
    (failed,) = (bundle.path / FOLDER).glob("*.failed")
    told = json.loads(failed.read_text())
    assert (told["count"], told["reason"]) == (1, "the process ended, or the machine")


def test_killed_while_a_proven_engine_is_replaced(bundle, build, start, fake_tensorrt, monkeypatch):
    """Each rebuild makes other bytes: whatever a kill leaves, what would be used is what was proven."""
    fake_tensorrt("10.3.0")
    used = 0
    for number in range(6):
        monkeypatch.setenv("FAKE_SALT", str(number))
        assert build(bundle, "--precision", "fp32")[0] == 0
        (passport,) = read_passports(bundle)
        broken = passport.model_copy(update={"broken": "said so"})  # so that it is built again
        passport_file(bundle, passport.recipe).write_text(broken.model_dump_json())
        engine = engine_file(bundle, passport.recipe)
        before = engine.read_bytes()
        process = start(bundle, "--precision", "fp32", FAKE_SALT=f"{number} again")
        wait_for(lambda engine=engine, before=before: engine.read_bytes() != before)
        time.sleep(number * 0.7)  # while it is being proven, or after
        process.kill()
        process.communicate()
        for found in read_passports(bundle):
            if found.broken is None:
                assert hashlib.sha256(engine.read_bytes()).hexdigest() == found.engine_sha256
                used += 1
    assert used < 6


def test_a_second_build_waits_for_the_first_and_uses_its_engine(bundle, start, fake_tensorrt):
    fake_tensorrt("10.3.0", BUILD_S="2")
    first = start(bundle, "--precision", "fp32")
    wait_for(lambda: (bundle.path / FOLDER / ".lock").exists() and (bundle.path / FOLDER / ".lock").read_text())
    second = start(bundle, "--precision", "fp32")
    out, err = second.communicate(timeout=60)
    assert err == f"waiting for process {first.pid}, which builds here\n"
    assert "fp32: is there since" in out
    assert "fp32: built in" in first.communicate()[0]
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_disk_that_fills_leaves_no_engine(bundle, fake_tensorrt):
    fake_tensorrt("10.3.0")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        [sys.executable, ROOT / "export" / "build_trt.py", bundle.path, "--precision", "fp32"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert ".engine: cannot be written: File too large; what was there is as it was" in done.stderr
    assert read_passports(bundle) == []
    assert not list((bundle.path / FOLDER).glob("*.engine"))


def test_a_file_in_the_place_of_the_folder(bundle, build, fake_tensorrt):
    fake_tensorrt("10.3.0")
    (bundle.path / FOLDER).write_text("")
    status, _, err = build(bundle, "--precision", "fp32")
    assert status == 2
    assert "engines: cannot be written: File exists" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "4,1,8"], "'4,1,8' is not MIN,OPT,MAX, from few to many, such as 1,1,8"),
        (["--batch", "0"], "'0' is not a whole number from 1 on"),
        (["--precision", "fp8"], "invalid choice: 'fp8'"),
        (["--workspace-mib", "99999999999999"], "MiB are more than any device has"),
        (["--budget", "nan"], "'nan' is not a number of dB"),
        (["--workspace-mib", "-1"], "is not a whole number from 1 on"),
        (["--flavour", "rtx", "--optimization-level", "6"], "invalid choice: 6"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, message, bundle, build):
    status, _, err = build(bundle, *arguments)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_without_arguments_it_is_the_bundled_model(fake_tensorrt, monkeypatch):
    from htsat_edge.export import build_trt

    fake_tensorrt("10.3.0")
    seen = []
    monkeypatch.setattr("htsat_edge.export.build_trt.read_bundle", lambda path: seen.append(path) or read_bundle(path))
    monkeypatch.setattr(
        "htsat_edge.export.build_trt.choose", lambda site, asked: (_ for _ in ()).throw(HtsatEdgeError(asked))
    )
    assert build_trt.main([]) == 2
    assert seen == [BUNDLED]


def test_no_tensorrt_and_no_gpu(bundle, fake_tensorrt):
    fake_tensorrt("10.3.0")
    without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = [sys.executable, ROOT / "export" / "build_trt.py", bundle.path, "--flavour", "tensorrt"]
    for environment, message in (
        (without, "TensorRT for Python is not there; on a Jetson: sudo apt install python3-libnvinfer"),
        ({**os.environ, "FAKE_GPU": ""}, "there is no GPU to be used"),
    ):
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert "without it htsat-edge runs on onnxruntime" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_no_onnx(bundle):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 Linux only")
    arguments = [str(bundle.path), "--flavour", "rtx"]
    code = "import sys; sys.modules['onnx'] = None; from htsat_edge.export.build_trt import main; "
    code += f"sys.exit(main({arguments}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "building needs onnx: pip install onnx" in done.stderr
    assert not list((bundle.path / FOLDER).glob("*.failed"))
