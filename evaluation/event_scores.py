"""Compute event-based metrics with sed_scores_eval, the tool of the field's challenges.

Ebbers, Serizel, Haeb-Umbach: "Threshold-Independent Evaluation of Sound Event Detection Scores", ICASSP 2022.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.runtime.common.arrays import FloatArray

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries below it
    from sed_scores_eval import collar_based, intersection_based, segment_based
    from sed_scores_eval.base_modules.scores import create_score_dataframe
    from sed_scores_eval.collar_based.intermediate_statistics import intermediate_statistics_deltas as collar_deltas
    from sed_scores_eval.segment_based.intermediate_statistics import intermediate_statistics_deltas as segment_deltas

Values = npt.NDArray[np.float64]

SEGMENT_S = 1.0
COLLARS = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
PSDS1 = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0, "alpha_st": 1.0}
"""Rewards exact onsets and offsets (DCASE 2021 task 4, scenario 1)."""
PSDS2 = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0}
"""Rewards the right class, wherever the event begins and ends (scenario 2)."""


@dataclass(frozen=True)
class Timed:
    """Scores of one recording over time."""

    scores: FloatArray
    """(n, C)."""
    edges_s: Values
    """(n + 1,): the begin of each row, and the end of the last."""

    @staticmethod
    def of_steps(scores: FloatArray, step_s: float, duration_s: float) -> Timed:
        """Return scores (n, C) of even steps; the last one may reach past the end of the recording."""
        return Timed(scores, np.minimum(np.arange(len(scores) + 1) * step_s, duration_s))

    @staticmethod
    def of_events(events: Sequence[Occurrence], duration_s: float, labels: Sequence[str]) -> Timed:
        """Return scores that are 1 during the events and 0 elsewhere, so that events can be measured like scores."""
        times = {0.0, duration_s} | {time for event in events for time in event[:2] if time < duration_s}
        edges = np.array(sorted(times))
        scores = np.zeros((len(edges) - 1, len(labels)), np.float32)
        for event in events:
            inside = (edges[:-1] >= event.onset_s) & (edges[:-1] < event.offset_s)
            scores[inside, labels.index(event.label)] = 1
        return Timed(scores, edges)


def pieces(timed: Timed, events: Sequence[Occurrence], rows: int) -> Iterator[tuple[Timed, list[Occurrence]]]:
    """Cut a long recording and its events into pieces of so many rows; an event over a cut becomes two."""
    for begin in range(0, len(timed.scores), rows):
        edges = timed.edges_s[begin : begin + rows + 1]
        first, last = float(edges[0]), float(edges[-1])
        inside = [
            Occurrence(max(e.onset_s, first) - first, min(e.offset_s, last) - first, e.label)
            for e in events
            if e.onset_s < last and e.offset_s > first
        ]
        yield Timed(timed.scores[begin : begin + rows], edges - first), inside


class EventScores:
    """Scores of recordings with their truth, ready for every event-based metric."""

    def __init__(self, found: Sequence[Timed], truth: Sequence[Sequence[Occurrence]], labels: Sequence[str]) -> None:
        """Take the smoothed scores of recordings, and the events of each."""
        sounding = {event.label for events in truth for event in events}
        columns = [k for k, label in enumerate(labels) if label in sounding]
        # The tool's tables have columns of their own: a class called onset would be taken for one.
        known = [f"class {k}" for k in columns]
        names = dict(zip((labels[k] for k in columns), known, strict=True))
        self._names = [names.get(label, "") for label in labels]
        self._durations = {str(i): float(timed.edges_s[-1]) for i, timed in enumerate(found)}
        self._truth = {
            str(i): [(e.onset_s, min(e.offset_s, self._durations[str(i)]), names[e.label]) for e in events]
            for i, events in enumerate(truth)
        }
        self._scores = {
            str(i): create_score_dataframe(timed.scores[:, columns], timed.edges_s, known)
            for i, timed in enumerate(found)
        }

    def segment_f1(self, thresholds: Sequence[float], resamples: int = 0) -> tuple[Values, Values]:
        """Return the F1 (C,) of 1 s segments, NaN for silent classes, and that of resamples (resamples, C)."""
        deltas = segment_deltas(self._scores, self._truth, self._durations, segment_length=SEGMENT_S)
        settings = {"audio_durations": None, "segment_length": SEGMENT_S}
        return self._f1(segment_based.fscore, deltas, thresholds, resamples, settings)

    def event_f1(self, thresholds: Sequence[float], resamples: int = 0) -> tuple[Values, Values]:
        """Return the same of events, with collars of 0.2 s, for offsets also of a fifth of an event's length."""
        deltas = collar_deltas(self._scores, self._truth, **COLLARS)
        return self._f1(collar_based.fscore, deltas, thresholds, resamples, COLLARS)

    def psds(self, scenario: Mapping[str, float | None]) -> float:
        """Return the polyphonic sound detection score (Bilen et al., ICASSP 2020), over all thresholds."""
        if len(set(self._names) - {""}) == 1:  # which is never taken for another
            scenario = {**scenario, "cttc_threshold": None, "alpha_ct": 0.0}
        return float(intersection_based.psds(self._scores, self._truth, self._durations, **scenario)[0])

    def _f1(
        self,
        fscore: Callable[..., Any],
        deltas: dict[str, Any],
        thresholds: Sequence[float],
        resamples: int,
        settings: dict[str, Any],
    ) -> tuple[Values, Values]:
        # The tool wants scores above the threshold, the runtime takes those on it too.
        chosen = dict(zip(self._names, np.nextafter(np.asarray(thresholds, np.float64), 0), strict=True))

        def f1(names: Sequence[str]) -> list[float]:
            truth = {str(i): self._truth[name] for i, name in enumerate(names)}
            # A rare class may be missing from a resample, which the tool refuses.
            found = {label for events in truth.values() for *_, label in events}
            if not found:
                return [np.nan] * len(self._names)
            drawn = {str(i): {label: deltas[name][label] for label in found} for i, name in enumerate(names)}
            limits = {label: chosen[label] for label in found}
            score = fscore(None, truth, threshold=limits, deltas=drawn, **settings)[0]
            return [float(score.get(name, np.nan)) for name in self._names]

        names, rng = list(deltas), np.random.default_rng(0)
        drawn = [f1(list(rng.choice(names, len(names)))) for _ in range(resamples)]
        return np.array(f1(names)), np.array(drawn).reshape(resamples, len(self._names))
