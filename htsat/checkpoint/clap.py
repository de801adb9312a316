"""Rename the audio encoder of transformers' ClapModel, whose names are others for the same network.

transformers keeps queries, keys and values apart and has no token-semantic head, since CLAP uses the embedding only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MARK = "layers.0.blocks.0.layernorm_before.weight"
"""A key that only transformers' has."""
NAMES = {
    r"^batch_norm\.": "bn0.",
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"\.attention\.self\.(relative_position\w+)$": r".attn.\1",
    r"\.attention\.output\.dense\.": ".attn.proj.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"(\.blocks\.\d+)\.output\.dense\.": r"\1.mlp.fc2.",
}
PART = re.compile(r"(.+)\.attention\.self\.(query|key|value)\.(weight|bias)")
SILENT = -20.0
"""The bias of a head that was never there: its scores are 2e-9, and no class ever sounds."""


@dataclass(frozen=True)
class Joined:
    """Tensors of a file that are one in the network: queries, keys and values, one below the other."""

    parts: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the whole."""
        first = self.parts[0].shape
        return sum(part.shape[0] for part in self.parts), *first[1:]

    @property
    def dtype(self) -> Any:
        """That of the first."""
        return self.parts[0].dtype

    @property
    def place(self) -> object:
        """Where the parts are."""
        return tuple(part.place for part in self.parts)

    def read(self) -> Tensor:
        """Return the whole."""
        return torch.cat([part.read() for part in self.parts])


@dataclass(frozen=True)
class Constant:
    """A tensor that the file lacks."""

    shape: tuple[int, ...]
    value: float
    dtype = torch.float32
    place = None

    def read(self) -> Tensor:
        """Return it."""
        return torch.full(self.shape, self.value)


def is_of_transformers(tensors: Mapping[str, Any]) -> bool:
    """Return whether these are the names of transformers' ClapAudioEncoder."""
    return MARK in tensors


def rename(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of a ClapAudioEncoder under the names of HTS-AT; one without its partners keeps its name."""
    renamed: dict[str, Any] = {}
    for name, value in tensors.items():
        if part := PART.fullmatch(name):
            block, _, kind = part.groups()
            names = [f"{block}.attention.self.{which}.{kind}" for which in ("query", "key", "value")]
            if all(hasattr(tensors.get(one), "place") and tensors[one].shape for one in names):
                renamed[f"{block}.attn.qkv.{kind}"] = Joined(tuple(tensors[one] for one in names))
                continue
        for pattern, own in NAMES.items():
            name = re.sub(pattern, own, name)
        renamed[name] = value
    return renamed


def silent_head(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Constant]:
    """Return a token-semantic head, of these shapes by name, that hears nothing."""
    return {
        name: Constant(shape, SILENT if name.endswith("bias") else 0.0)
        for name, shape in shapes.items()
        if name.startswith("tscam_conv.")
    }
