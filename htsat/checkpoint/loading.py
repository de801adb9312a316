"""Make a network of a checkpoint's weights: each has its place and its shape, or one line says which has not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from htsat_edge.htsat.checkpoint import clap
from htsat_edge.htsat.checkpoint.claims import NETWORKS, ClassNames, check_front_end, class_names
from htsat_edge.htsat.checkpoint.files import damage_reported, opened
from htsat_edge.htsat.checkpoint.search import ANCHOR, find, is_tensor, shorten
from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.network import ATTN_WINDOW, HTSAT
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import listed, visible

IGNORED = re.compile(
    r"^(spectrogram_extractor|logmel_extractor|head)\.|\.(relative_position_index|attn_mask|num_batches_tracked)$"
)
"""What is derived or unused."""
HEAD = "tscam_conv.weight"
FUSION = ("patch_embed.mel_conv2d.", "patch_embed.fusion_model.")
TABLE = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table")


@dataclass(frozen=True)
class Loaded:
    """A network from a checkpoint."""

    network: HTSAT
    taken: str
    """Which weights, and what of the file was left, in one line."""
    class_names: list[ClassNames]
    """What the checkpoint itself calls its outputs."""


def load_network(path: Path, config: NetworkConfig) -> HTSAT:
    """Return the network with a checkpoint's weights, as `load_checkpoint` does."""
    return load_checkpoint(path, config).network


def load_checkpoint(
    path: Path, config: NetworkConfig, ema: bool = False, at: str | None = None, to_fine_tune: bool = False
) -> Loaded:
    """Return the network with a checkpoint's weights, ready to infer. No code of the file is run.

    Parameters
    ----------
    path
        A file of torch or safetensors, or a folder of transformers.
    config
        The network's sizes and front end.
    ema
        Take an averaged copy (EMA) of the weights; otherwise one that is not averaged is preferred.
    at
        Where the weights are, or a part of that, if there are several networks.
    to_fine_tune
        Take weights that were trained with another front end, and a head of any number of classes.

    Raises
    ------
    HtsatEdgeError
        It names what differs from the network, is not supported or is damaged.
    """
    with opened(path) as content:
        found = find(path, content.value, ema, at)
        if not to_fine_tune:
            check_front_end(path, found.tensors, content, config)
        tensors = dict(found.tensors)
        headless = clap.is_of_transformers(tensors)
        if headless:
            tensors = clap.rename(tensors)
        _refuse_unsupported(path, tensors, headless)
        head: Any = tensors.get(HEAD)
        if to_fine_tune and is_tensor(head) and len(head.shape) == 4:
            config = config.model_copy(update={"classes": head.shape[0]})
        with torch.device("meta"):  # shapes only: a wrong network file must not cost its memory
            expected = {name: value for name, value in HTSAT(config).state_dict().items() if not IGNORED.search(name)}
        if headless:
            tensors |= clap.silent_head({name: tuple(value.shape) for name, value in expected.items()})
        tensors = {name: value for name, value in tensors.items() if not IGNORED.search(name)}
        _check(path, tensors, {name: tuple(value.shape) for name, value in expected.items()})
        network = _fill(path, tensors, config)
        taken = found.describe() + ("; no head, so that no class ever sounds" if headless else "")
        taken += f"; objects not loaded: {listed(content.names)}" if content.names else ""
        return Loaded(network, visible(taken), class_names(content, config.classes))


def _refuse_unsupported(path: Path, tensors: Mapping[str, Any], headless: bool) -> None:
    """Raise an HtsatEdgeError for another kind of HTS-AT, with the key that shows it."""
    for name, value in tensors.items():
        what = ""
        if name.startswith(FUSION):
            what = (
                "a fusion variant of LAION-CLAP, whose patch embedding merges several inputs; take a checkpoint "
                "without fusion, such as 630k-audioset-best.pt or laion/clap-htsat-unfused"
            )
        elif name == "absolute_pos_embed":
            what = "a variant with absolute positions (ape), which is not supported"
        elif TABLE.fullmatch(name) and is_tensor(value) and value.shape[0] != (2 * ATTN_WINDOW - 1) ** 2:
            side = (int(value.shape[0] ** 0.5) + 1) // 2
            what = f"a variant with attention windows of {side}, supported are windows of {ATTN_WINDOW}"
        elif name == ANCHOR and is_tensor(value) and len(value.shape) == 4 and value.shape[1] != 1:
            what = f"a variant whose patch embedding takes {value.shape[1]} channels, supported is one"
        if what:
            raise HtsatEdgeError(f"{path}: '{name}' shows that this is {what}")
    if not headless and HEAD not in tensors and "head.weight" in tensors:
        raise HtsatEdgeError(
            f"{path}: 'head.weight' without '{HEAD}' shows that this is a variant without the "
            "token-semantic head, which is not supported"
        )


def _check(path: Path, tensors: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    def problem(name: str, text: str) -> HtsatEdgeError:
        return HtsatEdgeError(f"{path}: '{name}' {text}; {_advice(tensors)}")

    for name, shape in expected.items():
        if name not in tensors:
            raise problem(name, "is missing")
        value = tensors[name]
        if not is_tensor(value) or not getattr(value.dtype, "is_floating_point", False):
            kind = getattr(value, "dtype", None) or getattr(value, "origin", None) or type(value).__name__
            raise HtsatEdgeError(f"{path}: '{name}' is no plain tensor of floating-point numbers, but {kind}")
        if tuple(value.shape) != shape:
            raise problem(name, f"is {list(value.shape)}, but the network has {list(shape)}")
    for name in tensors:
        if name not in expected:
            raise problem(name, "is unexpected")


def _fill(path: Path, tensors: Mapping[str, Any], config: NetworkConfig) -> HTSAT:
    """Return a network with these weights; only one of them at a time is in memory twice."""
    network = HTSAT(config).eval()
    for name, place in network.state_dict().items():
        if name not in tensors:
            continue
        with damage_reported(path):
            value = tensors[name].read().float()
        if not value.isfinite().all():
            raise HtsatEdgeError(f"{path}: '{name}' holds values that are not numbers: the checkpoint is damaged")
        place.copy_(value)
    return network


def _advice(tensors: Mapping[str, Any]) -> str:
    """Return the sizes of the network that the checkpoint looks like, and the network file with these sizes, if any."""
    try:
        sizes = describe(tensors)
    except (KeyError, ValueError, IndexError, AttributeError):
        return f"is this an HTS-AT? It has {shorten(tensors)}"
    same = [file for file in sorted(NETWORKS.glob("*.yaml")) if _has(read_network(file), sizes)]
    looks = ", ".join(f"{name}: {value}" for name, value in sizes.items())
    hint = f", as in {' or '.join(f'configs/networks/{file.name}' for file in same)}" if same else ""
    return f"the checkpoint looks like {{{looks}}}{hint}"


def describe(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of the network that these weights belong to."""
    blocks: dict[int, int] = {}
    heads: dict[int, int] = {}
    for name, value in tensors.items():
        if found := TABLE.fullmatch(name):
            stage, block = int(found.group(1)), int(found.group(2))
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
            heads[stage] = value.shape[1]
    return {
        "embed_dim": tensors[ANCHOR].shape[0],
        "depths": [blocks[stage] for stage in sorted(blocks)],
        "heads": [heads[stage] for stage in sorted(heads)],
        "classes": tensors[HEAD].shape[0],
    }


def _has(config: NetworkConfig, sizes: Mapping[str, Any]) -> bool:
    return all(
        value == (list(own) if isinstance(own := getattr(config, name), tuple) else own)
        for name, value in sizes.items()
    )
