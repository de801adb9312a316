"""Compare the graphs of a bundle on recordings: what a smaller, faster one costs in events.

python calibration/accuracy.py BUNDLE --clips MANIFEST
python calibration/accuracy.py BUNDLE --clips MANIFEST --latency

The second measures how soon one graph reports sounds, and what an earlier report costs.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import math
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run
from htsat_edge.runtime.common.machine import installed_versions, load_onnxruntime

try:
    load_onnxruntime()
    import onnx

    from htsat_edge.calibration.latency import add_options as add_latency_options
    from htsat_edge.calibration.latency import measure_latency, refuse_mixed_options
    from htsat_edge.evaluation.report import print_table, write_page
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("accuracy.py", "calibration", error)

from htsat_edge.calibration.explain import explain
from htsat_edge.calibration.graphs import GRAPHS
from htsat_edge.calibration.material import (
    BACKEND,
    open_graph,
    probe_windows,
    read_material,
    why_refused,
    with_classes,
)
from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.budget import Accuracy, Budget, broken_by, recommend
from htsat_edge.evaluation.comparison import Measured, compare
from htsat_edge.evaluation.datasets import Dataset
from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.evaluation.figures import Truth, figures
from htsat_edge.evaluation.playback import Version, play
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, replacing
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.models.bundle import ACCURACY_FILE, CPU_FP32, Bundle, ModelInfo, load_bundle

CONFIG = CONFIGS / "accuracy.yaml"
REFERENCE = "fp32"
ORDER = (REFERENCE, CPU_FP32, *GRAPHS)
"""The order of the graphs in reports."""
SHOWN = 8
"""Lines about the budget that the last message shows."""


def open_version(bundle: Bundle, name: str, classes: Mapping[str, list[str]] | None, keep_scores: bool) -> Version:
    """Open a graph of the bundle."""
    return Version(name, open_graph(bundle, name, classes), with_classes(bundle.info, classes), keep_scores)


def choose_graphs(bundle: Bundle, wanted: Sequence[str] | None) -> list[str]:
    """Return the graphs to measure, fp32 first: those that are wanted, or by default all of the bundle."""
    if wanted is None:
        return [name for name in ORDER if name in bundle.precisions()]
    for name in wanted:
        bundle.graph(name)  # raises an error that lists the graphs, if this is not one
    return [REFERENCE, *(name for name in wanted if name != REFERENCE)]


def refuse_changed(bundle: Bundle, names: Sequence[str]) -> None:
    """Raise an HtsatEdgeError where the graphs were made from others than those in the bundle."""
    made = bundle.info.quantization
    own = [name for name in names if bundle.is_own(name) is not False]
    if made is None or not own:
        return
    needed = {REFERENCE, *(made_from(name, bundle.info) for name in own)}
    for name, sha256 in {REFERENCE: made.fp32_sha256, CPU_FP32: made.cpu_fp32_sha256}.items():
        if name in needed and sha256 != bundle.sha256(name):
            raise HtsatEdgeError(
                f"{bundle.path}: {name}.onnx has changed since the other graphs were made from it; "
                "run python -m htsat_edge.calibration.quantize again"
            )


def made_from(name: str, info: ModelInfo) -> str:
    """Return the graph that another was made from."""
    on_cpu = name == "cpu-int8" and info.quantization is not None and info.quantization.cpu_fp32_sha256 is not None
    return CPU_FP32 if on_cpu else REFERENCE


def measure(
    bundle: Bundle, versions: Sequence[Version], truth: Truth, probes: Sequence[FloatArray], budget: Budget
) -> dict[str, Measured]:
    """Return what each version reaches, and what it breaks of the budget; close the versions.

    Parameters
    ----------
    bundle
        Holds the graphs.
    versions
        The graphs with their results for all recordings, fp32 first.
    truth
        The labels of the recordings.
    probes
        Windows (T, F) to compare the insides of the graphs on.
    budget
        What a graph may cost.
    """
    reference = versions[0]
    step_s = bundle.info.step_s
    theirs = figures(reference.results, truth, step_s)
    load_original = cache(lambda name: onnx.load(bundle.graph(name)))  # several graphs were made from one
    graphs: dict[str, Measured] = {}
    for version in with_progress(versions, "measuring"):
        if version is reference:
            own = theirs
        elif version.snr_db == -math.inf:  # scores that are not finite have no figures
            own = {}
        else:
            own = figures(version.results, truth, step_s)
        sha256, size = bundle.sha256(version.name), bundle.size(version.name)
        measured = compare(version, reference, own, theirs, truth, sha256, size)
        if version is not reference:
            broken = broken_by(measured, graphs[REFERENCE], truth, budget)
            # Another tool's graph is judged by its scores; its inside says no more than why they are bad. cpu-fp32 was
            # made from the network itself, as fp32 was.
            if version.name != CPU_FP32 and (broken or bundle.is_own(version.name) is not False):
                original = load_original(made_from(version.name, bundle.info))
                broken += explain(original, onnx.load(bundle.graph(version.name)), broken, probes, budget)
            measured = measured.model_copy(update={"broken": broken})
        graphs[version.name] = measured
        version.close()
    return graphs


def play_all(bundle: Bundle, names: Sequence[str], material: Dataset, keep_scores: bool) -> list[Version]:
    """Play the recordings to graphs of the bundle; return those with their results."""
    versions = [open_version(bundle, name, material.classes, keep_scores) for name in names]
    for recording in with_progress(material.recordings, "playing"):
        play(recording.path, versions)
    return versions


def accuracy(args: argparse.Namespace) -> int:
    """Run the command; raise CheckFailed where a graph breaks the budget."""
    bundle, budget = load_bundle(args.bundle), read_yaml(args.config, Budget)
    names = choose_graphs(bundle, args.precisions)
    refuse_changed(bundle, names)
    target, page = bundle.path / ACCURACY_FILE, args.page or bundle.path / "accuracy.html"
    if page == target:
        raise HtsatEdgeError(f"{page}: cannot be both the figures and the page")
    for path in (target, page):
        refuse_unwritable(path)
    material = read_material(args, bundle.info)
    truth = Truth(material.recordings, with_classes(bundle.info, material.classes).labels)
    versions = play_all(bundle, names, material, truth.events is not None)
    graphs = measure(bundle, versions, truth, probe_windows(material.recordings, bundle.info), budget)
    refused = {name: why for name in graphs if (why := why_refused(bundle.graph(name)))}
    candidates = {name: measured for name, measured in graphs.items() if name not in refused}
    found = Accuracy(
        material=", ".join(path.name for path in args.clips),
        recordings=len(material.recordings),
        hours=sum(result.duration_s for result in versions[0].results) / 3600,
        labels_say=truth.kind,
        processor=platform.machine(),
        budget=budget,
        versions=installed_versions("htsat-edge", "onnxruntime", "numpy", "sed_scores_eval"),
        graphs=graphs,
        recommended={BACKEND: recommend(candidates, REFERENCE)},
    )
    print_table(found)
    for why in refused.values():
        print(f"not to be chosen here: {why}")
    foreign = [f"{name}.onnx" for name in names if name in GRAPHS and bundle.is_own(name) is False]
    if foreign:
        print(f"not made here by quantize.py, and so judged by the scores alone: {', '.join(foreign)}")
    write(target, page, found, versions)
    broken = [f"{name}: {line}" for name, measured in graphs.items() for line in measured.broken]
    for step in next_steps(bundle, graphs):
        print(f"next: {step}")
    if broken:
        more = f"; {target} has all" if len(broken) > SHOWN + 1 else ""
        raise CheckFailed(f"over budget: {listed(broken, SHOWN, '; ')}{more}")
    return 0


def next_steps(bundle: Bundle, graphs: Mapping[str, Measured]) -> list[str]:
    """Return what to type when the graphs are measured; nothing where calibrating again would not mend them."""
    path = shlex.quote(str(bundle.path))
    broken = [name for name, measured in graphs.items() if measured.broken]
    if broken:
        if not set(GRAPHS).issuperset(broken):
            return []
        again = f"python -m htsat_edge.calibration.quantize {path} --clips MORE_RECORDINGS --budget DB"
        return [f"{again} keeps the layers that suffer most in floating point; graphs over budget are never chosen"]
    steps = [f"htsat-edge detect RECORDING --bundle {path}"]
    if not {"fp16", "int8", "int8_fp16"}.isdisjoint(graphs):
        steps.append(f"python -m htsat_edge.export.build_trt {path}, on the device with the NVIDIA GPU")
    return steps


def write(target: Path, page: Path, found: Accuracy, versions: Sequence[Version]) -> None:
    """Write the page, and last accuracy.json, which decides which graph runs."""
    with replacing(target) as part:
        part.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        with replacing(page) as page_part:
            write_page(page_part, found, versions)
    print(f"{target}, and to look at: {page}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="accuracy.py", description="Compare the graphs of a bundle on recordings.")
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="a bundle; to compare, with other graphs than fp32.onnx"
    )
    add_clips(
        parser, "recordings, with labels or without: a manifest, a data set, or a folder for each class (docs/data.md)"
    )
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
    add_latency_options(parser)
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


def start(args: argparse.Namespace) -> int:
    """Run what the arguments ask for."""
    refuse_mixed_options(args)
    return measure_latency(args) if args.latency else accuracy(args)


if __name__ == "__main__":
    sys.exit(main())
