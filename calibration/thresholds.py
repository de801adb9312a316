"""Choose a bundle's thresholds again, for events as the runtime reports them.

python calibration/thresholds.py BUNDLE --clips SCENES/manifest.csv --sources CORPUS/manifest.csv --write

`htsat.evaluate` chooses thresholds by the steps of single windows. The runtime averages overlapping windows and starts
events early, so that the same thresholds give other events. Here labelled recordings are played as a user's would be,
at the default operating point, with the threshold of each class a little lower and higher.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from rich.table import Table
from scipy.special import expit, logit

from htsat_edge.calibration.material import read_material
from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.evaluation.datasets.splits import to_measure_on
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.evaluation.latency import HeardRecording, listen, match, scorer
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.evaluation.tuning import Tuning
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, replacing
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import MODEL_FILE, Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

FloatTable = npt.NDArray[np.float64]
"""(shifts, C)."""
Places = npt.NDArray[np.intp]
SHIFTS = np.round(np.arange(-3, 11) / 10, 1)
"""Of a threshold, in logits."""
PRESENT = int(np.flatnonzero(SHIFTS == 0)[0])
HIGHEST = 0.99
"""No threshold is raised above this."""
BETA_SQUARED = 0.75
"""Of the F-score: precision of starts weighs somewhat more than recall."""
CERTAIN_DECIMALS = 2
"""Of the F-score; smaller differences are chance."""
TRUST = 5
"""A class of so many recordings has a threshold half-way between its own and that of all classes."""


class ClassCounts(NamedTuple):
    """What was reported of each class at each shift: tables (shifts, C)."""

    sounds: FloatTable
    found: FloatTable
    starts: FloatTable
    false: FloatTable
    """Of the starts, those that belong to no sound."""

    def f_scores(self) -> FloatTable:
        """Return the F-score of precision of starts and recall of sounds; 0 where nothing is found."""
        precision = (self.starts - self.false) / np.maximum(self.starts, 1)
        recall = self.found / np.maximum(self.sounds, 1)
        return (1 + BETA_SQUARED) * precision * recall / np.maximum(BETA_SQUARED * precision + recall, 1e-9)


def shifted(info: ModelInfo, shifts: Iterable[float] = SHIFTS) -> list[dict[str, float]]:
    """Return the thresholds by label at each shift; at 0 they are those of the bundle, or 0.5 where it has none."""
    present = {label: info.threshold_of(label) for label in info.labels}
    return [present if shift == 0 else {k: _shift(t, shift) for k, t in present.items()} for shift in shifts]


def _shift(threshold: float, shift: float) -> float:
    return min(float(f"{expit(logit(threshold) + shift):.2g}"), max(threshold, HIGHEST))


def count(labels: Sequence[str], heard: Sequence[HeardRecording], truth: Sequence[Sequence[Occurrence]]) -> ClassCounts:
    """Count sounds and starts of each class in recordings that were heard at each shift."""
    counts = ClassCounts(*np.zeros((4, len(heard[0].whole), len(labels))))
    column = {label: k for k, label in enumerate(labels)}
    for recording, sounds in zip(heard, truth, strict=True):
        for i, reports in enumerate(recording.whole):
            for label in {sound.label for sound in sounds} | {report.label for report in reports}:
                own_sounds = [sound for sound in sounds if sound.label == label]
                own_reports = [report for report in reports if report.label == label]
                outcomes, false = match(own_sounds, own_reports)
                found = sum(outcome.found for outcome in outcomes)
                for table, more in zip(counts, (len(own_sounds), found, len(own_reports), false), strict=True):
                    table[i, column[label]] += more
    return counts


def choose(counts: ClassCounts, recordings: Sequence[int]) -> Places:
    """Choose shifts by the F-score, (C,) places in SHIFTS: between the best for the mean of all classes and its own.

    Parameters
    ----------
    counts
        What was reported at each shift.
    recordings
        (C,): how many recordings the sounds of each class come from. With few its own best is chance, so it lies
        n / (n + 5) of the way from the common one to that; without any sound the common one is its own.
    """
    scores = counts.f_scores()
    common = SHIFTS[_best(scores.mean(axis=1, keepdims=True), 0.0)[0]]
    weight = np.asarray(recordings) / (np.asarray(recordings) + TRUST)
    chosen = weight * SHIFTS[_best(scores, common)] + (1 - weight) * common
    return np.abs(chosen - SHIFTS[:, np.newaxis]).argmin(axis=0)


def _best(scores: FloatTable, near: float) -> Places:
    """Return the places in SHIFTS of the best scores; of those that differ by chance, the nearest to `near`."""
    order = np.argsort(np.abs(SHIFTS - near), kind="stable")
    return order[scores[order].round(CERTAIN_DECIMALS).argmax(axis=0)]


def recordings_of(labels: Sequence[str], recordings: Sequence[Labelled]) -> list[int]:
    """Return in how many of the recordings each label sounds."""
    found = Counter(label for _, label in {(r.path, label) for r in recordings for label in r.labels or ()})
    return [found[label] for label in labels]


def recordings_behind(args: argparse.Namespace, labels: Sequence[str], recordings: Sequence[Labelled]) -> list[int]:
    """Return how many recordings the sounds of each label come from: those of --sources, else those that are played."""
    if args.sources is None:
        return recordings_of(labels, recordings)
    sources = read_dataset(args.sources)
    found = recordings_of(labels, to_measure_on(sources.recordings, sources.name))
    if not any(found):
        raise HtsatEdgeError("--sources: hold back no recording of a label of the model")
    return found


def print_table(info: ModelInfo, counts: ClassCounts, recordings: Sequence[int], chosen: Places, hours: float) -> None:
    """Print what changes, a row for each class that sounds or is reported, and one for all of them."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("\nclass")
    for name in ("\nsounds", "recor-\ndings", "threshold\nbefore", "\nafter", "found\nbefore", "\nafter"):
        table.add_column(name, justify="right")
    for name in ("false an hour\nbefore", "\nafter"):
        table.add_column(name, justify="right")
    present = np.full_like(chosen, PRESENT)
    thresholds, columns = shifted(info), np.arange(len(chosen))

    def row(name: str, own: npt.NDArray[np.bool_], *cells: str) -> None:
        sounds = counts.sounds[PRESENT, own].sum()
        found = [counts.found[at, columns][own].sum() / max(sounds, 1) for at in (present, chosen)]
        false = [counts.false[at, columns][own].sum() / hours for at in (present, chosen)]
        shares = [f"{share:.2f}" if sounds else "–" for share in found]
        table.add_row(name, f"{sounds:.0f}", *cells, *shares, *(f"{rate:.1f}" for rate in false))

    for k, label in enumerate(info.labels):
        if counts.sounds[PRESENT, k] or counts.starts[PRESENT, k]:
            before, after = thresholds[PRESENT][label], thresholds[chosen[k]][label]
            row(label, columns == k, f"{recordings[k]}", f"{before:g}", f"{after:g}")
    row("all", np.full(len(columns), fill_value=True), "", "", "")
    wide_console().print(table)


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    bundle = load_bundle(args.bundle)
    info = bundle.info.model_copy(update={"median_steps": {}}) if args.no_median else bundle.info
    refuse_taken(bundle, args)
    material = read_material(args, info)
    truth = [recording.events for recording in material.recordings if recording.events is not None]
    if material.classes is not None and not set(material.classes) <= set(info.labels):
        raise HtsatEdgeError("--clips: thresholds need recordings that are labelled with the labels of the model")
    if not any(truth) or len(truth) < len(material.recordings):
        raise HtsatEdgeError("--clips: thresholds need labels that say when sounds begin and end")
    recordings = recordings_behind(args, info.labels, material.recordings)
    thresholds = shifted(info)
    points = [Settings(thresholds=own, most_specific=False) for own in thresholds]
    with closing(open_backend(bundle, args.precision, "onnxruntime")) as backend:
        score = scorer(backend)
        heard = [
            listen(r.path, info, points, score, with_gap=False) for r in with_progress(material.recordings, "playing")
        ]
    counts = count(info.labels, heard, truth)
    chosen = choose(counts, recordings)
    print_table(info, counts, recordings, chosen, sum(one.duration_s for one in heard) / 3600)
    tuning = Tuning(
        thresholds={label: thresholds[place][label] for label, place in zip(info.labels, chosen, strict=True)},
        median_steps=info.median_steps,
    )
    if args.out is not None:
        tuning.write(args.out)
        print(args.out)
    if args.write:
        write_into(bundle.path / MODEL_FILE, tuning)
    return 0


def refuse_taken(bundle: Bundle, args: argparse.Namespace) -> None:
    """Raise an HtsatEdgeError, before long work, where a file cannot be written or is not ours."""
    if args.out is not None:
        refuse_foreign("--out", args.out, is_tuning)
        refuse_unwritable(args.out)
    if args.write:
        refuse_unwritable(bundle.path / MODEL_FILE)


def is_tuning(path: Path) -> bool:
    """Return whether a file holds thresholds; raise an OSError where it cannot be read."""
    try:
        Tuning.model_validate_json(path.read_bytes())
    except ValidationError:
        return False
    return True


def write_into(path: Path, tuning: Tuning) -> None:
    """Write a model.json with other thresholds, without levels beside the former ones; say so."""
    content = json.loads(path.read_text(encoding="utf-8"))
    before = {name: content.get(name, {}) for name in Tuning.model_fields}
    if tuning.model_dump() != before and content.get("levels"):
        del content["levels"]
        print(
            f"{path}: levels of sensitivity are gone with the former thresholds; calibration/levels.py makes new ones"
        )
    put(path, content | tuning.model_dump())


def put(path: Path, content: Mapping[str, object]) -> None:
    """Write a model.json, whole or not at all, and say so."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(
        prog="thresholds.py", description="Choose a bundle's thresholds again, for events as the runtime reports them."
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle, with thresholds to begin with or none")
    add_clips(parser, "recordings with the onsets and offsets of sounds, such as rendered scenes (docs/data.md)")
    parser.add_argument(
        "--sources",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="what the scenes were mixed from: a class with few held recordings there keeps to what suits all classes "
        "(default: as many recordings as it sounds in)",
    )
    parser.add_argument("--no-median", action="store_true", help="drop the bundle's median filters first")
    parser.add_argument("--precision", help="play to this graph (default: the one that a user gets)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write them for export/to_onnx.py --thresholds")
    parser.add_argument("--write", action="store_true", help="put them into the bundle's model.json")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
