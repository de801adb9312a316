"""What is reported of a model: its own classes, or groups of them, and which of those are more specific than others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import is_name
from htsat_edge.runtime.models.bundle import ModelInfo


@dataclass(frozen=True)
class Classes:
    """The classes (C,) that events have: labels of the model, and groups in place of the labels that belong to them."""

    labels: list[str]
    """Their names: the labels that are in no group, in the model's order, then the groups."""
    columns: list[list[int]]
    """The outputs of the model that belong to each."""
    thresholds: FloatArray
    """(C,) float32; infinite for a class that is not reported."""
    median_steps: list[int]
    """Lengths of the median filter, odd."""
    confirm_steps: list[int]
    """Steps of evidence before an event starts."""
    below: BoolArray | None = None
    """(C, C): whether the class of the row is more specific than that of the column; None where none is."""

    def merge(self, framewise: FloatArray) -> FloatArray:
        """Return scores (n, C) of the model's (n, C_model): of a group, the highest of its labels."""
        merged = framewise[:, [own[0] for own in self.columns]]
        for k, own in enumerate(self.columns):
            if len(own) > 1:
                merged[:, k] = framewise[:, own].max(axis=1)
        return merged

    @property
    def reported(self) -> list[str]:
        """The names that events can have."""
        return [label for label, limit in zip(self.labels, self.thresholds, strict=True) if np.isfinite(limit)]

    def columns_of(self, label: str, info: ModelInfo) -> list[int]:
        """Return where scores (n, C) hold a label of the model, or a group: itself, and the groups it belongs to."""
        own = info.labels.index(label) if label in info.labels else None
        return [k for k, name in enumerate(self.labels) if name == label or own in self.columns[k]]


def name_columns(info: ModelInfo, groups: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Return the outputs of the model by class: labels that are in no group, then groups.

    Raises
    ------
    HtsatEdgeError
        A group is empty, names a label that the model does not have, or has the name of one that it leaves out.
    """
    position = {label: k for k, label in enumerate(info.labels)}
    for name, labels in groups.items():
        if not is_name(name):
            raise HtsatEdgeError(f"groups: {name!r} is no name that can be printed")
        if isinstance(labels, str) or not labels:
            raise HtsatEdgeError(f"groups: {name}: want a list of labels")
        info.check_labels(f"groups: {name}", labels)
        if name in position and name not in labels:
            raise HtsatEdgeError(f"groups: {name}: is a class of the model as well; list it among the group's labels")
    grouped = {label for labels in groups.values() for label in labels}
    alone = {label: [k] for label, k in position.items() if label not in grouped}
    return alone | {name: sorted({position[label] for label in labels}) for name, labels in groups.items()}


def find_below(info: ModelInfo, columns: Sequence[Sequence[int]], reported: BoolArray) -> BoolArray | None:
    """Return which class is more specific than which, (C, C); None where the model has no tree, or no such pair.

    A class is more specific than another where each of its labels lies below one of the other's in the model's tree.
    That counts only between classes that are `reported`, (C,).
    """
    if not info.parents:
        return None
    position = {label: k for k, label in enumerate(info.labels)}
    ancestors = np.zeros((len(info.labels), len(info.labels)), np.float32)
    for label, k in position.items():
        ancestors[k, [position[ancestor] for ancestor in info.ancestors(label)]] = 1
    member = np.zeros((len(info.labels), len(columns)), np.float32)
    for k, own in enumerate(columns):
        member[own, k] = 1
    under = ancestors @ member > 0  # (C_model, C): whether a label lies below one of a class
    below: BoolArray = np.stack([under[own].all(axis=0) for own in columns]) & reported & reported[:, None]
    return below if below.any() else None
