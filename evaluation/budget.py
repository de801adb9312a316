"""Decide which graph may run: what it may cost, and which one is worth it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from htsat_edge.evaluation.comparison import Measured
from htsat_edge.evaluation.figures import TITLES, Truth
from htsat_edge.runtime.models.bundle import CPU_FP32

ENOUGH = 20
"""Events that fp32 must have found before another graph is recommended."""
GUARDED = ("accuracy", "clip_ap", "step_ap", "event_f1")
"""The means that must not fall."""


class Budget(BaseModel):
    """The keys of configs/accuracy.yaml; the comments there explain each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    macro_points: float = Field(1.0, ge=0)
    class_points: float = Field(5.0, ge=0)
    class_examples: int = Field(20, ge=1)
    logit_snr_db: float = 30.0
    range_excess_db: float = Field(9.0, ge=0)
    lost_percent: float = Field(10.0, ge=0, le=100)


def broken_by(measured: Measured, reference: Measured, truth: Truth, budget: Budget) -> list[str]:
    """Return the parts of the budget that a graph breaks, a line each; `reference` is fp32."""
    broken = list(measured.broken)
    for name in GUARDED:
        fallen = 100 * -((measured.changes[name].value or 0.0) if name in measured.changes else 0.0)
        if fallen > budget.macro_points:
            broken.append(f"{TITLES[name]} falls by {fallen:.1f} points, allowed are {budget.macro_points:g}")
    broken += _broken_classes(measured, reference, truth, budget)
    if truth.events is None and measured.events_lost * 100 > budget.lost_percent * reference.events:
        lost = f"{measured.events_lost} of {reference.events} events of fp32"
        broken.append(f"{lost} are lost, allowed are {budget.lost_percent:g} %")
    if measured.logit_snr_db is not None and measured.logit_snr_db < budget.logit_snr_db:
        far = f"{measured.logit_snr_db:g} dB, want {budget.logit_snr_db:g}"
        broken.append(f"the raw outputs have a signal to noise of {far}")
    return broken


def _broken_classes(measured: Measured, reference: Measured, truth: Truth, budget: Budget) -> list[str]:
    name = "event_f1" if truth.events is not None else "clip_ap"
    broken = []
    for label, examples in zip(truth.labels, truth.examples(), strict=True):
        before, after = (m.class_figures.get(label, {}).get(name) for m in (reference, measured))
        if before is None or after is None:
            continue
        enough = examples >= budget.class_examples or after == 0
        if enough and 100 * (before - after) > budget.class_points:
            broken.append(
                f"{TITLES[name]} of {label} falls by {100 * (before - after):.1f} points, "
                f"allowed are {budget.class_points:g}"
            )
    return broken


def recommend(graphs: Mapping[str, Measured], reference: str, gain: float = 0.9) -> str:
    """Return the fastest graph within the budget, if it takes less than `gain` of the time of full precision.

    Otherwise, and where fp32 found fewer than ENOUGH events, it is full precision, in the faster of its two forms.
    """
    fit = {name: m.clip_ms for name, m in graphs.items() if not m.broken}
    whole = min((name for name in (reference, CPU_FP32) if name in fit), key=lambda name: fit[name])
    if graphs[reference].events < ENOUGH:
        return whole
    fastest = min(fit, key=lambda name: fit[name])
    return fastest if fit[fastest] < gain * fit[whole] else whole


class Accuracy(BaseModel):
    """The content of accuracy.json."""

    material: str
    """Names of the recordings' lists or files."""
    recordings: int
    hours: float
    labels_say: str
    """`when` a class sounds, `whether` it does, or `none`: then everything is agreement with fp32."""
    processor: str
    budget: Budget
    versions: dict[str, str]
    graphs: dict[str, Measured]
    recommended: dict[str, str]
    """By backend, the fastest graph within the budget; fp32 where none is a tenth faster, or fp32 found too little."""
