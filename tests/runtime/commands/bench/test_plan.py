"""The choice of what a bench times."""

import os
import shutil
import sys

import onnx
import pytest

from htsat_edge.runtime.commands.bench.plan import (
    GEMMS,
    Plan,
    Request,
    add_baselines,
    choose_graphs,
    find_baselines,
    matrix_products,
)
from htsat_edge.runtime.commands.bench.results import Candidate, NetworkSize
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import load_bundle

NETWORK = NetworkSize(embed_dim=16, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), classes=3)
OTHER = Candidate(name="Other", kind="baseline", parameters=7)


def names(plan):
    return [(one.name, one.threads) for one in plan.candidates]


def test_every_graph_for_a_cpu_is_chosen_with_every_number_of_threads(bundle):
    plan = choose_graphs(load_bundle(bundle), Request(threads=[1, 4], hop_s=0.64, sources=3))
    assert names(plan) == [("fp32", 1), ("fp32", 4), ("cpu-fp32", 1), ("cpu-fp32", 4)]
    for candidate in plan.candidates:
        assert (candidate.kind, candidate.backend, candidate.path) == ("bundle", "onnxruntime", str(bundle))
        assert (candidate.precision, candidate.hop_s, candidate.batch) == (candidate.name, 0.64, 3)


def test_graphs_that_are_left_out_have_a_reason(bundle, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    (folder / "cpu-fp32.onnx").rename(folder / "int8.onnx")
    plan = choose_graphs(load_bundle(folder), Request(threads=[1]))
    assert names(plan) == [("fp32", 1)]
    assert plan.not_run == {
        "int8": "for TensorRT engines; --precision int8 times it on onnxruntime",
        "cpu-fp32": "not in the bundle; python -m htsat_edge.export.to_onnx writes it",
        "cpu-int8": "not in the bundle; python -m htsat_edge.calibration.quantize writes it",
    }


def test_a_named_precision_is_all_that_is_chosen(bundle):
    plan = choose_graphs(load_bundle(bundle), Request(threads=[2], precisions=["cpu-fp32"]))
    assert (names(plan), plan.not_run) == ([("cpu-fp32", 2)], {})
    assert plan.candidates[0].hop_s == 0.32  # the default


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(threads=[1], precisions=["fp8"]), "has no fp8.onnx; precisions here: cpu-fp32, fp32"),
        (
            Request(threads=[1], backend="tensorrt"),
            "has no engine; python -m htsat_edge.export.build_trt .* builds one",
        ),
        (
            Request(threads=[1], backend="tensorrt", precisions=["fp16"]),
            "has no fp16 engine; python -m htsat_edge.export.build_trt .* --precision fp16 builds one",
        ),
    ],
)
def test_what_the_bundle_does_not_have_is_an_error(bundle, request_, message):
    with pytest.raises(HtsatEdgeError, match=message):
        choose_graphs(load_bundle(bundle), request_)


def find_other(network, threads, folder):
    return Plan([OTHER], {"AST": "failed"})


def find_none(network, threads, folder):
    return Plan([], {"baselines": "none here"})


def test_baselines_are_added_where_the_request_allows_them(tmp_path):
    own = Plan([Candidate(name="fp32", kind="bundle")], {"int8": "left out"})

    def added(find, **request):
        return add_baselines(own, Request(threads=[1], **request), NETWORK, tmp_path, find)

    assert added(find_other) == Plan([*own.candidates, OTHER], {"int8": "left out", "AST": "failed"})
    assert added(find_none) == Plan(own.candidates, {"int8": "left out", "baselines": "none here"})
    assert added(find_other, baselines=False) == own
    assert added(find_other, backend="tensorrt") == own
    with pytest.raises(HtsatEdgeError, match=r"^--baselines: none here$"):
        added(find_none, baselines=True)


def test_without_transformers_there_are_no_baselines(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert find_baselines(NETWORK, [1], tmp_path) == Plan([], {"baselines": "transformers is not installed"})


@pytest.fixture
def transformers(tmp_path, monkeypatch):
    """Put a module `transformers` in place, for child processes, too; return its file."""
    pytest.importorskip("torch")  # without which baselines.py looks for nothing else
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    file = tmp_path / "modules" / "transformers.py"
    file.parent.mkdir()
    file.write_text("class logging:\n    set_verbosity_error = staticmethod(lambda: None)\n")
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.setenv("PYTHONPATH", str(file.parent), prepend=os.pathsep)
    return file


def test_without_the_networks_size_there_are_no_baselines(tmp_path, transformers):
    plan = find_baselines(None, [1], tmp_path)
    assert plan == Plan([], {"baselines": "the bundle's model.json does not have the network's size"})


def test_baselines_that_cannot_be_exported_have_a_reason(tmp_path, transformers):
    plan = find_baselines(NETWORK, [1], tmp_path)
    assert plan.candidates == []
    assert plan.not_run.keys() == {"ClapAudioModel", "AST"}
    assert "cannot import name 'ASTConfig' from 'transformers'" in plan.not_run["AST"]


def test_an_export_that_fails_is_a_reason(tmp_path, transformers):
    transformers.write_text("raise RuntimeError('broken installation')")
    reason = (
        "baselines.py: a baseline needs transformers, which cannot be loaded here: broken installation; "
        "pip install --upgrade transformers"
    )
    assert find_baselines(NETWORK, [1], tmp_path) == Plan([], {"baselines": reason})


def test_the_matrix_products_are_what_they_are_called():
    assert names(Plan(matrix_products([1, 2]), {})) == [
        ("gemm-fp32", 1),
        ("gemm-fp32", 2),
        ("gemm-int8", 1),
        ("gemm-int8", 2),
    ]
    for name, op, kinds in (("fp32", "MatMul", (1, 1, 1)), ("int8", "MatMulInteger", (2, 3, 6))):
        model = onnx.load(GEMMS / f"gemm-{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert [node.op_type for node in model.graph.node] == [op]
        values = [*model.graph.input, *model.graph.output]
        assert tuple(value.type.tensor_type.elem_type for value in values) == kinds
