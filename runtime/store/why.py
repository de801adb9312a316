"""Why a class was reported at a moment, or was not; and the scores of a span of time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.store.evidence import Evidence
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import (
    EventFilter,
    Explanation,
    LabelScore,
    ScorePart,
    ScoreSpan,
    Stage,
    StoredEvent,
    WhyStep,
)
from htsat_edge.runtime.store.replay import find_threshold, replay_with
from htsat_edge.runtime.store.runs import ScoreRun
from htsat_edge.runtime.store.sentences import NEAR_S, Alternative, Finding, lower, not_reported, sentence_of
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.stages import Course

AROUND_S = 60.0
"""Replayed before and after a moment, beside what lengths and gaps need."""
SHOWN_S = 15.0
"""Before and after it, step by step."""
STEP_S = 0.32
"""Where nothing is known of the steps."""
TOP = 5
LONGEST_S = 3600.0
"""Of an event: its peak is looked for in so much of it."""
MOST_LETTERS = 200
"""Of a label."""


def explain(reader: StoreReader, source: str, label: str, at: float, now: float | None = None) -> Explanation:
    """Return why a class was reported at a moment, or was not.

    Parameters
    ----------
    reader
        The store.
    source, label
        What is asked for.
    at
        The moment, in seconds since 1970.
    now
        The present time.

    Raises
    ------
    HtsatEdgeError
        There is no such source or class.
    """
    setup = _find_setup(reader, source, at)
    around = AROUND_S
    if setup is not None:
        around += (int(setup.min_lengths.max()) + setup.merge_gap) * setup.step_s
    evidence = Evidence.read(reader, source, label, at - around, at + around, time.time() if now is None else now)
    found = evidence.course(at)
    if found is not None:
        setup = found[0].run.setup
    _check_label(reader, source, label, setup)
    stage, _ = evidence.stage(at)
    would = None if found is None else _would_report_at(*found)
    known = setup if setup is not None and label in setup.labels else None
    k = 0 if known is None else known.labels.index(label)
    return Explanation(
        source=source,
        label=label,
        at=at,
        stage=stage,
        text=_text(evidence, at, stage, would),
        threshold=None if known is None else known.thresholds[k],
        release=None if known is None else known.releases[k],
        min_length_s=None if known is None else round(int(known.min_lengths[k]) * known.step_s, DECIMALS),
        would_report_at=would,
        event=evidence.event(at),
        steps=_steps(evidence, at, STEP_S if setup is None else setup.step_s),
        top=[] if found is None else _top(found[0].run, found[1]),
    )


def explain_event(reader: StoreReader, event: StoredEvent, now: float | None = None) -> Explanation:
    """Return why an event was reported, at the moment in it at which its class scored highest."""
    return explain(reader, event.source, event.label, _peak_at(reader, event), now)


def _peak_at(reader: StoreReader, event: StoredEvent) -> float:
    """Return the middle of the step at which an event scored highest; its onset where no scores are stored."""
    end = event.onset + NEAR_S if event.offset is None else min(event.offset, event.onset + LONGEST_S)
    highest, peak_at = 0.0, event.at
    for run in reader.score_runs(event.source, event.at - AROUND_S, event.at + (end - event.onset) + AROUND_S):
        if run.session != event.session or event.label not in run.setup.labels:
            continue
        # By positions, since the scores of a recording have other times of day than its events (`Evidence.read`).
        first, last = (max(0, round((at - run.onset) / run.step_s)) for at in (event.onset, end))
        scores = run.scores[first:last, run.setup.labels.index(event.label)]
        if len(scores) and scores.max() > highest:
            highest, step = float(scores.max()), first + int(scores.argmax())
            began = run.at if event.time is not None else event.at + run.onset - event.onset
            peak_at = began + (step + 0.5) * run.step_s
    return peak_at


def _find_setup(reader: StoreReader, source: str, at: float) -> Setup | None:
    """Return what was in force for a source; raise an HtsatEdgeError where there is no such source."""
    if (setup := reader.setup(source, at)) is None:
        names = [one.name for one in reader.sources()]
        if source not in names:
            hint = suggest(source, names, f"; there is {', '.join(names)}" if names else "; there is none yet")
            raise HtsatEdgeError(f"source: {source!r} is none of the store's{hint}")
    return setup


def _check_label(reader: StoreReader, source: str, label: str, setup: Setup | None) -> None:
    """Raise an HtsatEdgeError where a source has no such class; those of sound levels have events, and no scores."""
    labels = [] if setup is None else setup.labels
    if label in labels:
        return
    if 0 < len(label) <= MOST_LETTERS and reader.events(EventFilter(sources=[source], labels=[label]), 1).events:
        return
    newest = reader.setup(source, float("inf"))
    if newest is None or label not in newest.labels:
        labels = [*labels, *([] if newest is None else newest.labels)]
        hint = suggest(label, labels, "; see `detection.groups` for what is reported as one")
        raise HtsatEdgeError(f"label: {source} has no class {label[:MOST_LETTERS]!r}{hint}")


def _share(setup: Setup) -> float:
    """Return the release's share of the threshold."""
    pairs = zip(setup.releases, setup.thresholds, strict=True)
    return next((release / threshold for release, threshold in pairs if release and threshold), 1.0)


def _would_report_at(course: Course, step: int) -> float | None:
    if course.replay is None:
        return None
    return find_threshold(course.replay.rule, _share(course.run.setup), course.replay.scores, step)


def _text(evidence: Evidence, at: float, stage: Stage, would: float | None) -> str:
    found, label = evidence.course(at), evidence.label
    if found is None:
        return evidence.absence(at)[1] + "."
    course, step = found
    threshold, release = _limits(course)
    if course.scores is None and stage == "reported":
        return f"{label} was reported; it is none of the classes that were scored."
    if course.scores is None or threshold is None or release is None:
        score = None if course.scores is None else float(course.scores[step])
        return not_reported(label, score, would)
    setup, heard = course.run.setup, course.heard(step)
    k = setup.labels.index(label)
    needed = setup.min_length if stage == "too_short" else int(setup.min_lengths[k])
    near = round(NEAR_S / setup.step_s)
    hiding = [] if course.replay is None else course.replay.hiding(step)
    return sentence_of(
        Finding(
            label=label,
            at=at,
            stage=stage,
            score=float(course.scores[step]),
            peak=float(course.scores[max(step - near, 0) : step + near + 1].max()),
            threshold=threshold,
            release=release,
            heard_s=0.0 if heard is None else (heard.offset - heard.onset) * setup.step_s,
            min_length_s=needed * setup.step_s,
            would=would,
            alternative=_alternative(course, step, None if would is None else lower(would)),
            event=evidence.event(at),
            hiding=[course.labels[k] for k in hiding],
            faults=evidence.faults(at),
        )
    )


def _limits(course: Course) -> tuple[float | None, float | None]:
    setup = course.run.setup
    if course.label not in setup.labels:
        return None, None
    k = setup.labels.index(course.label)
    return setup.thresholds[k], setup.releases[k]


def _alternative(course: Course, step: int, threshold: float | None) -> Alternative | None:
    """Return what a threshold would have reported at a step, and beside it within AROUND_S; None where nothing."""
    if course.replay is None or not threshold:
        return None
    near, step_s = round(AROUND_S / course.run.step_s), course.run.step_s
    known = ("reported", "suppress", "cooldown", "quiet_hours")
    thresholds = np.array([threshold], np.float32)
    (events,) = replay_with(course.replay.rule, _share(course.run.setup), course.replay.scores, thresholds)
    others = (event for event in events if event.onset <= step + near and event.offset >= step - near)
    return Alternative(
        threshold=threshold,
        length_s=next(((event.offset - event.onset) * step_s for event in events if event.covers(step)), 0.0),
        others=sum(
            not event.covers(step) and not any(stage in known for stage in course.stages[event.onset : event.offset])
            for event in others
        ),
    )


def _steps(evidence: Evidence, at: float, step_s: float) -> list[WhyStep]:
    """Return what became of the steps around a moment."""
    found = evidence.course(at)
    begin = at if found is None else found[0].run.at + found[1] * step_s
    count = round(SHOWN_S / step_s)
    steps = []
    for i in range(-count, count + 1):
        stage, score = evidence.stage(begin + (i + 0.5) * step_s)  # its middle, so that no rounding matters
        score = None if score is None else round(score, DECIMALS)
        steps.append(WhyStep(at=round(begin + i * step_s, DECIMALS), score=score, stage=stage))
    return steps


def _top(run: ScoreRun, step: int) -> list[LabelScore]:
    setup, scores = run.setup, run.scores[step]
    best = [int(k) for k in np.argsort(-scores, kind="stable")[:TOP] if scores[k] > 0]
    return [
        LabelScore(label=setup.labels[k], score=round(float(scores[k]), DECIMALS), threshold=setup.thresholds[k])
        for k in best
    ]


def span(
    reader: StoreReader,
    source: str,
    from_at: float,
    to_at: float,
    labels: Sequence[str] | None = None,
    most: int = 12,
) -> ScoreSpan:
    """Return the scores of a source in a span.

    Parameters
    ----------
    reader, source
        The store, and what is asked for.
    from_at, to_at
        The span, in seconds since 1970.
    labels
        The classes that are wanted; None: those that score highest in it.
    most
        So many of these.

    Raises
    ------
    HtsatEdgeError
        There is no such source or class, or the span ends before it begins.
    """
    if to_at < from_at:
        raise HtsatEdgeError(f"to_at: {to_at:g} is before from_at, {from_at:g}")
    setup = _find_setup(reader, source, from_at)
    for label in labels or ():
        _check_label(reader, source, label, setup)
    runs = [run.cut(from_at, to_at) for run in reader.score_runs(source, from_at, to_at)]
    runs = [run for run in runs if len(run.scores)]
    peaks = _peaks(runs)
    chosen = sorted(peaks if labels is None else {*labels}, key=lambda label: (-peaks.get(label, 0.0), label))
    if labels is None:
        chosen = [label for label in chosen[:most] if peaks[label] > 0]
    thresholds = {k: x for run in runs for k, x in zip(run.setup.labels, run.setup.thresholds, strict=True)}
    return ScoreSpan(
        source=source,
        labels=chosen,
        thresholds={label: thresholds.get(label) for label in chosen},
        parts=[_part(run, chosen) for run in runs],
        events=reader.events_within(source, from_at, to_at),
        gaps=reader.gaps(from_at, to_at, source),
    )


def _peaks(runs: Sequence[ScoreRun]) -> dict[str, float]:
    """Return the highest score of each class."""
    peaks: dict[str, float] = {}
    for run in runs:
        for label, peak in zip(run.setup.labels, run.scores.max(axis=0), strict=True):
            peaks[label] = max(peaks.get(label, 0.0), float(peak))
    return peaks


def _part(run: ScoreRun, labels: Sequence[str]) -> ScorePart:
    columns = {label: k for k, label in enumerate(run.setup.labels)}
    scores = {
        label: np.round(run.scores[:, columns[label]].astype(np.float64), DECIMALS).tolist()
        for label in labels
        if label in columns
    }
    return ScorePart(at=run.at, onset=run.onset, step_s=run.step_s, scores=scores)
