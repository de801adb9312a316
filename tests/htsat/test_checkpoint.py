import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from htsat_edge.htsat.checkpoint import load_network
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.runtime.common.errors import HtsatEdgeError

SIZES = {"embed_dim": 16, "depths": (2, 2, 3, 2), "heads": (2, 4, 4, 8), "classes": 10}
CONFIG = NetworkConfig(**SIZES)


def refusal(path, config=CONFIG):
    with pytest.raises(HtsatEdgeError) as caught:
        load_network(path, config)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def saved(content, path):
    torch.save(content, path)
    return path


def derivable(weights):
    """The buffers that some checkpoints carry, float-typed as in the averaged ones."""
    return {
        "spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 1024),
        "logmel_extractor.melW": torch.zeros(513, 64),
        "bn0.num_batches_tracked": torch.tensor(7.0),
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(64, 64),
        "layers.0.blocks.1.attn_mask": torch.zeros(64, 64, 64),
        **weights,
    }


@pytest.mark.parametrize(
    "prefix", ["", "sed_model.", "module.", "module.sed_model.", "audio_branch.", "module.audio_branch."]
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_every_published_form_gives_the_same_network(prefix, wrapped, tiny_weights, tmp_path):
    state = {prefix + key: value for key, value in derivable(tiny_weights).items()}
    if prefix.endswith("audio_branch."):
        outer = prefix.removesuffix("audio_branch.")
        state |= {f"{outer}text_branch.embeddings.weight": torch.zeros(3), f"{outer}logit_scale_a": torch.tensor(1.0)}
    path = saved({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "x.ckpt")
    network = load_network(path, CONFIG)
    for key, value in network.state_dict().items():
        if key in tiny_weights:
            torch.testing.assert_close(value, tiny_weights[key], msg=key)
    assert not network.training


def test_safetensors_and_half_precision(tiny_weights, tmp_path):
    save_file({key: value.half() for key, value in tiny_weights.items()}, tmp_path / "x.safetensors")
    network = load_network(tmp_path / "x.safetensors", CONFIG)
    assert network.norm.weight.dtype == torch.float32
    torch.testing.assert_close(network.norm.weight.data, tiny_weights["norm.weight"])


def test_a_safetensors_file_may_begin_like_a_pickle(tiny_weights, tmp_path):
    """Its first bytes are the length of its header: one in 32 begins with 0x80."""
    path = tmp_path / "x.safetensors"
    for padding in range(300):
        save_file(tiny_weights, path, metadata={"note": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    load_network(path, CONFIG)


@pytest.mark.parametrize("head", [{}, {"head.weight": torch.zeros(99, 3), "head.bias": torch.zeros(99)}])
def test_the_unused_head_may_be_anything(head, tiny_weights, tmp_path):
    bare = {key: value for key, value in tiny_weights.items() if not key.startswith("head.")}
    load_network(saved({**bare, **head}, tmp_path / "x.pt"), CONFIG)


def test_the_figures_of_published_files_are_read(tiny_weights, tmp_path):
    extra = {"epoch": 12, "best": np.float64(0.47), "state_dict": {f"module.{k}": v for k, v in tiny_weights.items()}}
    load_network(saved(extra, tmp_path / "x.pt"), CONFIG)


def test_a_key_that_is_missing_unexpected_or_of_another_shape_is_named(tiny_weights, tmp_path):
    path = tmp_path / "x.pt"
    without = {key: value for key, value in tiny_weights.items() if key != "norm.bias"}
    assert "'norm.bias' is missing" in refusal(saved(without, path))
    assert "'norm.scale' is unexpected" in refusal(saved({**tiny_weights, "norm.scale": torch.zeros(1)}, path))
    wrong = {**tiny_weights, "norm.bias": torch.zeros(5)}
    assert "'norm.bias' is [5], but the network has [128]" in refusal(saved(wrong, path))
    mixed = {f"sed_model.{key}": value for key, value in tiny_weights.items()} | {"other": torch.zeros(1)}
    assert "unexpected key 'other', want all under 'sed_model.'" in refusal(saved(mixed, path))
    damaged = {**tiny_weights, "norm.bias": torch.full((128,), torch.nan)}
    assert "'norm.bias' holds values that are not numbers" in refusal(saved(damaged, path))


def test_a_wrong_network_says_which_it_looks_like(tiny_weights, tmp_path):
    message = refusal(saved(tiny_weights, tmp_path / "x.pt"), NetworkConfig())
    assert "looks like {embed_dim: 16, depths: [2, 2, 3, 2], heads: [2, 4, 4, 8], classes: 10}" in message


def test_a_published_size_is_recognised(tmp_path):
    from htsat_edge.htsat.network import HTSAT

    path = saved(HTSAT(NetworkConfig(classes=50, loss="ce")).state_dict(), tmp_path / "esc.pt")
    assert refusal(path, NetworkConfig()).endswith("as in configs/networks/esc50.yaml")


def test_fusion_variants_are_refused(tiny_weights, tmp_path):
    state = {f"module.audio_branch.{key}": value for key, value in tiny_weights.items()}
    state["module.audio_branch.patch_embed.mel_conv2d.weight"] = torch.zeros(1)
    assert "is a fusion variant of LAION-CLAP" in refusal(saved({"state_dict": state}, tmp_path / "x.pt"))


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch was-run",)


def test_a_bare_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps(RunsCode()))
    assert "could run code; refused" in refusal(tmp_path / "x.ckpt")
    assert not (tmp_path / "was-run").exists()


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved({"state_dict": {}, "hparams": RunsCode()}, tmp_path / "x.ckpt")
    message = refusal(path)
    assert "system beside weights, and loading it could run code; refused" in message
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.ckpt", b"not a checkpoint", "is not a checkpoint, or a damaged one"),
        ("x.ckpt", b"", "is not a checkpoint, or a damaged one"),
        ("x.safetensors", b"not safetensors", "is not a checkpoint, or a damaged one"),
    ],
)
def test_what_is_no_checkpoint(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert message in refusal(tmp_path / name)


def test_a_truncated_checkpoint(tiny_weights, tmp_path):
    path = saved(tiny_weights, tmp_path / "x.pt")
    path.write_bytes(path.read_bytes()[:100_000])
    assert "is not a checkpoint, or a damaged one" in refusal(path)


@pytest.mark.parametrize(
    "value", [3, torch.zeros(2, 2).to_sparse(), torch.zeros(2, dtype=torch.complex64), torch.zeros(2, device="meta")]
)
def test_what_is_no_plain_tensor_is_named(value, tiny_weights, tmp_path):
    path = saved({**tiny_weights, "norm.bias": value}, tmp_path / "x.pt")
    assert "'norm.bias' is no plain tensor" in refusal(path)


def test_keys_that_are_no_names(tiny_weights, tmp_path):
    assert "holds no weights" in refusal(saved({**tiny_weights, 0: torch.zeros(1)}, tmp_path / "x.pt"))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2**31), value=st.integers(0, 255))
def test_a_damaged_file_is_one_line(at, value, small_file, tmp_path):
    content = bytearray(small_file.read_bytes())
    content[at % len(content)] ^= value
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    refusal(path)  # at the least, most of its keys are missing


@pytest.fixture(scope="module")
def small_file(tiny_weights, tmp_path_factory):
    """Few weights, so that flips hit the structure of the file."""
    few = {key: tiny_weights[key] for key in list(tiny_weights)[:12]}
    return saved({"state_dict": few}, tmp_path_factory.mktemp("small") / "x.pt")


def test_a_wrong_network_costs_no_memory(tiny_weights, tmp_path):
    path = saved(tiny_weights, tmp_path / "x.pt")
    assert "is [16, 1, 4, 4], but the network has [96000, 1, 4, 4]" in refusal(path, NetworkConfig(embed_dim=96_000))


def test_no_file_a_directory_no_weights_and_another_network(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.ckpt")
    assert "is a directory" in refusal(tmp_path)
    assert "holds no weights" in refusal(saved([1, 2], tmp_path / "list.pt"))
    assert "'epoch' is no plain tensor" in refusal(saved({"epoch": 3}, tmp_path / "dict.pt"))
    assert "holds no HTS-AT" in refusal(saved({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pt"))
