"""Compare what a checkpoint says of itself with what else is said of it: its front end and the names of its classes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.datasets.names import near_key
from htsat_edge.htsat.checkpoint.files import OpenCheckpoint, damage_reported
from htsat_edge.htsat.checkpoint.search import dictionaries, is_tensor
from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd, mel_filters

MEL_FILTERS = "logmel_extractor.melW"
"""The key of the filters that the authors' front end saves with the weights, (n_fft // 2 + 1, n_mels)."""
SAME_FILTERS = 0.02
"""Largest difference, as a share of the highest filter, that is rounding; other front ends differ by 0.5 and more."""
PREPROCESSOR = {
    "sampling_rate": "sample_rate",
    "fft_window_size": "n_fft",
    "hop_length": "hop",
    "feature_size": "n_mels",
    "frequency_max": "fmax",
}
"""The keys of transformers' preprocessor_config.json that say what ours do. Its lowest frequency, 0 Hz, is not what
LAION-CLAP was trained with.
"""
CLASS_KEYS = (
    *("class_names", "class_labels", "classes", "labels", "label_names", "names", "id2label", "label2id"),
    *("idx_to_class", "class_to_idx", "idx2label", "label2idx"),
)
"""Keys under which trainers save the names of the classes."""
NETWORKS = CONFIGS / "networks"


@dataclass(frozen=True)
class ClassNames:
    """The names of the classes that a checkpoint holds beside its weights."""

    place: str
    """The keys that lead there."""
    names: tuple[str, ...]
    """In the order of the outputs."""


def check_front_end(path: Path, tensors: Mapping[str, Any], content: OpenCheckpoint, config: NetworkConfig) -> None:
    """Raise an HtsatEdgeError where the weights were trained with another front end than the network file has."""
    front_end = config.front_end
    described = content.descriptions.get("preprocessor_config.json")
    if not isinstance(described, dict):
        described = {}
    for theirs, ours in PREPROCESSOR.items():
        value, own = described.get(theirs), getattr(front_end, ours)
        if isinstance(value, int | float) and value != own:
            raise HtsatEdgeError(
                f"{path}: preprocessor_config.json beside it has {theirs} {value}, but front_end.{ours} of the network "
                f"file is {own:g}"
            )
    if not is_tensor(tensors.get(MEL_FILTERS)):
        return
    with damage_reported(path):
        filters = tensors[MEL_FILTERS].read().float().numpy()
    if not filters.any() or _fits(filters, front_end):
        return
    known = {file.name: read_network(file) for file in sorted(NETWORKS.glob("*.yaml"))}
    same = {name: one for name, one in known.items() if _fits(filters, one.front_end)}
    alike = {name: one for name, one in same.items() if one.model_copy(update={"front_end": front_end}) == config}
    best = [name for name, one in alike.items() if one.front_end.sample_rate == front_end.sample_rate]
    files = [f"configs/networks/{name}" for name in best or alike or same]
    hint = f"; they are those of {' or '.join(files)}" if same else ""
    raise HtsatEdgeError(
        f"{path}: its own mel filters ('{MEL_FILTERS}') are not those of the network file's front_end "
        f"(sample_rate {front_end.sample_rate}, n_fft {front_end.n_fft}, fmin {front_end.fmin:g}, "
        f"fmax {front_end.fmax:g}){hint}"
    )


def _fits(filters: Any, front_end: FrontEnd) -> bool:
    own = mel_filters(front_end)
    return filters.shape == own.shape and bool(np.abs(filters - own).max() <= SAME_FILTERS * own.max())


def class_names(content: OpenCheckpoint, classes: int) -> list[ClassNames]:
    """Return the names of so many classes that stand anywhere in a checkpoint, in the order of the outputs."""
    descriptions = {name: _from_json(value) for name, value in content.descriptions.items()}
    found = []
    for value in (content.value, descriptions):
        for where, inner in dictionaries(value):
            for key in CLASS_KEYS:
                names = in_order(inner.get(key))
                if names is not None and len(names) == classes:
                    found.append(ClassNames(".".join(filter(None, (where, key))), tuple(names)))
    return found


def _from_json(value: Any) -> Any:
    """Return the metadata of a safetensors file, whose values are text, with what is JSON in them read."""
    if not isinstance(value, dict):
        return value
    return {key: _parsed(item) if isinstance(item, str) else item for key, item in value.items()}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def in_order(value: Any) -> list[str] | None:
    """Return names in the order of their numbers, of a list or a dictionary either way round; None of others."""
    if isinstance(value, list | tuple):
        return list(value) if value and all(isinstance(name, str) for name in value) else None
    if not isinstance(value, dict) or not value:
        return None
    pairs = [(_number(key), name) for key, name in value.items()]
    if not all(number is not None and isinstance(name, str) for number, name in pairs):
        pairs = [(_number(number), name) for name, number in value.items()]
    if sorted(number if number is not None else -1 for number, _ in pairs) != list(range(len(pairs))):
        return None
    if not all(isinstance(name, str) for _, name in pairs):
        return None
    return [name for _, name in sorted(pairs)]


def _number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else None


def check_order(path: Path, labels: Sequence[str], claimed: Iterable[ClassNames]) -> None:
    """Raise an HtsatEdgeError where a label that the checkpoint names, too, is another output there.

    Names are compared by `near_key`; those that only one of them has are no contradiction.
    """
    own: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        own.setdefault(near_key(label), []).append(number)
    for claim in claimed:
        for number, name in enumerate(claim.names):
            here = own.get(near_key(name), [number])
            if number not in here:
                raise HtsatEdgeError(
                    f"{path}: '{name}' is output {here[0]} here, but output {number} in {claim.place} of the "
                    "checkpoint itself; put the labels in that order"
                )
