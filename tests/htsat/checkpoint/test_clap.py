"""CLAP from transformers: other names, and the same embedding."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from htsat_edge.configs import CONFIGS
from htsat_edge.htsat.checkpoint import load_checkpoint
from htsat_edge.htsat.config import read_network
from htsat_edge.runtime.common.errors import HtsatEdgeError

HERE = Path(__file__)
DATA = HERE.parents[2] / "data" / "clap"
PREFIX = "audio_model.audio_encoder."


def load_module():
    spec = importlib.util.spec_from_file_location("clap_weights", HERE.with_name("clap_weights.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


clap_weights = load_module()


def network_of(size):
    return read_network(CONFIGS / "networks" / f"clap-{size}.yaml")


def whole(size):
    """The parts of a ClapModel that matter here."""
    beside = {
        "text_model.encoder.layer.0.output.dense.weight": np.zeros(3, np.float32),
        "logit_scale_a": np.zeros((), np.float32),
    }
    own = {f"{PREFIX}{name}": value for name, value in clap_weights.encoder(size).items()}
    index = np.zeros((64, 64), np.int64)
    return own | beside | {f"{PREFIX}layers.0.blocks.0.attention.self.relative_position_index": index}


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_the_embedding_is_that_of_transformers(size, tmp_path):
    save_file(whole(size), tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path, network_of(size))
    log_mel, wanted = torch.from_numpy(clap_weights.log_mel()), np.load(DATA / "embeddings.npz")[size]
    assert np.abs(wanted).mean() > 0.1
    with torch.no_grad():
        out = loaded.network(log_mel)
    assert np.abs(out.embedding.numpy() - wanted).max() < 1e-5
    assert "left out: logit_scale_a, text_model" in loaded.taken
    assert loaded.taken.endswith("; no head, so that no class ever sounds")
    assert out.framewise.max() < 1e-8


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_the_golden_is_what_transformers_computes(size):
    pytest.importorskip("transformers")
    np.testing.assert_allclose(clap_weights.of_transformers(size), np.load(DATA / "embeddings.npz")[size], atol=1e-9)


@pytest.fixture(scope="module")
def weights():
    return whole("tiny")


def save_folder(folder, weights, **files):
    save_file(weights, folder / "model.safetensors")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def refusal(folder, network="clap-tiny"):
    with pytest.raises(HtsatEdgeError) as caught:
        load_checkpoint(folder, read_network(CONFIGS / "networks" / f"{network}.yaml"))
    return str(caught.value)


def test_a_file_of_torch_under_other_prefixes(weights, tmp_path):
    state = {f"clap.{key.removeprefix('audio_model.')}": torch.from_numpy(value) for key, value in weights.items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert "under 'clap.audio_encoder.'" in load_checkpoint(tmp_path / "pytorch_model.bin", network_of("tiny")).taken


def test_fusion_and_missing_parts_are_named(weights, tmp_path):
    save_folder(tmp_path, weights | {f"{PREFIX}patch_embed.mel_conv2d.weight": np.zeros(1, np.float32)})
    assert "'patch_embed.mel_conv2d.weight' shows that this is a fusion variant" in refusal(tmp_path)
    block = "layers.1.blocks.0.attention.self"
    save_folder(tmp_path, {key: value for key, value in weights.items() if key != f"{PREFIX}{block}.key.weight"})
    assert "'layers.1.blocks.0.attn.qkv.weight' is missing" in refusal(tmp_path)
    save_folder(tmp_path, weights | {f"{PREFIX}{block}.key.weight": np.zeros((3, 192), np.float32)})
    assert "'layers.1.blocks.0.attn.qkv.weight' is [387, 192], but the network has [576, 192]" in refusal(tmp_path)


def test_the_other_size_is_recognised(weights, tmp_path):
    save_folder(tmp_path, weights)
    assert "looks like {embed_dim: 96, depths: [2, 2, 6, 2], heads: [4, 8, 16, 32]" in refusal(tmp_path, "clap-base")


def test_the_front_end_beside_it_is_compared(weights, tmp_path):
    """audioset.yaml has the very sizes of clap-tiny.yaml, at another sample rate."""
    described = {
        "sampling_rate": 48_000,
        "hop_length": 480,
        "fft_window_size": 1024,
        "frequency_min": 0,
        "frequency_max": 14_000,
    }
    save_folder(tmp_path, weights, preprocessor_config=described)
    load_checkpoint(tmp_path, network_of("tiny"))
    said = refusal(tmp_path, "audioset")
    assert (
        "preprocessor_config.json beside it has sampling_rate 48000, but front_end.sample_rate of the network file is "
        "32000" in said
    )
    for form in ("best.safetensors", "pytorch_model-00001-of-00002.bin"):
        folder = tmp_path / form
        folder.mkdir()
        save_folder(folder, weights, preprocessor_config=described)
        if form.endswith(".bin"):
            (folder / "model.safetensors").unlink()
            torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, folder / form)
            index = {"weight_map": dict.fromkeys(weights, form)}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        else:
            (folder / "model.safetensors").rename(folder / form)
        assert "sampling_rate 48000" in refusal(folder, "audioset")
