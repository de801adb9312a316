"""Measure models side by side: recordings, scenes, what they report of other sounds and of ambience, and alarms.

python -m htsat_edge.evaluation.side_by_side BUNDLE [BUNDLE …] --clips MANIFEST [MANIFEST …] --scenes MANIFEST
    [--quiet MANIFEST] [--plain 8 --noise MANIFEST] [--cache FOLDER]

Every model hears the same, at the default operating point; of alarms only those that it knows. The figures of
recordings and scenes are over the classes that all models know, and of scenes also over all of a model that knows more.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic_core import to_json
from rich.table import Table

from htsat_edge.evaluation.alarm_sets import AlarmSet, add_sets, sets_of
from htsat_edge.evaluation.alarms import AlarmFigures, measure, rows_of
from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.evaluation.false_events import FalseEvents, count_false
from htsat_edge.evaluation.held import add_split, read_held, refuse_without_class, without_labels
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence
from htsat_edge.evaluation.latency import HeardRecording, listen, scorer
from htsat_edge.evaluation.latency_figures import OperatingPoint, figures_of
from htsat_edge.evaluation.metrics import average_precision, mean_known
from htsat_edge.evaluation.remembered import add_cache, open_remembered
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.evaluation.windows import windows_of
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

Rows = dict[str, str]
"""What stands in a model's column, by the name of the row."""


@dataclass(frozen=True)
class Material:
    """What the models hear."""

    common: list[str]
    """The labels that all of them know."""
    clips: list[tuple[Path, str]]
    """Held recordings of one of these."""
    scenes: list[Labelled]
    others: list[tuple[Path, str]]
    """Held recordings of no label of any model, and of ambience."""


def read(args: argparse.Namespace, bundles: Sequence[Bundle]) -> Material:
    """Return what the arguments name."""
    every = {label for bundle in bundles for label in bundle.info.labels}
    common = [label for label in bundles[0].info.labels if all(label in b.info.labels for b in bundles)]
    held = read_held(args.clips, args.split, args.dataset, args.fold)
    refuse_without_class("--clips", held)
    clips = {r.path: min(r.labels) for r in held if r.labels is not None and len(r.labels) == 1}
    scenes = read_held(args.scenes, args.split) if args.scenes else []
    if any(scene.events is None for scene in scenes):
        raise HtsatEdgeError("--scenes: needs labels that say when sounds begin and end")
    others = without_labels(held, every)
    if args.quiet:
        others += [(path, BACKGROUND) for path, _ in without_labels(read_held(args.quiet, args.split), every)]
    own = [(path, label) for path, label in clips.items() if label in common]
    if not own:
        raise HtsatEdgeError("--clips: hold back no recording of a class that all bundles know")
    return Material(common, own, scenes, others)


def clip_scores(info: ModelInfo, backend: Backend, clips: Sequence[tuple[Path, str]]) -> FloatArray:
    """Return the highest clipwise score (R, C) of the windows of each recording, which do not overlap."""
    return np.stack(
        [
            np.max([backend.infer(window[None]).clipwise[0] for window in windows_of(AudioFile(path), info)], axis=0)
            for path, _ in with_progress(clips, "playing recordings")
        ]
    )


def clip_figures(scores: FloatArray, truth: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Return balanced accuracy, among all of a model's labels, and mean average precision of whole recordings."""
    own = np.array([labels.index(label) for label in truth])
    columns = sorted(set(own.tolist()))
    recalls = [float((scores[own == k].argmax(axis=1) == k).mean()) for k in columns]
    precisions = [average_precision(scores[:, k], own == k) for k in columns]
    return {"balanced accuracy": float(np.mean(recalls)), "clip mAP": mean_known(np.array(precisions))}


def scene_figures(
    info: ModelInfo, heard: Sequence[HeardRecording], scenes: Sequence[Labelled], labels: Sequence[str]
) -> OperatingPoint:
    """Return what is found of some labels in scenes."""
    own = [
        replace(one, whole=[[report for report in one.whole[0] if report.label in labels]], after_gap=[[]])
        for one in heard
    ]
    truth: list[list[Occurrence]] = [[e for e in scene.events or () if e.label in labels] for scene in scenes]
    return figures_of(info.model_copy(update={"labels": list(labels)}), [Settings()], 0, own, truth)


def scene_rows(point: OperatingPoint, where: str) -> dict[str, str]:
    """Return the rows of scenes."""
    times = (point.latency_median_s, point.latency_p95_s)
    return {
        f"{where}, event F1": str(point.event_f1),
        f"{where}, segment F1": str(point.segment_f1),
        f"{where}, sounds that are found": "–" if point.recall.share is None else f"{point.recall.share:.2f}",
        f"{where}, false events an hour": f"{point.false_alarms_per_hour:.1f}",
        f"{where}, onset → start": " · ".join("–" if time is None else f"{time:.2f} s" for time in times),
    }


def false_rows(found: FalseEvents) -> dict[str, str]:
    """Return the rows of other sounds and of ambience."""
    hours = sum(played.duration_s for played in found.ambience) / 3600
    rows: dict[str, str] = {}
    if found.others:
        where = f"{len(found.others)} recordings of other sounds"
        rows = {
            f"{where} that raise an event": f"{100 * found.share:.1f} %",
            f"{where}, mean over their classes": f"{100 * found.macro_share:.1f} %",
            f"{where}, what is reported": ", ".join(f"{label} {n}" for label, n in found.labels.most_common(4)) or "–",
        }
    if hours:
        rows[f"{hours:.2f} h of ambience, false events an hour"] = f"{found.per_hour:.1f}"
    return rows


def figures(bundle: Bundle, material: Material, sets: Mapping[str, AlarmSet], args: argparse.Namespace) -> Rows:
    """Return every row of a bundle's column."""
    info = bundle.info
    with closing(open_remembered(bundle, args.precision, args.cache)) as backend:
        scores = clip_scores(info, backend, material.clips)
        found = clip_figures(scores, [label for _, label in material.clips], info.labels)
        rows = {f"{len(material.clips)} recordings, {name}": f"{value:.3f}" for name, value in found.items()}
        if material.scenes:
            score = scorer(backend)
            playing = with_progress(material.scenes, "playing scenes")
            heard = [listen(scene.path, info, [Settings()], score, with_gap=False) for scene in playing]
            found_in_scenes = scene_figures(info, heard, material.scenes, material.common)
            rows |= scene_rows(found_in_scenes, f"scenes, {len(material.common)} classes")
            if len(info.labels) > len(material.common):
                found_in_scenes = scene_figures(info, heard, material.scenes, info.labels)
                rows |= scene_rows(found_in_scenes, "scenes, all its classes")
        if material.others:
            rows |= false_rows(count_false(info, backend, material.others, Settings()))
        for name, alarms in measure(info, backend, sets).items():
            for row, own in rows_of(alarms).items() if alarms else ():
                rows[f"{name}: {row.strip()}"] = " · ".join(AlarmFigures.of(own).cells())
    return rows


def print_rows(columns: Mapping[str, Rows]) -> None:
    """Print the rows of all models, a column for each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for row in dict.fromkeys(row for rows in columns.values() for row in rows):
        table.add_row(row, *(rows.get(row, "–") for rows in columns.values()))
    wide_console().print(table)


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    bundles = [load_bundle(path) for path in args.bundles]
    sets = sets_of(args)
    material = read(args, bundles)
    columns = {str(bundle.path): figures(bundle, material, sets, args) for bundle in bundles}
    print_rows(columns)
    if args.json is not None:
        with replacing(args.json) as part:
            part.write_bytes(to_json(columns, indent=1) + b"\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.evaluation.side_by_side", description="Measure models side by side.")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    add_clips(parser, "recordings with classes; those that are held back are played")
    parser.add_argument("--scenes", type=Path, nargs="+", metavar="PATH", help="recordings with the times of sounds")
    parser.add_argument(
        "--quiet", type=Path, nargs="+", metavar="PATH", help="more ambience: recordings without labels"
    )
    add_split(parser)
    add_sets(parser)
    parser.add_argument("--precision", help="measure this graph (default: the one that a user gets)")
    parser.add_argument("--json", type=Path, help="write the table")
    add_cache(parser)
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
