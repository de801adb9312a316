"""What several test files share: the goldens, the small network behind them, and a bundle of it."""

from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"
TINY = {"embed_dim": 16, "depths": (2, 2, 3, 2), "heads": (2, 4, 4, 8), "classes": 10}
"""The network behind the goldens (tests/data/goldens/README.md)."""


@pytest.fixture(scope="session")
def farmyard():
    """27 s of real recordings one after the other; farmyard.csv says what sounds when."""
    return DATA / "recordings" / "farmyard.flac"


@pytest.fixture(scope="session")
def goldens():
    """What the reference computes: `<case>/framewise`, `clipwise`, `embedding`, and `<clip>/log_mel`."""
    return dict(np.load(DATA / "goldens" / "outputs.npz"))


@pytest.fixture(scope="session")
def waveforms():
    """The goldens' inputs, float32 in [-1, 1]."""
    return {name: x.astype(np.float32) / 32768 for name, x in np.load(DATA / "goldens" / "waveforms.npz").items()}


@pytest.fixture(scope="session")
def tiny_weights():
    """The weights behind the goldens, in the form of a bare checkpoint."""
    from safetensors.torch import load_file

    return {key: value.float() for key, value in load_file(DATA / "goldens" / "weights.safetensors").items()}


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_weights, tmp_path_factory):
    """The same as a Lightning file."""
    import torch

    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    torch.save({"state_dict": {f"sed_model.{key}": value for key, value in tiny_weights.items()}}, path)
    return path


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory):
    """The tiny network's description and label list, as files."""
    folder = tmp_path_factory.mktemp("tiny")
    rows = [f"{key}: {list(value) if isinstance(value, tuple) else value}\n" for key, value in TINY.items()]
    (folder / "tiny.yaml").write_text("".join(rows))
    (folder / "tiny.csv").write_text("label\n" + "".join(f"class {i}\n" for i in range(10)))
    return folder


@pytest.fixture(scope="session")
def tiny_network(tiny_checkpoint):
    """The small network with the goldens' weights."""
    from htsat.checkpoint import load_network
    from htsat.config import NetworkConfig

    return load_network(tiny_checkpoint, NetworkConfig(**TINY))


@pytest.fixture(scope="session")
def nvidia_layers():
    """NVIDIA's own parser and builder (TensorRT for RTX), which need no GPU: builds a graph, tells its layers."""
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 Linux only")
    logger = trt.Logger(trt.Logger.ERROR)

    def build(model):
        builder = trt.Builder(logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, logger)
        assert parser.parse(model.SerializeToString()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        profile.set_shape("log_mel", (1, 1024, 64), (1, 1024, 64), (8, 1024, 64))
        config.add_optimization_profile(profile)
        assert builder.build_serialized_network(network, config) is not None
        return network.num_layers

    return build


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint, tiny_files, tmp_path_factory):
    """A bundle of the small network."""
    from export.to_onnx import main

    out = tmp_path_factory.mktemp("bundles") / "tiny"
    arguments = [
        tiny_checkpoint,
        "--network",
        tiny_files / "tiny.yaml",
        "--labels",
        tiny_files / "tiny.csv",
        "--out",
        out,
    ]
    assert main([str(argument) for argument in arguments]) == 0
    return out
