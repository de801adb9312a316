"""The graph must be the network at every batch size, and something that every TensorRT can read."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from htsat_edge.calibration.plain import plain
from htsat_edge.calibration.structure import find_linears
from htsat_edge.export.cpu_graph import build_for_cpu
from htsat_edge.export.graph import build, build_with_front_end
from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.network import HTSAT
from htsat_edge.runtime.dsp.windows import tile
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.backends.ort import open_session
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

ROOT = Path(__file__).parent.parent.parent
OPS = set((ROOT / "tests" / "data" / "nvidia" / "onnx-ops-8.6.txt").read_text().split())
BUILDERS = pytest.mark.parametrize("build", [build, build_for_cpu], ids=["fp32", "cpu-fp32"])
NAMES = ["framewise", "clipwise", "embedding"]
"""The outputs that the reference has, too."""
CASES = {
    "clip10_default": 1001,
    "clip10_quiet_default": 1001,
    "clip5_default": 501,
    "clip1_default": 101,
    "clip5_infer": 1002,
    "clip1_infer": 1010,
    "clip10_clipce": 1001,
}


def run(model, names=NAMES, **inputs):
    return dict(zip(names, open_session(model.SerializeToString()).run(names, inputs), strict=True))


def random_network(**sizes):
    """A network in which nothing is zero, one or symmetric."""
    torch.manual_seed(0)
    network = HTSAT(NetworkConfig(**sizes)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    network.bn0.running_mean.normal_(-30, 8)
    network.bn0.running_var.uniform_(100, 400)
    return network


def log_mels(batch, frames):
    return np.random.default_rng(batch).normal(-40, 20, (batch, frames, 64)).astype(np.float32)


@BUILDERS
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_references(case, build, tiny_network, goldens):
    clip, frames = case.partition("_")[0] if "quiet" not in case else "clip10_quiet", CASES[case]
    network = tiny_network
    if case.endswith("clipce"):
        network = HTSAT(tiny_network.config.model_copy(update={"loss": "ce"})).eval()
        network.load_state_dict(tiny_network.state_dict())
    log_mel = goldens[f"{clip}/log_mel"]
    repeats = frames // len(log_mel)
    outputs = run(build(network, frames), log_mel=np.tile(log_mel, (repeats, 1))[None])
    for name, found in outputs.items():
        np.testing.assert_allclose(found[0], goldens[f"{case}/{name}"].reshape(found[0].shape), atol=1e-5)


@pytest.mark.parametrize("case", ["clip5_infer", "clip1_infer"])
def test_tiled_clips_on_the_1024_frame_graph_are_the_references(case, tiny_network, goldens):
    log_mel = tile(goldens[f"{case.partition('_')[0]}/log_mel"], 1024)
    outputs = run(build(tiny_network, 1024), log_mel=log_mel[None])
    for name, found in outputs.items():
        np.testing.assert_allclose(found[0], goldens[f"{case}/{name}"].reshape(found[0].shape), atol=1e-5)


def test_audio_in_is_the_reference(tiny_network, goldens, waveforms):
    outputs = run(build_with_front_end(tiny_network, 1001), audio=np.stack([waveforms["clip10"]] * 2))
    for name, found in outputs.items():
        golden = goldens[f"clip10_default/{name}"].reshape(found[0].shape)
        np.testing.assert_allclose(found, np.stack([golden] * 2), atol=1e-5)


@pytest.mark.parametrize("frames", [1024, 1001, 2])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("frequency_bias", [False, True])
@BUILDERS
def test_every_batch_size_is_torch(frames, batch, frequency_bias, build):
    sizes = {"embed_dim": 8, "depths": (2, 2, 2, 1), "heads": (1, 2, 2, 4), "classes": 3}
    network = random_network(**sizes, frequency_bias=frequency_bias)
    log_mel = log_mels(batch, frames)
    outputs = run(build(network, frames), Scores._fields, log_mel=log_mel)
    with torch.no_grad():
        wanted = network(torch.from_numpy(log_mel))
    for name, found in outputs.items():
        np.testing.assert_allclose(found, getattr(wanted, name).numpy(), atol=2e-5)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "networks").glob("*.yaml")), ids=lambda path: path.stem)
def test_published_networks_keep_to_what_tensorrt_8_6_knows(path):
    """With a quarter of the channels: the nodes are the same, and a build takes a tenth of the memory."""
    config = read_network(path)
    network = HTSAT(config.model_copy(update={"embed_dim": config.embed_dim // 4})).eval()
    for make in (build, build_with_front_end):
        model = make(network, 1001)
        assert {node.op_type for node in model.graph.node} <= OPS
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


def test_the_bundled_graph_is_what_the_export_writes():
    bundle = load_bundle(BUNDLED)
    config = read_network(ROOT / "configs" / "networks" / "bundled.yaml")
    network = HTSAT(config.model_copy(update={"classes": len(bundle.info.labels)})).eval()
    made, found = build(network, bundle.info.frames).graph, plain(onnx.load(bundle.graph("fp32"))).graph
    assert list(found.node) == list(made.node)
    assert list(found.output) == list(made.output)
    shapes = [{x.name: (x.data_type, list(x.dims)) for x in graph.initializer} for graph in (found, made)]
    assert shapes[0] == shapes[1]


def test_the_graph_for_a_cpu_has_the_layers_of_the_other(tiny_network):
    """By name and value of their weights: what calibration learns of a layer in one holds in the other."""
    layers = []
    for model in (build(tiny_network, 1024), build_for_cpu(tiny_network, 1024)):
        weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        layers.append({linear.weight: weights[linear.weight] for linear in find_linears(model)})
    assert layers[0].keys() == layers[1].keys()
    for name, weight in layers[0].items():
        np.testing.assert_array_equal(weight, layers[1][name])


def test_the_full_network_for_a_cpu_has_few_nodes():
    model = build_for_cpu(HTSAT(NetworkConfig()).eval(), 1024)
    assert len(model.graph.node) <= 300
    assert sum(node.op_type == "Attention" for node in model.graph.node) == 12


def test_the_full_network_is_small_for_nvidias_builder(nvidia_layers):
    model = build(HTSAT(NetworkConfig()).eval(), 1024)
    assert len(model.graph.node) <= 600
    assert nvidia_layers(model) <= 950
