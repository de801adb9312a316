"""Read the recordings that graphs are measured on, from a manifest, a data set or plain files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from htsat_edge.evaluation.datasets import Dataset, read_dataset
from htsat_edge.evaluation.datasets.checking import check
from htsat_edge.evaluation.datasets.names import is_near
from htsat_edge.evaluation.datasets.splits import to_measure_on
from htsat_edge.evaluation.labels import Labelled, refuse_mixed, refuse_overlaps, unknown_label
from htsat_edge.evaluation.playback import Merged
from htsat_edge.evaluation.windows import is_silent, windows_of
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import load_onnxruntime
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.backends.ort import OrtBackend, refuse_half_rounding
from htsat_edge.runtime.models.bundle import Bundle, ModelInfo

NAMELESS = "of classes that are no label of AudioSet"
PROBES = 16
"""Windows, spread over the recordings, on which the inside of a graph is compared."""
BACKEND: Literal["onnxruntime"] = "onnxruntime"


def read_material(args: argparse.Namespace, info: ModelInfo) -> Dataset:
    """Return the recordings that the arguments name, with their labels; without those that are learned from."""
    where = f"--clips {', '.join(map(str, args.clips))}"
    found = leave_out_nameless(read_dataset(args.clips, args.dataset, args.fold), info.labels)
    recordings = to_measure_on(found.recordings, found.name)
    if not recordings:
        why = ": all are train, which is what is learned from" if found.recordings else ""
        raise HtsatEdgeError(f"{where}: names no recording to measure on{why}")
    classes = fit_classes(found.classes, info.labels)
    labels = info.labels if classes is None else list(classes)
    if found.name == "folders" and not any(is_near(name, labels) for name in found.labels):
        print(f"{where}: no folder has the name of a label of the model: measured without labels")
        found = replace(found, recordings=[Labelled(r.path, split=r.split) for r in found.recordings])
        recordings = to_measure_on(found.recordings, found.name)
    refuse_unknown(recordings, labels)
    refuse_mixed("--clips", recordings)
    for recording in recordings:
        refuse_overlaps(f"{recording.where}: {recording.path.name}", recording.events or ())
    found = check(args.clips, found, recordings)
    return replace(found, recordings=to_measure_on(found.recordings, found.name), classes=classes)


def leave_out_nameless(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """Return a set without the classes that are none of AudioSet's labels, unless the model has them; print which.

    Recordings in which nothing else sounds are left out and counted.
    """
    gone = {name for name, own in (dataset.classes or {}).items() if not own and name not in labels}
    if dataset.classes is None or not gone:
        return dataset
    print(f"not measured, as they are no labels of AudioSet: {', '.join(sorted(gone))}")
    alone = [recording for recording in dataset.recordings if recording.labels and recording.labels <= gone]
    kept = dataset.without(NAMELESS, alone, alone[0].where if alone else "")
    recordings = [
        replace(
            recording,
            labels=None if recording.labels is None else recording.labels - gone,
            events=None if recording.events is None else tuple(e for e in recording.events if e.label not in gone),
        )
        for recording in kept.recordings
    ]
    classes = {name: own for name, own in dataset.classes.items() if name not in gone}
    return replace(kept, recordings=recordings, classes=classes)


def refuse_unknown(recordings: Sequence[Labelled], labels: Sequence[str]) -> None:
    """Raise an HtsatEdgeError where a recording has a class that is not among the labels of the model."""
    for recording in recordings:
        for name in sorted(recording.labels or ()):
            if name not in labels:
                raise unknown_label(recording.where or str(recording.path), name, labels)


def fit_classes(classes: Mapping[str, list[str]] | None, labels: Sequence[str]) -> Mapping[str, list[str]] | None:
    """Return the labels of the model that belong to each class of a set; a model may have the classes themselves."""
    if classes is None:
        return None
    if set(classes) <= set(labels):
        return {name: [name] for name in classes}
    known = {name: [label for label in own if label in labels] for name, own in classes.items()}
    for name, own in known.items():
        if not own:
            raise HtsatEdgeError(f"--clips: the model has none of the labels that belong to {name}")
    return known


def with_classes(info: ModelInfo, classes: Mapping[str, list[str]] | None) -> ModelInfo:
    """Return the model as it is measured: with the classes of the data set, where that has its own."""
    if classes is None:
        return info
    return info.model_copy(update={"labels": list(classes), "thresholds": {}, "median_steps": {}, "parents": {}})


def open_graph(bundle: Bundle, name: str, classes: Mapping[str, list[str]] | None) -> Backend:
    """Open a graph of the bundle on onnxruntime; it gives the classes of the data set, where that has its own.

    Where this onnxruntime rounds half precision to 8 bits badly, that is done in float32, for what TensorRT would give.
    """
    path = bundle.graph(name)
    backend: Backend
    if why_refused(path):
        import onnx  # not there where thresholds are set

        from htsat_edge.calibration.plain import round_in_float

        backend = OrtBackend(path, bundle.info, content=round_in_float(onnx.load(path)).SerializeToString())
    else:
        backend = open_backend(bundle, name, BACKEND)
    if classes is None:
        return backend
    return Merged(backend, [[bundle.info.labels.index(label) for label in own] for own in classes.values()])


def why_refused(path: Path) -> str:
    """Return why the runtime refuses a graph with this onnxruntime, nothing where it would run it."""
    load_onnxruntime()  # else that it cannot be loaded would be the graph's fault
    try:
        refuse_half_rounding(path)
    except HtsatEdgeError as error:
        return str(error)
    return ""


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
