"""What was in force when a source was heard: classes, thresholds and lengths, as the scores of that time need them."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from htsat_edge.runtime.common.arrays import FloatArray, IntArray
from htsat_edge.runtime.dsp.hysteresis import Rule
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

Steps = Annotated[int, Field(ge=0)]


class Setup(BaseModel):
    """How scores of a source became events; lists are by class, in the order of the scores."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    step_s: Annotated[float, Field(gt=0)]
    labels: list[str]
    thresholds: list[float | None]
    """None: the class is not reported."""
    releases: list[float | None]
    min_length: Steps
    """Steps that an event of any class needs."""
    confirm: list[Steps]
    """Steps of evidence that a class needs before its event starts; 0: no more than others."""
    merge_gap: Steps
    """Steps."""
    below: list[tuple[int, int]] = []
    """Pairs of classes, the first more specific than the second: while it has an event, the second counts as 0."""

    @classmethod
    def of(cls, info: ModelInfo, settings: Settings) -> Setup:
        """Return what is in force with these settings of a model."""
        classes, rule = settings.classes(info), settings.rule(info)
        return cls(
            model=info.name,
            step_s=info.step_s,
            labels=classes.labels,
            thresholds=_shortest(rule.threshold),
            releases=_shortest(rule.release),
            min_length=max(1, info.steps_of(settings.min_length_s)),
            confirm=classes.confirm_steps,
            merge_gap=rule.merge_gap,
            below=[]
            if rule.below is None
            else [(int(a), int(b)) for a, b in zip(*np.nonzero(rule.below), strict=True)],
        )

    @property
    def min_lengths(self) -> IntArray:
        """Steps that an event of each class needs, (C,)."""
        return np.maximum(self.min_length, np.asarray(self.confirm, np.int64))

    def rule(self) -> Rule:
        """Return when scores are an event, once they are final."""
        classes = len(self.labels)
        below = np.zeros((classes, classes), bool)
        for specific, general in self.below:
            below[specific, general] = True
        return Rule(
            threshold=np.array([np.inf if x is None else x for x in self.thresholds], np.float32),
            release=np.array([np.inf if x is None else x for x in self.releases], np.float32),
            min_length=self.min_lengths,
            merge_gap=self.merge_gap,
            below=below if self.below else None,
        )

    def limits(self) -> FloatArray:
        """Return what scores are compared with, (2, C): releases and thresholds, infinite where not reported."""
        rule = self.rule()
        return np.stack([rule.release, rule.threshold])

    @model_validator(mode="after")
    def _consistent(self) -> Setup:
        classes = len(self.labels)
        if {len(self.thresholds), len(self.releases), len(self.confirm)} != {classes}:
            raise ValueError(f"want as many thresholds, releases and confirm as labels, {classes}")
        if any(not 0 <= k < classes for pair in self.below for k in pair):
            raise ValueError("below names a class that is not there")
        return self


def _shortest(limits: FloatArray) -> list[float | None]:
    """Return the shortest numbers that are the same in single precision: 0.37, not 0.3700000047683716."""
    return [float(str(x)) if np.isfinite(x) else None for x in limits]
