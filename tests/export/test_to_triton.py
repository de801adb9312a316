"""The command to_triton.py; what a server makes of it is in triton/test_server.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")

from htsat_edge.export.to_triton import main
from htsat_edge.export.triton_models.configs import from_text
from htsat_edge.runtime.models.engines import read_engine, read_manifests

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def to_triton(capsys, tmp_path):
    """Run to_triton.py in this process; return its exit status, stdout and stderr."""

    def run(bundle, *arguments, out=tmp_path / "repository"):
        try:
            status = main([str(bundle.path), "--out", str(out), *map(str, arguments)])
        except SystemExit as error:  # argparse
            status = error.code
        return status, *capsys.readouterr()

    return run


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def config(folder):
    return from_text((folder / "config.pbtxt").read_text())


def test_a_graph_for_onnxruntime(bundle, to_triton, tmp_path):
    status, out, err = to_triton(bundle, "--precision", "fp32", "--streams", 5, "--idle-s", 90)
    assert (status, err) == (0, "")
    repository, name = tmp_path / "repository", bundle.info.name
    assert files(repository) == {
        *(f"{name}/{file}" for file in ("config.pbtxt", "labels.txt", "1/model.onnx", "configs/cpu.pbtxt")),
        f"{name}/configs/gpu.pbtxt",
        *(f"{name}_events/{file}" for file in ("config.pbtxt", "1/model.py", "1/model.json")),
    }
    model = repository / name
    assert (model / "1" / "model.onnx").read_bytes() == bundle.graph("fp32").read_bytes()
    assert (model / "labels.txt").read_text().splitlines() == bundle.info.labels
    assert (model / "config.pbtxt").read_bytes() == (model / "configs" / "cpu.pbtxt").read_bytes()
    events = config(repository / f"{name}_events")
    assert events.sequence_batching.oldest.max_candidate_sequences == 5
    assert events.sequence_batching.max_sequence_idle_microseconds == 90_000_000
    assert f"tritonserver --model-repository={repository}" in out


def test_with_gpu_the_other_configuration_is_the_first(bundle, to_triton, tmp_path):
    assert to_triton(bundle, "--gpu")[0] == 0
    model = tmp_path / "repository" / bundle.info.name
    assert (model / "config.pbtxt").read_bytes() == (model / "configs" / "gpu.pbtxt").read_bytes()
    assert "KIND_GPU" in (model / "config.pbtxt").read_text()
    assert config(model).parameters["precision"].string_value == "fp32"


def test_weights_beside_the_graph_come_along(bundle, to_triton, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(bundle.graph("fp32"))
    onnx.save(model, bundle.graph("fp32"), save_as_external_data=True, location="weights.bin")
    assert to_triton(bundle, "--precision", "fp32")[0] == 0
    version = tmp_path / "repository" / bundle.info.name / "1"
    assert (version / "weights.bin").read_bytes() == (bundle.path / "weights.bin").read_bytes()
    assert onnx.load(version / "model.onnx") == onnx.load(bundle.graph("fp32"))


def test_engines_are_chosen_by_the_kind_of_gpu(bundled, build_trt, to_triton, fake_tensorrt, tmp_path):
    status, _, err = to_triton(bundled, "--backend", "tensorrt")
    assert status == 2
    assert "has no engine of TensorRT that passed validation; python -m htsat_edge.export.build_trt" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "repository").exists()
    fake_tensorrt("10.3.0")
    build_trt(bundled, "--precision", "fp16")
    status, out, _ = to_triton(bundled, "--backend", "tensorrt")
    assert status == 0
    (manifest,) = read_manifests(bundled)
    capability = manifest.recipe.gpu.compute_capability
    model = tmp_path / "repository" / "bundled"
    assert dict(config(model).cc_model_filenames) == {capability: f"model-{capability}.plan"}
    assert (model / "1" / f"model-{capability}.plan").read_bytes() == read_engine(bundled, manifest)
    assert config(model).max_batch_size == min(8, manifest.recipe.batch[2])
    assert config(model).platform == "tensorrt_plan"
    assert files(model / "configs") == {"gpu.pbtxt"}
    assert "the server must have TensorRT 10.3.0" in out
    assert to_triton(bundled, "--backend", "tensorrt", "--precision", "int8")[0] == 2


def test_what_is_written_again_takes_the_place_of_ours_and_keeps_other_versions(bundle, to_triton, tmp_path):
    assert to_triton(bundle, "--backend", "python")[0] == 0
    model = tmp_path / "repository" / bundle.info.name
    (model / "2").mkdir()
    (model / "2" / "model.onnx").write_text("mine")
    assert to_triton(bundle)[0] == 0
    assert (model / "2" / "model.onnx").read_text() == "mine"
    assert files(model / "1") == {"model.onnx"}


@pytest.mark.parametrize("which", ["{}", "{}_events"])
@pytest.mark.parametrize("content", ['name: "somebody\'s"\n', None])
def test_a_foreign_model_is_left_alone(bundle, to_triton, tmp_path, which, content):
    foreign = tmp_path / "repository" / which.format(bundle.info.name)
    foreign.mkdir(parents=True)
    (foreign / ("config.pbtxt" if content else "notes.txt")).write_text(content or "mine")
    before = files(tmp_path)
    status, _, err = to_triton(bundle)
    assert status == 2
    assert f"{foreign}: was not written by to_triton.py, and is left as it is" in err
    assert len(err.splitlines()) == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a b"], "'a b' is no name of a model there: give --name"),
        (["--name", "../x"], "no name of a model"),
        (["--backend", "python", "--gpu"], "runs the graph on a CPU; leave one of the two out"),
        (["--precision", "int4"], "has no int4.onnx; precisions here: fp32"),
        (["--backend", "pytorch"], "invalid choice: 'pytorch'"),
        (["--streams", "0"], "'0' is not a whole number from 1 on"),
        (["--idle-s", "0.5"], "'0.5' is not a number of seconds from 1 to 604800"),
        (["--idle-s", "nan"], "'nan' is not a number of seconds"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(bundle, to_triton, tmp_path, arguments, message):
    status, _, err = to_triton(bundle, *arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "repository").exists()


def test_an_out_that_is_a_file_is_said(bundle, to_triton, tmp_path):
    (tmp_path / "file").write_text("mine")
    status, _, err = to_triton(bundle, out=tmp_path / "file")
    assert status == 2
    assert f"{tmp_path / 'file'}" in err
    assert len(err.splitlines()) == 1


def test_enrolled_sounds_are_said_to_stay_behind(bundle, to_triton):
    assert "enrolled sounds" not in to_triton(bundle)[1]
    (bundle.path / "sounds").mkdir()
    assert "enrolled sounds are not served" in to_triton(bundle)[1]


def test_a_name_that_is_no_folder_is_asked_for(bundle, to_triton):
    content = json.loads((bundle.path / "model.json").read_text())
    (bundle.path / "model.json").write_text(json.dumps({**content, "name": "the yard / north"}))
    status, _, err = to_triton(bundle)
    assert status == 2
    assert "'the yard / north' is no name of a model there" in err


def test_without_tritonclient_one_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "tritonclient").mkdir()
    (tmp_path / "tritonclient" / "__init__.py").write_text("raise ModuleNotFoundError(name='tritonclient')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    command = [sys.executable, "-m", "htsat_edge.export.to_triton", "--out", tmp_path / "repository"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'to_triton.py: needs tritonclient: pip install "htsat-edge[remote]"\n'
