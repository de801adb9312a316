"""Say in words what a sensitivity comes to for a model."""

from __future__ import annotations

from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

SHOWN = 8
"""Classes that a note names."""


def note_sensitivity(info: ModelInfo, settings: Settings) -> str:
    """Return which classes keep their thresholds, though the settings want others; nothing where none does."""
    without = settings.without_level(info)
    if not without:
        return ""
    every = len(without) == len(settings.reported(info))
    what = "any class: thresholds are as when balanced" if every else listed(without, SHOWN)
    return f"{info.name}: sensitivity {settings.sensitivity}: no such threshold was measured for {what}"


def describe_sensitivity(info: ModelInfo, settings: Settings) -> str:
    """Return the false alarms that were counted at the thresholds in force; nothing where none were counted."""
    if info.levels is None:
        return ""
    classes = settings.classes(info)
    in_force = dict(zip(classes.labels, classes.thresholds.tolist(), strict=True))
    measured = [
        own.false_alarms_per_h
        for label, levels in info.levels.classes.items()
        if (own := levels.at(settings.sensitivity)).threshold == round(in_force.get(label, 0.0), 6)
    ]
    if not measured:
        return ""
    classes_of = "1 class" if len(measured) == 1 else f"{len(measured)} classes"
    return (
        f"sensitivity {settings.sensitivity}: {sum(measured):.1f} false alarms an hour of {classes_of}, "
        f"counted in {info.levels.hours:.1f} h of background"
    )
