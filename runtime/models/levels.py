"""Levels of sensitivity: thresholds of a bundle beside its own, each with the false alarms that were counted at it."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Sensitivity = Literal["few_false_alarms", "balanced", "miss_little"]
"""`balanced` has the bundle's own thresholds, the others higher and lower ones (calibration/levels.py)."""
SENSITIVITIES: tuple[Sensitivity, ...] = get_args(Sensitivity)
BALANCED: Sensitivity = "balanced"


class LevelThreshold(BaseModel):
    """The threshold of a class at a level, and what it costs where none of the sounds is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(gt=0, lt=1)
    false_alarms_per_h: FiniteFloat = Field(ge=0)
    """Starts in an hour of background."""
    at_most_per_h: FiniteFloat = Field(ge=0)
    """The upper end, with 90 % confidence: hours in which nothing was reported do not promise that nothing ever is."""

    @model_validator(mode="after")
    def _consistent(self) -> LevelThreshold:
        if self.at_most_per_h < self.false_alarms_per_h:
            raise ValueError(f"at_most_per_h {self.at_most_per_h:g} is below the {self.false_alarms_per_h:g} counted")
        return self


class ClassLevels(BaseModel):
    """The levels of one class; neighbours may be equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    few_false_alarms: LevelThreshold
    balanced: LevelThreshold
    miss_little: LevelThreshold

    @model_validator(mode="after")
    def _ordered(self) -> ClassLevels:
        if not self.miss_little.threshold <= self.balanced.threshold <= self.few_false_alarms.threshold:
            raise ValueError("want miss_little <= balanced <= few_false_alarms")
        return self

    def at(self, sensitivity: Sensitivity) -> LevelThreshold:
        """Return one of them."""
        found: LevelThreshold = getattr(self, sensitivity)
        return found


class SensitivityLevels(BaseModel):
    """The levels of a model, and what they were measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    material: str
    """What was listened to."""
    hours: float = Field(gt=0)
    """How much of it."""
    classes: dict[str, ClassLevels]
    """By label; a class without an entry has one threshold at every level."""
