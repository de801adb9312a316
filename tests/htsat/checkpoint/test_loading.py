import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from htsat_edge.htsat.checkpoint import load_network
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT

CONFIG = NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10)


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


def test_buffers_that_follow_from_the_sizes_are_left(tiny_weights, save, taken):
    taken(save({"state_dict": {f"sed_model.{key}": value for key, value in derivable(tiny_weights).items()}}))


def test_safetensors_and_half_precision(tiny_weights, tmp_path):
    save_file({key: value.half() for key, value in tiny_weights.items()}, tmp_path / "x.safetensors")
    network = load_network(tmp_path / "x.safetensors", CONFIG)
    assert network.norm.weight.dtype == torch.float32
    torch.testing.assert_close(network.norm.weight.data, tiny_weights["norm.weight"])


@pytest.mark.parametrize("head", [{}, {"head.weight": torch.zeros(99, 3), "head.bias": torch.zeros(99)}])
def test_the_unused_head_may_be_anything(head, tiny_weights, save):
    bare = {key: value for key, value in tiny_weights.items() if not key.startswith("head.")}
    load_network(save({**bare, **head}), CONFIG)


def test_the_figures_of_published_files_are_read(tiny_weights, save):
    extra = {"epoch": 12, "best": np.float64(0.47), "state_dict": {f"module.{k}": v for k, v in tiny_weights.items()}}
    load_network(save(extra), CONFIG)


def test_a_key_that_is_missing_unexpected_or_of_another_shape_is_named(tiny_weights, save, refusal):
    without = {key: value for key, value in tiny_weights.items() if key != "norm.bias"}
    assert "'norm.bias' is missing" in refusal(save(without))
    assert "'norm.scale' is unexpected" in refusal(save({**tiny_weights, "norm.scale": torch.zeros(1)}))
    wrong = {**tiny_weights, "norm.bias": torch.zeros(5)}
    assert "'norm.bias' is [5], but the network has [128]" in refusal(save(wrong))
    damaged = {**tiny_weights, "norm.bias": torch.full((128,), torch.nan)}
    assert "'norm.bias' holds values that are not numbers" in refusal(save(damaged))


def test_a_wrong_network_says_which_it_looks_like(tiny_weights, save, refusal):
    message = refusal(save(tiny_weights), NetworkConfig())
    assert "looks like {embed_dim: 16, depths: [2, 2, 3, 2], heads: [2, 4, 4, 8], classes: 10}" in message


def test_a_published_size_is_recognised(save, refusal):
    path = save(HTSAT(NetworkConfig(classes=50, loss="ce")).state_dict())
    assert refusal(path, NetworkConfig()).endswith("as in configs/networks/esc50.yaml")


VARIANTS = {
    "patch_embed.mel_conv2d.weight": (torch.zeros(1), "a fusion variant of LAION-CLAP"),
    "patch_embed.fusion_model.local_att.0.weight": (torch.zeros(1), "a fusion variant of LAION-CLAP"),
    "absolute_pos_embed": (torch.zeros(1, 4096, 16), "a variant with absolute positions (ape), which is not supported"),
    "layers.0.blocks.0.attn.relative_position_bias_table": (
        torch.zeros(23**2, 2),
        "a variant with attention windows of 12",
    ),
    "patch_embed.proj.weight": (torch.zeros(16, 4, 4, 4), "a variant whose patch embedding takes 4 channels"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_named_with_the_key_that_shows_them(name, tiny_weights, save, refusal):
    value, what = VARIANTS[name]
    said = refusal(save({"state_dict": {f"audio_branch.{k}": v for k, v in {**tiny_weights, name: value}.items()}}))
    assert f"'{name}' shows that this is {what}" in said


def test_a_network_without_the_token_semantic_head(tiny_weights, save, refusal):
    weights = {key: value for key, value in tiny_weights.items() if not key.startswith("tscam_conv.")}
    said = refusal(save({**weights, "head.weight": torch.zeros(10, 128)}))
    assert (
        "'head.weight' without 'tscam_conv.weight' shows that this is a variant without the token-semantic head" in said
    )


def test_numbers_that_are_no_weights_are_not_taken_for_some(tiny_weights, save, refusal):
    """As in a network that somebody quantised."""
    path = save({**tiny_weights, "norm.bias": torch.zeros(128, dtype=torch.int8)})
    assert "'norm.bias' is no plain tensor of floating-point numbers, but torch.int8" in refusal(path)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
@pytest.mark.parametrize("form", ["zip", "stream", "safetensors"])
def test_every_type_of_floating_point_numbers(dtype, form, tiny_weights, save, taken, tmp_path):
    weights = {key: value.to(dtype) for key, value in tiny_weights.items()}
    if form == "safetensors":
        save_file(weights, tmp_path / "x")
        taken(tmp_path / "x", weights)
    else:
        taken(save(weights, _use_new_zipfile_serialization=form == "zip"), weights)


@pytest.mark.parametrize(
    "value", [3, torch.zeros(2, 2).to_sparse(), torch.zeros(2, dtype=torch.complex64), torch.zeros(2, device="meta")]
)
def test_what_is_no_plain_tensor_is_named(value, tiny_weights, save, refusal):
    path = save({**tiny_weights, "norm.bias": value})
    assert "'norm.bias' is no plain tensor" in refusal(path)


def test_a_wrong_network_costs_no_memory(tiny_weights, save, refusal):
    path = save(tiny_weights)
    assert "is [16, 1, 4, 4], but the network has [96000, 1, 4, 4]" in refusal(path, NetworkConfig(embed_dim=96_000))


@pytest.fixture(scope="module")
def small_files(tiny_weights, tmp_path_factory):
    """Few weights in each form, so that flips hit the structure of the file."""
    few = {key: tiny_weights[key] for key in list(tiny_weights)[:12]}
    folder = tmp_path_factory.mktemp("small")
    torch.save({"state_dict": few}, folder / "zip")
    torch.save({"state_dict": few}, folder / "stream", _use_new_zipfile_serialization=False)
    save_file(few, folder / "safetensors")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 2**31),
    value=st.integers(0, 255),
    cut=st.booleans(),
    form=st.sampled_from(["zip", "stream", "safetensors"]),
)
def test_a_damaged_file_is_one_line(at, value, cut, form, small_files, tmp_path, refusal):
    content = bytearray(small_files[form])
    content[at % len(content)] ^= value
    path = tmp_path / "x.pt"
    path.write_bytes(content[: at % len(content)] if cut else content)
    refusal(path)  # at the least, most of its keys are missing
