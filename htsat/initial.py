"""Make networks to train: with random weights, or with those of a checkpoint and a new head."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from htsat_edge.htsat.checkpoint import load_checkpoint
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT, Block
from htsat_edge.runtime.common.errors import HtsatEdgeError


def make_network(config: NetworkConfig, outputs: int, init: Path | None) -> HTSAT:
    """Return a network with so many classes to train.

    Its weights are random, or those of the checkpoint `init` except for the head: `config` describes its network, but
    the number of classes and the front end may be others.
    """
    network = HTSAT(config.model_copy(update={"classes": outputs}))
    if init is None:
        initialise(network)
        return network
    trained = load_checkpoint(init, config, to_fine_tune=True).network.state_dict()
    network.load_state_dict({k: v for k, v in trained.items() if not k.startswith("tscam_conv.")}, strict=False)
    initialise_head(network)
    return network


def initialise(network: HTSAT) -> None:
    """Draw weights with a variance of one over the fan-in; set biases to zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    initialise_head(network)


def initialise_head(network: HTSAT) -> None:
    """Begin with low scores, since most classes are silent most of the time."""
    nn.init.normal_(network.tscam_conv.weight, std=0.01)
    assert network.tscam_conv.bias is not None
    nn.init.constant_(network.tscam_conv.bias, -3.0)


def set_drop_path(network: HTSAT, share: float) -> None:
    """Skip blocks at random in training: none of the first, up to `share` of the last (Huang et al. 2016)."""
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    for i, block in enumerate(blocks):
        block.drop = share * i / max(1, len(blocks) - 1)


def refuse_frozen_noise(freeze: bool, init: Path | None) -> None:
    """Raise an HtsatEdgeError where a head alone would learn, on random weights that stay random."""
    if freeze and init is None:
        raise HtsatEdgeError(
            "freeze: true: only the head would learn, on random weights; give --init, such as "
            "runtime/models/bundled/weights.safetensors, or say `freeze: false`"
        )


def freeze_backbone(network: HTSAT) -> None:
    """Let only the head learn."""
    network.requires_grad_(False)
    network.tscam_conv.requires_grad_(True)
    # Its statistics belong to the backbone too.
    network.bn0.eval()
