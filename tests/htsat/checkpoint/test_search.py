import argparse

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT

PREFIXES = [
    *("", "sed_model.", "module.", "module.sed_model.", "audio_branch.", "module.audio_branch.", "_orig_mod."),
    *("sed_model._orig_mod.", "module._orig_mod.", "model.", "net.", "encoder.", "model.backbone.encoder."),
    *("audio_encoder.base.htsat.", "clap.audio_encoder.base.htsat."),
]


def under(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


def other(weights):
    return {key: value + 1 if value.is_floating_point() else value for key, value in weights.items()}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix(prefix, tiny_weights, save, taken):
    said = taken(save({"state_dict": under(prefix, tiny_weights), "epoch": 3}))
    assert said.startswith(f"{len(tiny_weights)} tensors from state_dict")
    assert not prefix or f"under '{prefix}'" in said


@pytest.mark.parametrize(
    "where", ["model", "model_state_dict", "state_dict", "state_dict_ema", "ema", "net", "module", "a.b.c", "models.0"]
)
def test_any_dictionary(where, tiny_weights, save, taken):
    content = under("net.", tiny_weights)
    for key in reversed(where.split(".")):
        content = [content] if key.isdecimal() else {key: content, "epoch": 3, "optimizer": {"state": {}}}
    assert f"tensors from {where} under 'net.'" in taken(save(content))


def test_keys_of_a_trainer_are_named_and_do_no_harm(tiny_weights, save, taken, refusal):
    trainer = {"loss.pos_weight": torch.ones(10), "n_averaged": torch.tensor(7)}
    assert "left out: loss.pos_weight, n_averaged" in taken(save(under("sed_model.", tiny_weights) | trainer))
    assert "left out: loss.pos_weight, n_averaged" in taken(save(tiny_weights | trainer))
    text = {f"text_branch.layer.{i}.weight": torch.ones(1) for i in range(30)}
    said = taken(save(under("audio_branch.", tiny_weights) | text | {"logit_scale_a": torch.ones(())}))
    assert "left out: text_branch (30), logit_scale_a" in said
    unknown = tiny_weights | {"gate.weight": torch.ones(1)}  # may be a part of another network
    assert "'gate.weight' is unexpected" in refusal(save(unknown))
    assert "'gate.weight' is unexpected" in refusal(save(under("sed_model.", unknown)))


def test_an_averaged_copy_is_taken_when_it_is_asked_for(tiny_weights, save, taken, refusal):
    path = save({"state_dict": other(tiny_weights), "state_dict_ema": under("module.", tiny_weights)})
    assert "from state_dict_ema under 'module.', an averaged copy (EMA)" in taken(path, ema=True)
    said = taken(path, other(tiny_weights))
    assert "from state_dict; an averaged copy (EMA) is at state_dict_ema.module, --ema takes it" in said
    assert "holds no averaged copy (EMA), only weights at 'state_dict'" in refusal(
        save({"state_dict": tiny_weights}), ema=True
    )


def test_an_averaged_copy_in_the_same_dictionary(tiny_weights, save, taken):
    path = save({"state_dict": under("model.", other(tiny_weights)) | under("ema_model.", tiny_weights)})
    assert "under 'ema_model.', an averaged copy" in taken(path, ema=True)
    assert "under 'model.'; left out: ema_model" in taken(path, other(tiny_weights))


def test_averaged_models_of_torch(tiny_weights, save, taken):
    network = HTSAT(NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10))
    network.load_state_dict(tiny_weights, strict=False)
    state = AveragedModel(network).state_dict()
    assert "n_averaged" in state
    assert "under 'module.', an averaged copy (EMA); left out: n_averaged" in taken(save(state))
    path = save({"model": other(tiny_weights), "average": state})
    assert "from average" in taken(path, ema=True)
    assert "from model" in taken(path, other(tiny_weights))


def test_two_networks_are_a_choice(tiny_weights, save, taken, refusal):
    path = save({"state_dict": under("sed_student.", tiny_weights) | under("sed_teacher.", other(tiny_weights))})
    said = refusal(path)
    assert "holds several networks, at 'state_dict.sed_student' and 'state_dict.sed_teacher'" in said
    assert "choose with --at, as in --at state_dict.sed_student" in said
    assert "under 'sed_student.'" in taken(path, at="sed_student")
    assert "under 'sed_teacher.'" in taken(path, other(tiny_weights), at="state_dict.sed_teacher")
    assert "holds no HTS-AT at 'teacher', only at 'state_dict.sed_student'" in refusal(path, at="teacher")


def test_one_network_under_two_names_is_no_choice(tiny_weights, save, taken):
    assert "under 'net.'" in taken(save(under("net.", tiny_weights) | under("alias.", tiny_weights)))


def test_a_transformer_for_images_beside_it_is_none(tiny_weights, save, taken):
    image = {"visual.patch_embed.proj.weight": torch.zeros(96, 3, 4, 4), "visual.norm.weight": torch.zeros(96)}
    assert "under 'audio.'; left out: visual (2)" in taken(save(image | under("audio.", tiny_weights)))


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.options = inner, argparse.Namespace(rate=32000)


def test_a_whole_module_that_was_pickled(tiny_network, save, taken):
    """As `torch.save(model)` makes it: its class need not be there."""
    path = save({"model": Wrapper(tiny_network)})
    assert "from model under 'inner.'" in (said := taken(path))
    assert "; objects not loaded: argparse.Namespace, htsat_edge.htsat.config.NetworkConfig, " in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no weights: want a dictionary of tensors"),
        ({"epoch": 3}, "holds no weights: want a dictionary of tensors"),
        (
            {"net": {"conv1.weight": torch.zeros(1)}},
            "no key ends with 'patch_embed.proj.weight'; it has net.conv1.weight",
        ),
    ],
)
def test_what_holds_no_network(content, message, save, refusal):
    assert message in refusal(save(content))


def test_names_that_a_terminal_would_obey(tiny_weights, save, taken):
    said = taken(save(under("net.", tiny_weights) | {"a\n\x1b[31m": torch.ones(1)}))
    assert said.endswith(r"left out: a\n\x1b[31m")


def test_what_holds_itself(tiny_weights, save, taken):
    content = {"net": tiny_weights}
    content["self"] = [content, content]
    taken(save(content))
