"""The settings of detection, and what they come to for a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from numbers import Real

import numpy as np
from scipy.special import expit, logit

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.hysteresis import Rule
from htsat_edge.runtime.dsp.log_mel import BLOCK
from htsat_edge.runtime.dsp.windows import WindowGrid
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.classes import Classes, find_below, name_columns
from htsat_edge.runtime.models.groups import Group
from htsat_edge.runtime.models.levels import BALANCED, SENSITIVITIES, Sensitivity

QUARTERS = 4
"""Windows begin at whole quarters of a step."""
LONGEST_S = 3600


@dataclass(frozen=True)
class Settings:
    """What a user may choose of detection; seconds become whole steps of the model."""

    hop_s: float | None = None
    """From one run of the model to the next, in whole quarters of a step; None: a step, 0.32 s."""
    look_ahead_s: float | None = None
    """Heard after a moment before its scores are final; None: a quarter of a window, 2.56 s."""
    mirror_s: float | None = None
    """At the end of a window, what was heard last is mirrored for so long; None: a sixteenth of a window, 0.64 s."""
    early_margin: float | None = 0.5
    """The start of an event is reported as soon as scores that are not final yet are by so much above the threshold, in
    logits (0.5 makes an odds ratio of 1.6); None: once they are final."""
    threshold: float | None = None
    """For every class, in place of the model's own and those of groups; between 0 and 1."""
    release: float = 0.6
    """An event goes on while its score is at least this share of the threshold."""
    min_length_s: float = 0.3
    """Shorter events are left out."""
    merge_gap_s: float = 0.3
    """Events of one class that are at most this far apart are one."""
    labels: tuple[str, ...] | None = None
    """Report only these labels and groups; None or empty: all."""
    groups: Mapping[str, Group | Sequence[str]] = field(default_factory=dict)
    """Labels of the model by the name of what a person calls one thing; it is reported in their place."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """For some labels and groups, whatever else is said of them."""
    confirm_s: Mapping[str, float] = field(default_factory=dict)
    """Evidence that some labels and groups need before an event starts; the others need none."""
    sensitivity: Sensitivity = BALANCED
    """Which of the model's thresholds count where nothing else says one: those with few false alarms, or that miss
    little, for the classes that have such; the others keep their own."""
    most_specific: bool = True
    """Where a model has a tree of labels, report no Animal while there is a Dog."""

    def validate(self, info: ModelInfo) -> None:
        """Raise an HtsatEdgeError where a model cannot work with these settings."""
        self._refuse_texts()
        for name in ("hop_s", "look_ahead_s", "mirror_s", "min_length_s", "merge_gap_s"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 <= seconds <= LONGEST_S:
                raise HtsatEdgeError(f"{name}: {seconds:g} is not a number of seconds from 0 to {LONGEST_S}")
        for name in ("threshold", "release"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise HtsatEdgeError(f"{name}: {share:g} is not above 0 and at most 1")
        window_s = info.steps * info.step_s
        shortest_s = max(info.step_s / QUARTERS, info.front_end.frame_s)
        if self.hop_s is not None and not round(shortest_s, 4) <= self.hop_s <= window_s:
            raise HtsatEdgeError(f"hop of {self.hop_s:g} s: want between {shortest_s:g} and {window_s:g} s")
        if self.early_margin is not None and not 0 <= self.early_margin < np.inf:
            raise HtsatEdgeError(f"early_margin: {self.early_margin:g} is not a number of logits from 0 on")
        ahead, mirrored = self.look_ahead_steps(info), self.mirror_steps(info)
        if ahead + mirrored >= info.steps:
            seconds = (ahead + mirrored) * info.step_s
            raise HtsatEdgeError(
                f"look_ahead_s and mirror_s: {seconds:g} s together are not shorter than a window, {window_s:g} s"
            )
        if isinstance(self.labels, str):
            raise HtsatEdgeError(f"labels: want a tuple such as ({self.labels!r},), not a text")
        if self.sensitivity not in SENSITIVITIES:
            raise HtsatEdgeError(f"sensitivity: {self.sensitivity!r} is none of {', '.join(SENSITIVITIES)}")
        for name, share in self.thresholds.items():
            if not 0 < share <= 1:
                raise HtsatEdgeError(f"thresholds: {name}: {share:g} is not above 0 and at most 1")
        for name, seconds in self.confirm_s.items():
            if not 0 <= seconds < window_s:
                raise HtsatEdgeError(f"confirm_s: {name}: {seconds:g} s: want less than a window, {window_s:g} s")
        columns = name_columns(info, self._grouped())
        for key in ("labels", "thresholds", "confirm_s"):
            self._check_names(key, getattr(self, key) or (), columns, info)

    def _refuse_texts(self) -> None:
        """Raise an HtsatEdgeError where what should be a number is none."""
        alone = ("hop_s", "look_ahead_s", "mirror_s", "early_margin", "threshold", "release", "min_length_s")
        numbers = {name: getattr(self, name) for name in (*alone, "merge_gap_s")}
        for key in ("thresholds", "confirm_s"):
            numbers |= {f"{key}: {name}": number for name, number in getattr(self, key).items()}
        for name, number in numbers.items():
            if not isinstance(number, Real | None):
                raise HtsatEdgeError(f"{name}: {number!r} is not a number")

    def _check_names(self, key: str, names: Iterable[str], known: Iterable[str], info: ModelInfo) -> None:
        """Raise an HtsatEdgeError where a name is no class that can be reported."""
        for name in names:
            for group, labels in self._grouped().items():
                if name in labels and name not in known:
                    raise HtsatEdgeError(f"{key}: {name!r} is a part of the group {group}: write {group!r}")
        info.check_labels(key, names, known)

    def grid(self, info: ModelInfo) -> WindowGrid:
        """Return how the model's windows lie on a recording."""
        hop = 1 if self.hop_s is None else round(QUARTERS * self.hop_s / info.step_s) / QUARTERS
        shift = 1 / QUARTERS if 1 <= hop <= info.steps / 2 else 0  # windows that do not overlap average nothing
        mirrored = min(self.mirror_steps(info), info.steps - ceil(hop + shift))  # every step is heard by a window
        return WindowGrid(info.frames, info.steps, info.step_frames, hop, shift, mirrored)

    def mirror_steps(self, info: ModelInfo) -> int:
        """Return the steps at the end of each window that mirror what was heard last."""
        return info.steps // 16 if self.mirror_s is None else info.steps_of(self.mirror_s)

    def look_ahead_steps(self, info: ModelInfo) -> int:
        """Return the look-ahead in steps."""
        return info.steps // 4 if self.look_ahead_s is None else info.steps_of(self.look_ahead_s)

    def classes(self, info: ModelInfo) -> Classes:
        """Return the classes that are reported.

        The threshold of a group is what `thresholds` says, else `threshold`, else its own, else the highest of its
        labels'; its median filter is the longest of theirs.
        """
        columns = name_columns(info, self._grouped())
        thresholds = np.array([self._threshold(info, *item) for item in columns.items()], np.float32)
        return Classes(
            labels=[*columns],
            columns=[*columns.values()],
            thresholds=thresholds,
            median_steps=[max(info.median_steps.get(info.labels[k], 1) for k in own) for own in columns.values()],
            confirm_steps=[info.steps_of(self.confirm_s.get(name, 0)) for name in columns],
            below=find_below(info, [*columns.values()], np.isfinite(thresholds)) if self.most_specific else None,
        )

    def _grouped(self) -> dict[str, Sequence[str]]:
        """Return the labels of each group."""
        return {name: own.labels if isinstance(own, Group) else own for name, own in self.groups.items()}

    def _threshold(self, info: ModelInfo, name: str, columns: Sequence[int]) -> float:
        if self.labels and name not in self.labels:
            return np.inf
        highest = max(info.threshold_of(info.labels[k], self.sensitivity) for k in columns)
        return highest if (said := self._said(name)) is None else said

    def _said(self, name: str) -> float | None:
        """Return the threshold of a class as these settings have it; None where they have none."""
        group = self.groups.get(name)
        own = (group.said_at(self.sensitivity), group.threshold) if isinstance(group, Group) else ()
        return next((x for x in (self.thresholds.get(name), self.threshold, *own) if x is not None), None)

    def without_threshold(self, info: ModelInfo) -> list[str]:
        """Return what is reported from 0.5 on, since neither the settings nor the bundle have a threshold for it."""
        columns = name_columns(info, self._grouped())
        plain = (name for name in self.reported(info) if self._said(name) is None)
        return [name for name in plain if not any(info.labels[k] in info.thresholds for k in columns[name])]

    def without_level(self, info: ModelInfo) -> list[str]:
        """Return what has the same threshold as when balanced, since only the user could say another for it."""
        if self.sensitivity == BALANCED or self.threshold is not None:
            return []
        columns, known = name_columns(info, self._grouped()), info.levels.classes if info.levels else {}
        free = (name for name in self.reported(info) if name not in self.thresholds)
        return [name for name in free if not self._has_level(name, any(info.labels[k] in known for k in columns[name]))]

    def _has_level(self, name: str, measured: bool) -> bool:
        group = self.groups.get(name)
        if isinstance(group, Group) and (group.said_at(self.sensitivity) or group.threshold):
            return group.said_at(self.sensitivity) is not None
        return measured

    def reported(self, info: ModelInfo) -> list[str]:
        """Return the labels and groups that events can have."""
        return [name for name in name_columns(info, self._grouped()) if not self.labels or name in self.labels]

    def rule(self, info: ModelInfo) -> Rule:
        """Return when scores are an event, for each class."""
        classes = self.classes(info)
        threshold = classes.thresholds
        return Rule(
            threshold=threshold,
            release=(threshold * self.release).astype(np.float32),
            min_length=np.maximum(max(1, info.steps_of(self.min_length_s)), classes.confirm_steps),
            merge_gap=info.steps_of(self.merge_gap_s),
            early=self._early(classes),
            below=classes.below,
        )

    def _early(self, classes: Classes) -> FloatArray | None:
        """Return what scores that are not final must reach; a class with more specific ones waits for these."""
        if self.early_margin is None:
            return None
        known = np.isfinite(classes.thresholds)
        early = np.full(len(known), np.inf)
        early[known] = expit(logit(classes.thresholds[known].astype(np.float64)) + self.early_margin)
        if classes.below is not None:
            early[classes.below.any(axis=0)] = np.inf
        return early.astype(np.float32)

    def latency_s(self, info: ModelInfo) -> float:
        """Return the seconds from the onset of a clear sound, which the model is sure of at once, to its start.

        With `early_margin` that is when the first step of the sound was heard to its end, else when its scores are
        final, as they always must be for a class that has more specific ones. The model's own time comes on top. It is
        no bound: a sound that rises slowly is reported seconds later (docs/performance.md).
        """
        if self.early_margin is None:
            return self.settled_s(info)
        return self._after(info, 1)

    def settled_s(self, info: ModelInfo) -> float:
        """Return the seconds from the onset of a sound to the final scores that its start needs."""
        median = max(info.median_steps.values(), default=1) // 2
        return self._after(info, self.look_ahead_steps(info) + median)

    def _after(self, info: ModelInfo, steps: int) -> float:
        front_end, grid = info.front_end, self.grid(info)
        around_s = BLOCK * front_end.frame_s + front_end.n_fft / 2 / front_end.sample_rate
        longest = max(1, *map(info.steps_of, (self.min_length_s, *self.confirm_s.values())))
        return (steps + grid.hop_steps + grid.shift_steps + longest - 1) * info.step_s + around_s
