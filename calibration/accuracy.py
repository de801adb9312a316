"""Compare the graphs of a bundle on recordings: what a smaller, faster one costs in events.

python calibration/accuracy.py BUNDLE --clips MANIFEST
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path
from typing import Literal

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run

try:
    import onnx
    from htsat_edge.evaluation.report import print_table, write_page
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("accuracy.py", "calibration", missing)

from htsat_edge.calibration.explain import find_entry, find_misfits, find_strays
from htsat_edge.calibration.graphs import GRAPHS
from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation import datasets
from htsat_edge.evaluation.comparison import Accuracy, Budget, Measured, Truth, broken_by, compare, figures, recommend
from htsat_edge.evaluation.datasets import Dataset
from htsat_edge.evaluation.labels import Labelled, read_manifest, refuse_mixed
from htsat_edge.evaluation.playback import Merged, Version, listen
from htsat_edge.evaluation.windows import clips_of, find_recordings, is_silent
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.files import part_of, replacing
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import Backend, open_backend
from htsat_edge.runtime.models.bundle import ACCURACY_FILE, CPU_FP32, Bundle, ModelInfo, read_bundle

CONFIG = CONFIGS / "accuracy.yaml"
REFERENCE = "fp32"
ORDER = (REFERENCE, CPU_FP32, *GRAPHS)
"""In which graphs are told."""
PROBES = 16
"""Clips, spread over the recordings, on which the inside of a graph is looked at."""
BACKEND: Literal["onnxruntime"] = "onnxruntime"
LATE_S = 0.5


def read_material(args: argparse.Namespace, info: ModelInfo) -> Dataset:
    """The recordings to measure on, with what is known of them."""
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
    found = [labelled for path in manifests for labelled in read_manifest(path, info.labels)]
    refuse_mixed("--clips", found)
    return Dataset(found)


def judged(info: ModelInfo, classes: Mapping[str, list[str]] | None) -> ModelInfo:
    """The model as it is judged: with the classes of the test set, where it has its own."""
    if classes is None:
        return info
    return info.model_copy(update={"labels": list(classes), "thresholds": {}, "median_steps": {}})


def open_version(bundle: Bundle, name: str, classes: Mapping[str, list[str]] | None, keep_scores: bool) -> Version:
    """A graph of the bundle, ready to listen."""
    backend: Backend = open_backend(bundle, name, BACKEND)
    if classes is not None:
        backend = Merged(backend, [[bundle.info.labels.index(label) for label in own] for own in classes.values()])
    return Version(name, backend, judged(bundle.info, classes), keep_scores)


def choose_graphs(bundle: Bundle, wanted: Sequence[str] | None) -> list[str]:
    """The graphs to measure, fp32 first: those that are asked for, or all that there are."""
    if wanted is None:
        return [name for name in ORDER if name in bundle.precisions()]
    for name in wanted:
        bundle.graph(name)  # says what there is, if not this
    return [REFERENCE, *(name for name in wanted if name != REFERENCE)]


def refuse_changed(bundle: Bundle, names: Sequence[str]) -> None:
    """These graphs must have been made from what is there."""
    made = bundle.info.quantization
    if made is None:
        return
    needed = {REFERENCE, *(made_from(name, bundle.info) for name in names)}
    for name, sha256 in {REFERENCE: made.fp32_sha256, CPU_FP32: made.cpu_fp32_sha256}.items():
        if name in needed and sha256 != bundle.sha256(name):
            raise HtsatEdgeError(
                f"{bundle.path}: {name}.onnx has changed since the other graphs were made from it; "
                "run calibration/quantize.py again"
            )


def made_from(name: str, info: ModelInfo) -> str:
    """The graph that another was made from."""
    on_cpu = name == "cpu-int8" and info.quantization is not None and info.quantization.cpu_fp32_sha256 is not None
    return CPU_FP32 if on_cpu else REFERENCE


def refuse_unreadable(recording: Labelled) -> None:
    """What can be seen of a recording before hours of listening: that it opens, and ends no earlier than its events.

    Labels are rounded, so an event may reach a little over the end.
    """
    file = AudioFile(recording.path)
    duration_s = file.samples / file.sample_rate
    for event in recording.events or ():
        if event.onset_s >= duration_s or event.offset_s > duration_s + LATE_S:
            raise HtsatEdgeError(
                f"{recording.path}: lasts {duration_s:.3f} s, but is said to hold {event.label} from "
                f"{event.onset_s:g} to {event.offset_s:g} s"
            )


def probe_clips(recordings: Sequence[Labelled], info: ModelInfo) -> list[FloatArray]:
    """Clips (T, F) from the beginnings of recordings all over the material, none of them silent."""
    chosen = recordings[:: -(-len(recordings) // PROBES)]
    clips: list[FloatArray] = []
    for recording in chosen:
        own = 0
        for clip in clips_of(AudioFile(recording.path), info):
            if not is_silent(clip):
                clips.append(clip)
                own += 1
            if own * len(chosen) >= PROBES:
                break
    return clips


def explain(
    original: onnx.ModelProto,
    suspect: onnx.ModelProto,
    broken: Sequence[str],
    probes: Sequence[FloatArray],
    budget: Budget,
) -> list[str]:
    """What is wrong inside a graph, and which layer it comes from where its answers are off."""
    found = find_strays(original, suspect)
    if not probes:
        return found
    misfits = [m for m in find_misfits(original, suspect, probes) if m.excess_db > budget.range_excess_db]
    if misfits:
        worst, more = misfits[0], len(misfits) - 1
        found.append(
            f"the 8 bits of {worst.tensor} cover {worst.covered:.2g} times what is there, which makes "
            f"{worst.excess_db:.0f} dB more noise than need be, allowed are {budget.range_excess_db:g}"
            + (f"; so do those of {more} more: was it calibrated on other sounds than these?" if more else "")
        )
    if broken and (entry := find_entry(original, suspect, probes[0])) is not None:
        found.append(
            f"the noise comes in at {entry.layer}: its input is within {entry.before_db:.0f} dB, its output within "
            f"{entry.after_db:.0f} dB"
        )
    return found


def accuracy(args: argparse.Namespace) -> int:
    """Measure what the arguments ask for; 1 where a graph breaks the budget."""
    bundle, budget = read_bundle(args.bundle), read_yaml(args.config, Budget)
    names = choose_graphs(bundle, args.precisions)
    refuse_changed(bundle, names)
    material = read_material(args, bundle.info)
    if material.missing:
        print(f"{material.missing} recordings of the set are not there and left out", file=sys.stderr)
    info = judged(bundle.info, material.classes)
    truth = Truth(material.recordings, info.labels)
    page = args.page or bundle.path / "accuracy.html"
    refuse_unwritable([bundle.path / ACCURACY_FILE, page])
    for recording in with_progress(material.recordings, "looking at recordings"):
        refuse_unreadable(recording)
    versions = [open_version(bundle, name, material.classes, truth.events is not None) for name in names]
    for recording in with_progress(material.recordings, "listening"):
        listen(recording.path, versions)
    reference = versions[0]
    theirs = figures(reference.heard, truth, info.step_s)
    probes = probe_clips(material.recordings, bundle.info)
    load_original = cache(lambda name: onnx.load(bundle.graph(name)))  # several graphs were made from one
    graphs: dict[str, Measured] = {}
    for version in with_progress(versions, "judging"):
        if version is reference:
            own = theirs
        elif version.snr_db == -math.inf:  # scores that are no numbers have no figures
            own = {}
        else:
            own = figures(version.heard, truth, info.step_s)
        path = bundle.graph(version.name)
        measured = compare(version, reference, own, theirs, truth, bundle.sha256(version.name), path.stat().st_size)
        if version is not reference:
            broken = broken_by(measured, graphs[REFERENCE], truth, budget)
            if version.name != CPU_FP32:  # which was made of the network itself, as fp32 was
                original = load_original(made_from(version.name, bundle.info))
                broken += explain(original, onnx.load(path), broken, probes, budget)
            measured = measured.model_copy(update={"broken": broken})
        graphs[version.name] = measured
        version.close()
    found = Accuracy(
        material=", ".join(path.name for path in args.clips),
        recordings=len(material.recordings),
        hours=sum(h.duration_s for h in reference.heard) / 3600,
        labels_say=truth.kind,
        processor=platform.machine(),
        budget=budget,
        versions={name: installed(name) for name in ("htsat-edge", "onnxruntime", "numpy", "sed_scores_eval")},
        graphs=graphs,
        recommended={BACKEND: recommend(graphs, REFERENCE)},
    )
    print_table(found)
    write(bundle.path / ACCURACY_FILE, page, found, versions)
    told = [f"{name}: {line}" for name, measured in graphs.items() for line in measured.broken]
    if told:
        raise CheckFailed("over budget: " + "; ".join(told))
    return 0


def refuse_unwritable(targets: Sequence[Path]) -> None:
    """Say before hours of listening, rather than after, that the result has nowhere to go."""
    for target in targets:
        if target.is_dir():
            raise HtsatEdgeError(f"{target}: is a folder, want the name of a file")
        if targets.count(target) > 1:
            raise HtsatEdgeError(f"{target}: cannot be both the figures and the page")
        try:
            part_of(target).touch()
            part_of(target).unlink()
        except OSError as error:
            raise HtsatEdgeError(f"{target}: cannot be written: {error.strerror}") from None


def write(target: Path, page: Path, found: Accuracy, versions: Sequence[Version]) -> None:
    """Write the page, and last accuracy.json, which decides what runs."""
    with replacing(target) as part:
        part.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        with replacing(page) as page_part:
            write_page(page_part, found, versions)
    print(f"{target}, and to look at: {page}")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="accuracy.py", description="Compare the graphs of a bundle on recordings.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle with other graphs than fp32.onnx")
    parser.add_argument(
        "--clips",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="a manifest with the columns file, class, onset, offset; or recordings without labels; or a --dataset",
    )
    parser.add_argument(
        "--dataset",
        choices=list(datasets.READERS),
        help="how --clips is laid out: its folder, or its list of labels and its folder of audio",
    )
    parser.add_argument("--fold", type=int, help="of ESC-50: the one that the checkpoint was not trained on")
    parser.add_argument(
        "--precisions",
        type=lambda text: text.split(","),
        metavar="A,B",
        help="compare these graphs with fp32 (default: all of the bundle)",
    )
    parser.add_argument(
        "--config", type=Path, default=CONFIG, help="what a graph may cost (default: configs/accuracy.yaml)"
    )
    parser.add_argument("--page", type=Path, metavar="HTML", help="(default: accuracy.html in the bundle)")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: accuracy(args))


if __name__ == "__main__":
    sys.exit(main())
