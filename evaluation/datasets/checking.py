"""Leave out the recordings of a set that are damaged, or whose labels cannot be true, and count them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from htsat_edge.evaluation.datasets import Dataset, read_dataset
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.audio import AudioFile

MOST = 0.1
"""The share of a set that may be left out for a reason: where more is, something else is wrong than a few files."""
LATE_S = 0.5
"""An event may end this much after its recording: labels are rounded."""
SILENT = 1e-4
"""A sample, of full scale 1, up to which there is no sound."""
BLOCK_S = 10.0
UNDECODABLE, SILENCE, LATE = "not decodable", "silent", "labelled beyond the end"
SILENT_BACKGROUND = "silent background"


class Fault(NamedTuple):
    """Why a recording is left out."""

    reason: str
    first: str
    """The same with the recording and what is wrong with it."""


def read_checked(paths: Sequence[Path], layout: str | None = None, fold: int | None = None) -> Dataset:
    """Read a data set and check it, as every program that uses one does first.

    Parameters and errors are those of `read_dataset` and of `check`.
    """
    return check(paths, read_dataset(paths, layout, fold))


def check(paths: Sequence[Path], dataset: Dataset, used: Sequence[Labelled] | None = None) -> Dataset:
    """Return the set that lies at the paths without what is damaged in it; print its counts.

    Only the recordings that are used are looked at: by default all. Raise an HtsatEdgeError where much is damaged.
    """
    dataset = leave_out_damaged(dataset, used)
    summary, *firsts = dataset.report()
    print(f"{', '.join(map(str, paths))}: {summary}", *firsts, sep="\n", flush=True)
    return dataset


def leave_out_damaged(dataset: Dataset, used: Sequence[Labelled] | None = None) -> Dataset:
    """Decode recordings once; return the set without those that cannot be used, counted by reason.

    Decoded are those in `used`, by default all. Left out are recordings that cannot be decoded to their end, that are
    shorter than their labels say, and in which there is no sound although their labels have one, or an event of them.
    So are backgrounds that hold nothing at all.

    Raises
    ------
    HtsatEdgeError
        More than a tenth of these recordings is left out for one reason.
    """
    used = dataset.recordings if used is None else used
    found: dict[str, list[tuple[Labelled, str]]] = defaultdict(list)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding leaves Python's lock
        faults = [pool.submit(find_fault, recording) for recording in used]
        try:
            for recording, fault in zip(used, with_progress(faults, "checking recordings"), strict=True):
                if (known := fault.result()) is not None:
                    found[known.reason].append((recording, known.first))
        finally:
            pool.shutdown(cancel_futures=True)
    for reason, own in found.items():
        dataset = dataset.without(reason, [recording for recording, _ in own], own[0][1])
        if reason != SILENT_BACKGROUND:
            refuse_many(len(own), len(faults), f"are {reason}", own[0][1])
    return dataset


def refuse_many(count: int, total: int, what: str, first: str) -> None:
    """Raise an HtsatEdgeError where more than a tenth of the recordings is left out."""
    if count > MOST * total:
        raise HtsatEdgeError(f"{count} of {total} recordings {what}, the first: {first}")


def find_fault(recording: Labelled) -> Fault | None:
    """Return why a recording cannot be used; None where it can."""
    backgrounds = [Occurrence(*span, BACKGROUND) for span in recording.backgrounds_s]
    events = [*(recording.events or ()), *backgrounds]
    try:
        file = AudioFile(recording.path)
        late = _find_late(events, file.samples / file.sample_rate)
        peaks = _peaks(file, events) if late is None else []
    except HtsatEdgeError as error:
        return Fault(UNDECODABLE, str(error))
    if late is not None:
        return Fault(LATE, f"{recording.path}: {late}")
    for event, peak in zip(events, peaks, strict=False):
        if peak <= SILENT:
            when = f"{event.label} from {event.onset_s:g} to {event.offset_s:g} s"
            return Fault(SILENCE, f"{recording.path}: is silent where its labels have {when}")
    if peaks and peaks[-1] <= SILENT and recording.labels is not None:
        if not recording.labels:
            return Fault(SILENT_BACKGROUND, f"{recording.path}")
        return Fault(SILENCE, f"{recording.path}: is silent where its label is {min(recording.labels)}")
    return None


def _find_late(events: Sequence[Occurrence], duration_s: float) -> str | None:
    for event in events:
        if event.onset_s >= duration_s or event.offset_s > duration_s + LATE_S:
            return (
                f"lasts {duration_s:.3f} s, but its labels have {event.label} from {event.onset_s:g} to "
                f"{event.offset_s:g} s"
            )
    return None


def _peaks(file: AudioFile, events: Sequence[Occurrence]) -> list[float]:
    """Return the highest sample in each event, and last that of the whole recording."""
    rate, start = file.sample_rate, 0
    spans = [(round(event.onset_s * rate), round(event.offset_s * rate)) for event in events]
    peaks = [0.0] * (len(spans) + 1)
    for block in file.blocks(round(BLOCK_S * rate)):
        end = start + len(block)
        for i, (onset, offset) in enumerate(spans):
            if onset < end and offset > start:
                peaks[i] = max(peaks[i], _peak(block[max(0, onset - start) : offset - start]))
        peaks[-1] = max(peaks[-1], _peak(block))
        start = end
    return peaks


def _peak(samples: FloatArray) -> float:
    return float(np.abs(samples).max(initial=0.0))
