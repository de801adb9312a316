"""Read the recordings that graphs are measured on, from a manifest, a data set or plain files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from htsat_edge.evaluation import datasets
from htsat_edge.evaluation.datasets import Dataset
from htsat_edge.evaluation.labels import Labelled, refuse_mixed
from htsat_edge.evaluation.manifest import read_labelled
from htsat_edge.evaluation.windows import find_recordings, is_silent, windows_of
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.bundle import ModelInfo

PROBES = 16
"""Windows, spread over the recordings, on which the inside of a graph is compared."""
LATE_S = 0.5
"""An event may end this much after its recording: labels are rounded."""


def read_material(args: argparse.Namespace, info: ModelInfo) -> Dataset:
    """Return the recordings that the arguments name, with their labels."""
    if args.fold is not None and args.dataset != "esc50":
        raise HtsatEdgeError("--fold: is for --dataset esc50 alone")
    if args.dataset == "esc50":
        return datasets.esc50(args.clips, info.labels, args.fold)
    if args.dataset:
        return datasets.READERS[args.dataset](args.clips, info.labels)
    manifests = [path for path in args.clips if path.suffix.lower() == ".csv"]
    if not manifests:
        return Dataset([Labelled(path) for path in find_recordings(args.clips)])
    if len(manifests) < len(args.clips):
        raise HtsatEdgeError("--clips: want manifests, or recordings without labels, not both")
    found = [labelled for path in manifests for labelled in read_labelled(path, info.labels)]
    refuse_mixed("--clips", found)
    return Dataset(found)


def with_classes(info: ModelInfo, classes: Mapping[str, list[str]] | None) -> ModelInfo:
    """Return the model as it is measured: with the classes of the data set, where that has its own."""
    if classes is None:
        return info
    return info.model_copy(update={"labels": list(classes), "thresholds": {}, "median_steps": {}})


def refuse_unreadable(recording: Labelled) -> None:
    """Raise an HtsatEdgeError where a recording cannot be opened, or ends before its events."""
    file = AudioFile(recording.path)
    duration_s = file.samples / file.sample_rate
    for event in recording.events or ():
        if event.onset_s >= duration_s or event.offset_s > duration_s + LATE_S:
            raise HtsatEdgeError(
                f"{recording.path}: lasts {duration_s:.3f} s, but its labels have {event.label} from "
                f"{event.onset_s:g} to {event.offset_s:g} s"
            )


def probe_windows(recordings: Sequence[Labelled], info: ModelInfo) -> list[FloatArray]:
    """Return windows (T, F) from the beginnings of recordings all over the material, none of them silent."""
    chosen = recordings[:: -(-len(recordings) // PROBES)]
    probes: list[FloatArray] = []
    for recording in chosen:
        own = 0
        for window in windows_of(AudioFile(recording.path), info):
            if not is_silent(window):
                probes.append(window)
                own += 1
            if own * len(chosen) >= PROBES:
                break
    return probes
