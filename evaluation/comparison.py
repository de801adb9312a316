"""Compare versions of a model with the first: what each reaches on recordings, and what it changes."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from htsat_edge.evaluation.figures import BY_CLASS, Figure, Truth
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.evaluation.playback import Version


class WorstWindow(BaseModel):
    """The window whose logits are furthest from the reference's."""

    file: str
    at_s: float
    logit_snr_db: float


class Measured(BaseModel):
    """What one version reaches, and what it changes from fp32; figures are shares of 1."""

    sha256: str
    size: int
    """Bytes."""
    clip_ms: float
    """Median time of one window, with all versions in turn on the same windows."""
    logit_snr_db: float | None
    """None: the same to the bit, or scores that are not finite, which `broken` says."""
    worst_clip: WorstWindow | None
    events: int
    events_lost: int
    """Events of fp32 that no event of this version overlaps."""
    events_gained: int
    """Events of this version that no event of fp32 overlaps."""
    false_events_per_hour: float | None
    """Events that overlap nothing of their class in the labels."""
    figures: dict[str, float]
    changes: dict[str, Interval]
    """Differences of the figures to those of fp32."""
    class_figures: dict[str, dict[str, float | None]]
    """By label, the figures of each class."""
    broken: list[str] = []
    """The parts of the budget that it breaks, a line each."""


def compare(
    version: Version,
    reference: Version,
    own: Mapping[str, Figure],
    theirs: Mapping[str, Figure],
    truth: Truth,
    sha256: str,
    size: int,
) -> Measured:
    """Return what a version reaches and changes.

    Parameters
    ----------
    version, reference
        The version and fp32, with the results of all recordings.
    own, theirs
        The figures of both.
    truth
        The labels of the recordings.
    sha256, size
        The hash of the version's graph, and its bytes.
    """
    events, wanted = ([r.events for r in v.results] for v in (version, reference))
    hours = sum(r.duration_s for r in version.results) / 3600
    by_class = {name: own[name].values for name in BY_CLASS if name in own}
    worst = [
        WorstWindow(file=odd.file, at_s=round(odd.at_s, 2), logit_snr_db=round(odd.snr_db, 1))
        for odd in version.odd_windows[:1]
        if math.isfinite(odd.snr_db)
    ]
    return Measured(
        sha256=sha256,
        size=size,
        clip_ms=round(version.window_ms, 2),
        logit_snr_db=round(version.snr_db, 1) if math.isfinite(version.snr_db) else None,
        broken=["its scores are not finite numbers"] if version.snr_db == -math.inf else [],
        worst_clip=worst[0] if worst else None,
        events=sum(map(len, events)),
        events_lost=len(unmatched(wanted, events)),
        events_gained=len(unmatched(events, wanted)),
        false_events_per_hour=None if truth.events is None else len(unmatched(events, truth.events)) / hours,
        figures={name: figure.mean for name, figure in own.items()},
        changes={name: figure.change_from(theirs[name]) for name, figure in own.items()},
        class_figures={
            label: {name: None if math.isnan(values[k]) else float(values[k]) for name, values in by_class.items()}
            for k, label in enumerate(truth.labels)
        },
    )


def unmatched(events: Sequence[Sequence[Occurrence]], others: Sequence[Sequence[Occurrence]]) -> list[Occurrence]:
    """Return the events, given by recording, that overlap none of the same class among the others of their recording.

    Events of one class never overlap each other, so only the last one to begin before an event ends can match it.
    """
    alone = []
    for own, theirs in zip(events, others, strict=True):
        by_label: dict[str, list[Occurrence]] = defaultdict(list)
        for other in sorted(theirs):
            by_label[other.label].append(other)
        for event in own:
            candidates = by_label[event.label]
            last = bisect.bisect_left(candidates, event.offset_s, key=lambda other: other.onset_s) - 1
            if last < 0 or candidates[last].offset_s <= event.onset_s:
                alone.append(event)
    return alone
