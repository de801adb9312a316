"""What gpu_day.py runs on a GPU, here on the CPU or on a GPU that is none, as little of it as there can be."""

import contextlib
import json
from types import SimpleNamespace as Namespace

import numpy as np
import pytest
import torch

from htsat_edge.export import gpu_day, gpu_parts, roofline, stand_in
from htsat_edge.export.gpu_day import PARTS
from htsat_edge.export.gpu_parts import Effort
from htsat_edge.htsat import train
from htsat_edge.htsat.network import HTSAT

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setitem(gpu_parts.EFFORTS, "cpu", Effort(("bundled",), (1, 2), runs=1, windows=3, clips=2, steps=2))
    monkeypatch.setattr(roofline, "SIDE", 256)
    monkeypatch.setattr(roofline, "COPIED", 2**20)


def run(part, device="cpu"):
    found = {}
    for result in PARTS[part].run(device):
        assert not found.keys() & result.keys()
        found |= result
    json.dumps(found, allow_nan=False)
    return found


def test_the_roofline_has_the_share_that_is_reached():
    found = run("roofline")
    assert list(found) == [
        f"bundled, batch {batch}, {precision}, {way}"
        for batch in (1, 2)
        for precision, ways in (("fp32", roofline.EAGER), ("fp16", ["torch"]))
        for way in ways
    ]
    point = found["bundled, batch 2, fp32, torch"]
    assert point["share"] == pytest.approx(point["bound_ms"] / point["median_ms"])
    assert found["bundled, batch 1, fp32, CUDA graph"]["reason"] == "needs CUDA"


def test_what_is_compiled_is_timed(monkeypatch):
    compiled = []
    monkeypatch.setattr(roofline, "for_one_shape", lambda network: compiled.append(network) or network)
    found = run("compile")
    assert len(compiled) == 2
    assert found["bundled, batch 1, fp32, torch.compile"]["median_ms"] > 0


def test_onnxruntime_is_timed_by_the_providers_that_it_has(monkeypatch):
    import onnxruntime

    session = onnxruntime.InferenceSession
    offered = ["TensorrtExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    # Where a library is missing, it says so in its log, and takes the CPU.
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda graph, providers: session(graph))
    found = run("onnxruntime")
    assert found.pop("offered") == offered
    assert [key.split(", ")[1:] for key in found] == [
        [batch, provider] for batch in ("batch 1", "batch 2") for provider in (offered[2], offered[0])
    ]
    assert found["bundled, batch 2, CPUExecutionProvider"]["p50_ms"] > 0
    assert found["bundled, batch 2, CPUExecutionProvider"]["largest difference"] == 0
    assert found["bundled, batch 2, TensorrtExecutionProvider"] == {
        "not run": "a library that it needs is missing, or of another version"
    }


class Session:
    """Of onnxruntime, on a GPU that is none."""

    runs: list[str]

    def __init__(self, graph, providers):
        ((self.provider, _),) = providers

    def get_providers(self):
        return [self.provider]

    def get_outputs(self):
        return [Namespace(name="clipwise"), Namespace(name="framewise")]

    def run(self, names, feeds):
        self.runs.append(self.provider)
        on_gpu = self.provider == "CUDAExecutionProvider"
        return [None, np.full((1, 2), 0.25 * on_gpu, np.float32)]


@pytest.fixture
def beside_a_gpu(monkeypatch):
    """onnxruntime with a GPU; returns the runs."""
    import onnxruntime

    effort = Effort(("bundled",), (1, 2), runs=3, windows=3, clips=2, steps=2)
    monkeypatch.setitem(gpu_parts.EFFORTS, "cuda", effort)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(gpu_parts.PROVIDERS)[:2])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(Session, "runs", [], raising=False)
    return Session.runs


def test_the_cpu_runs_once_beside_a_gpu(beside_a_gpu):
    """A large batch there took the time of the part."""
    found = run("onnxruntime", "cuda")
    assert beside_a_gpu == 2 * ["CPUExecutionProvider", *(4 * ["CUDAExecutionProvider"])]
    gpu = found["bundled, batch 1, CUDAExecutionProvider"]
    assert (gpu["runs"], gpu["largest difference"]) == (3, 0.25)
    assert found["bundled, batch 1, CPUExecutionProvider"]["runs"] == 1


def test_where_the_cpu_gave_nothing_there_is_no_difference(beside_a_gpu, monkeypatch):
    """The GPU was compared with itself."""

    def fail(self):
        if self.provider == "CPUExecutionProvider":
            raise MemoryError("too large")
        return [self.provider]

    monkeypatch.setattr(Session, "get_providers", fail)
    found = run("onnxruntime", "cuda")
    assert found["bundled, batch 1, CPUExecutionProvider"] == {"not run": "too large"}
    assert found["bundled, batch 1, CUDAExecutionProvider"].keys() == {"p50_ms", "runs"}


def test_networks_are_trained_in_both_precisions(monkeypatch):
    types = []
    monkeypatch.setattr(HTSAT, "_grid", remembering(HTSAT._grid, types))
    found = run("training")
    assert found.pop("scenes a second that one process draws") > 0
    assert list(found) == ["bundled, float32", "bundled, bfloat16", "bundled, bfloat16, with drawing"]
    for own in found.values():
        assert own["clips_per_s"] > 0
        assert own["clips"] == 2
    assert found["bundled, float32"]["last_loss"] < found["bundled, float32"]["first_loss"]
    assert types[:4] == [torch.float32] * 4
    assert set(types[4:]) == {torch.bfloat16}


def remembering(method, types):
    def remember(self, tokens):
        types.append(self.patch_embed.proj(tokens.new_zeros(1, 1, 4, 4)).dtype)
        return method(self, tokens)

    return remember


def test_what_does_not_fit_is_said(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate …")

    monkeypatch.setattr(gpu_parts.Training, "take_step", full)
    monkeypatch.setattr(train, "learn", lambda *_: iter([2]))
    assert run("training")["bundled, float32"] == {"not run": "2 clips do not fit into the GPU's memory"}


def test_the_backend_runs_the_network_in_an_engines_place(fake_tensorrt, monkeypatch):
    gpu = fake_tensorrt("10.3", BINDINGS="13").GPU
    execute = stand_in.ExecutionContext.execute_async_v3

    def enqueue(self, stream):
        gpu.streams[stream].add(lambda: execute(self, stream))
        return True

    def tensor(self):
        address, shape = self.__cuda_array_interface__["data"][0], self.__cuda_array_interface__["shape"]
        whole = torch.from_numpy(gpu.memory[address]).view(torch.float32)
        return whole[: torch.Size(shape).numel()].view(shape)

    monkeypatch.setattr(stand_in.ExecutionContext, "execute_async_v3", enqueue)
    monkeypatch.setattr(stand_in.DeviceArray, "tensor", tensor)
    monkeypatch.setattr(HTSAT, "cuda", lambda self: self)
    for name in ("MemPool", "ExternalStream", "stream", "use_mem_pool"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: contextlib.nullcontext())
    found = run("backend")
    assert found.pop("cuda_of_driver") == "12.6"
    assert list(found) == ["stream", "CUDA graph"]
    for own in found.values():
        assert max(own["largest difference by batch"].values()) < 1e-5
        assert own["windows"] == 3
        assert own["memory taken meanwhile"] == 0
    assert all(found["CUDA graph"][f"equal to the stream, batch {size}"] for size in (1, 3, 4))


def test_results_are_written_as_they_come(monkeypatch, tmp_path, capsys):
    def part(device):
        yield {"one": 1}
        raise gpu_day.HtsatEdgeError("the rest is missing")

    out = tmp_path / "found.json"
    monkeypatch.setitem(PARTS, "engines", gpu_day.Part(part, 1))
    assert gpu_day.main(["--part", "engines", "--device", "cpu", "--out", str(out)]) == 2
    assert json.loads(out.read_text()) == {"engines": {"one": 1}}
    assert capsys.readouterr().err == "gpu_day.py: the rest is missing\n"


def test_the_tests_for_a_gpu_are_run():
    found = run("tests")
    assert found["status"] == 0
    assert "skipped" in found["summary"]
    assert all(line.startswith("SKIPPED") for line in found["not passed"])
