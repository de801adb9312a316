"""What tuning says of a source: all its classes, the curve of one, and what other thresholds would change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import plural
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import Decision, EventFilter
from htsat_edge.runtime.tuning.configuration import ThresholdPlan
from htsat_edge.runtime.tuning.curves import Curve, Curves, decimal, find_setup, read_curves
from htsat_edge.runtime.tuning.intervals import Rate, rate_of
from htsat_edge.runtime.tuning.plan import share_of
from htsat_edge.runtime.tuning.preview import Changed, preview
from htsat_edge.runtime.tuning.records import (
    RateBody,
    ThresholdChange,
    TuneClass,
    TuneCurve,
    TuneOverview,
    TunePoint,
    TunePreview,
    TuneSuggestion,
)
from htsat_edge.runtime.tuning.verdicts import LEAST_EACH, LEAST_VERDICTS, Numbers, Outlook, Range, fit_verdicts

MOST_VERDICTS = 5000
"""Of each kind; the newest."""
DIGITS = 4
MOST_GONE = 200
"""Events that a preview names."""


def overview(
    reader: StoreReader,
    source: str,
    from_at: float,
    to_at: float,
    rules: RulesConfig = RulesConfig(),
    *,
    per_day: float = 1.0,
    labels: Sequence[str] | None = None,
) -> TuneOverview:
    """Return how often each class of a source is reported, and which threshold would make it `per_day` at most.

    Raises
    ------
    HtsatEdgeError
        There is no such source or class, the period is none, or nothing can happen `per_day` times a day.
    """
    if not 0 < per_day < math.inf:
        raise HtsatEdgeError(f"per_day: {per_day:g} is no number of events a day above 0")
    read = read_curves(reader, source, from_at, to_at, labels, rules)
    stored = [event for event in reader.events_within(source, from_at, to_at) if event.at >= from_at]
    events = Counter(event.label for event in stored)
    judged = Counter((e.label, e.verdict.decision) for e in stored if e.verdict is not None)
    classes = [
        TuneClass(
            label=label,
            threshold=curve.threshold,
            listened_h=curve.listened_s / 3600,
            events=events[label],
            early=curve.early.unborne,
            rate=_rate(curve.rate(curve.threshold)),
            correct=judged[label, "correct"],
            wrong=judged[label, "wrong"],
            suggestion=_suggestion(curve, per_day),
        )
        for label, curve in read.curves.items()
    ]
    return TuneOverview(
        source=source,
        from_at=from_at,
        to_at=to_at,
        wanted=per_day,
        listened_h=read.listened_s / 3600,
        classes=sorted(classes, key=lambda one: (-one.events, -one.rate.count, one.label)),
        note=_period_note(read),
    )


def curve(
    reader: StoreReader, source: str, label: str, from_at: float, to_at: float, rules: RulesConfig = RulesConfig()
) -> TuneCurve:
    """Return what each of many thresholds of a class would have made of a period.

    Raises
    ------
    HtsatEdgeError
        There is no such source or class, the period is none, or the class was not scored in it.
    """
    read = read_curves(reader, source, from_at, to_at, [label], rules)
    if (one := read.curves.get(label)) is None:
        raise HtsatEdgeError(f"{label}: {_period_note(read) or 'it was not scored in this period'}")
    scores, right = _verdicts(reader, source, label)
    fit = fit_verdicts(scores, right)
    outlook = None if fit is None else fit.outlook(one.peaks[one.reported], one.listened_s)
    stored = [event for event in reader.events_within(source, from_at, to_at) if event.at >= from_at]
    judged = Counter(e.verdict.decision for e in stored if e.label == label and e.verdict is not None)
    return TuneCurve(
        source=source,
        label=label,
        from_at=from_at,
        to_at=to_at,
        threshold=one.threshold,
        share_release=share_of(read.setup, label),
        listened_h=one.listened_s / 3600,
        early=one.early.unborne,
        correct=judged["correct"],
        wrong=judged["wrong"],
        points=[_point(one, i, outlook) for i in range(len(one.thresholds))],
        note=" ".join(filter(None, [_period_note(read), _early_note(one), _verdict_note(right)])),
    )


def preview_events(
    reader: StoreReader,
    source: str | None,
    changes: Sequence[ThresholdChange],
    from_at: float,
    to_at: float,
    rules: RulesConfig = RulesConfig(),
) -> Changed:
    """Return which stored events new thresholds would have left out, and how many they would have added.

    `source` is None for all that a change concerns. A change of one source goes before that of all.

    Raises
    ------
    HtsatEdgeError
        There is no such source or class, or the period is none.
    """
    names = [one.name for one in reader.sources() if one.setup is not None] if source is None else [source]
    parts = []
    for name in names:
        setup = find_setup(reader, name, from_at, to_at)
        wanted = {one.label: one.threshold for one in changes if one.source is None}
        wanted |= {one.label: one.threshold for one in changes if one.source == name}
        known = dict(zip(setup.labels, setup.thresholds, strict=True))
        wanted = {label: limit for label, limit in wanted.items() if known.get(label) is not None}
        if wanted:
            parts.append(preview(reader, name, setup, wanted, from_at, to_at, rules))
    gone = sorted((event for part in parts for event in part.gone), key=lambda event: (-event.at, -event.key))
    return (
        Changed(gone, *(sum(column) for column in list(zip(*parts, strict=True))[1:]))
        if parts
        else Changed([], 0, 0, 0)
    )


def try_changes(
    reader: StoreReader,
    source: str | None,
    changes: Sequence[ThresholdChange],
    from_at: float,
    to_at: float,
    rules: RulesConfig,
    planned: ThresholdPlan | str,
) -> TunePreview:
    """Return what new thresholds would do, with what is planned to be written, or why nothing can be.

    Raises
    ------
    HtsatEdgeError
        There is no such source or class, or the period is none.
    """
    kept = () if isinstance(planned, str) else planned.kept
    changed = preview_events(reader, source, [*changes, *kept], from_at, to_at, rules)
    return TunePreview(
        diff="" if isinstance(planned, str) else planned.diff,
        note=planned if isinstance(planned, str) else " ".join(planned.notes),
        before=changed.before,
        after=changed.after,
        gone=changed.gone[:MOST_GONE],
        gone_total=len(changed.gone),
        new=changed.new,
    )


def _point(curve: Curve, i: int, outlook: Outlook | None) -> TunePoint:
    rate = rate_of(int(curve.expected[i]), curve.listened_s)
    false, precision, recall = outlook or (None, None, None)
    return TunePoint(
        threshold=decimal(curve.thresholds[i]),
        events=int(curve.expected[i]),
        per_day=rate.per_day,
        low=rate.low,
        high=rate.high,
        **_fields(false, i, "false_per_day", "false_low", "false_high"),
        **_fields(precision, i, "precision", "precision_low", "precision_high"),
        **_fields(recall, i, "recall", "recall_low", "recall_high"),
    )


def _fields(values: Range | None, i: int, *names: str) -> dict[str, float | None]:
    if values is None or np.isnan(values.value[i]):
        return dict.fromkeys(names)
    return dict(zip(names, (round(float(column[i]), DIGITS) for column in values), strict=True))


def _rate(rate: Rate) -> RateBody:
    return RateBody(count=int(rate.count), per_day=rate.per_day, low=rate.low, high=rate.high)


def _suggestion(curve: Curve, per_day: float) -> TuneSuggestion | None:
    if (choice := curve.choose(per_day)) is None:
        return None
    rate, note = _rate(choice.rate), choice.note
    return TuneSuggestion(threshold=choice.threshold, rate=rate, certain=choice.certain, note=note)


def _verdicts(reader: StoreReader, source: str, label: str) -> tuple[Numbers, BoolArray]:
    """Return the scores of the events of a class that somebody has judged, and which were right."""
    decisions: tuple[Decision, ...] = ("correct", "wrong")
    pages = [
        reader.events(EventFilter(sources=[source], labels=[label], decision=decision), MOST_VERDICTS).events
        for decision in decisions
    ]
    scores = np.array([event.score for page in pages for event in page], np.float64)
    return scores, np.repeat([True, False], [len(page) for page in pages])


def _period_note(read: Curves) -> str:
    notes = []
    if not read.listened_s:
        notes.append("No scores of this period are stored: they are, every minute, while `outputs.store.scores` is on.")
    if read.other_s:
        notes.append(f"{read.other_s / 3600:.1f} h were heard by another model, and do not count.")
    return " ".join(notes)


def _early_note(curve: Curve) -> str:
    if not curve.early.unborne:
        return ""
    return (
        f"Reported early and not borne out by the final scores: {plural(curve.early.unborne, 'event')}; events a day "
        "include such (`detection.early_margin: null` reports none early, and all later)."
    )


def _verdict_note(right: BoolArray) -> str:
    correct, wrong = int(right.sum()), int((~right).sum())
    if correct + wrong >= LEAST_VERDICTS and min(correct, wrong) >= LEAST_EACH:
        return ""
    return (
        f"What share is right at each threshold is known from {LEAST_VERDICTS} verdicts on, at least {LEAST_EACH} "
        f"correct and {LEAST_EACH} wrong; so far there are {correct} and {wrong}."
    )
