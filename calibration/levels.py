"""Choose thresholds for those who want few false alarms, and for those who want to miss little; count the false alarms.

python calibration/levels.py BUNDLE --background QUIET --measure OTHER_QUIET --clips SCENES/manifest.csv --write

The bundle's own thresholds are the level `balanced`. Beside them each class gets

- `few_false_alarms`: the lowest threshold, from balanced on, with at most one false alarm in an hour of background and
  at most half of those that balanced has in the scenes;
- `miss_little`: the threshold, from balanced down, that finds most sounds of the scenes with at most three times
  balanced's false alarms, in the background as in the scenes, or two an hour.

A class for which there is no such threshold keeps a level that equals its neighbour. All recordings are played as a
user's would be, at the default operating point, at every threshold at once.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.table import Table

from htsat_edge.calibration.material import BACKEND, read_material
from htsat_edge.calibration.shifts import ClassCounts, FloatTable, ShiftedListener, count, shifted
from htsat_edge.calibration.thresholds import put
from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.evaluation.held import read_held, without_labels
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.evaluation.latency import Score, scorer
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable
from htsat_edge.runtime.common.intervals import count_interval
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import MODEL_FILE, ModelInfo, load_bundle
from htsat_edge.runtime.models.levels import BALANCED, SENSITIVITIES, ClassLevels, LevelThreshold, SensitivityLevels

Column = npt.NDArray[np.float64]
"""(shifts,) of one class."""
SHIFTS = np.arange(-8, 17) / 4
"""Of a threshold, in logits."""
PRESENT = int(np.flatnonzero(SHIFTS == 0)[0])
FEW_PER_H = 1.0
"""False alarms an hour of background that `few_false_alarms` may have."""
FEWER = 0.5
"""The share of balanced's false alarms in the scenes that `few_false_alarms` may have."""
DEARER = 3.0
"""Times balanced's false alarms that `miss_little` may have, in the background and in the scenes."""
CHEAP_PER_H = 2.0
"""False alarms an hour that it may have in any case."""
FEWEST = 20
"""Sounds in the scenes: with fewer a class has no `miss_little`, for what is found then is chance."""
TWO_SIDED = 0.8
"""The confidence of an interval whose upper end alone has 90 %."""


class Heard(NamedTuple):
    """What was reported of recordings at every shift."""

    counts: ClassCounts
    hours: float


class Chosen(NamedTuple):
    """The places in SHIFTS of a class's levels."""

    few_false_alarms: int
    balanced: int
    miss_little: int


def choose(quiet: Heard, scenes: Heard, k: int) -> Chosen:
    """Choose the levels of the class of column `k`."""
    starts, false = quiet.counts.starts[:, k], scenes.counts.false[:, k]
    rare = (starts <= FEW_PER_H * quiet.hours) & (false <= FEWER * false[PRESENT])
    stays = np.logical_and.accumulate(rare[::-1])[::-1]  # at every higher threshold as well
    few = [place for place in range(PRESENT, len(SHIFTS)) if stays[place]]
    found = scenes.counts.found[:, k]
    cheap = _is_cheap(starts, quiet.hours) & _is_cheap(false, scenes.hours)
    little = max((place for place in range(PRESENT + 1) if cheap[place]), key=lambda place: (found[place], place))
    enough = scenes.counts.sounds[PRESENT, k] >= FEWEST
    return Chosen(few[0] if few else len(SHIFTS) - 1, PRESENT, little if enough else PRESENT)


def _is_cheap(false_alarms: Column, hours: float) -> npt.NDArray[np.bool_]:
    return false_alarms <= max(DEARER * false_alarms[PRESENT], CHEAP_PER_H * hours)


def upper_bound(starts: float, hours: float) -> float:
    """Return the rate an hour that is, with 90 % confidence, not exceeded, by Poisson's law."""
    return count_interval(starts, TWO_SIDED)[1] / hours


def make_levels(info: ModelInfo, chosen: Sequence[Chosen], measured: Heard, material: str) -> SensitivityLevels:
    """Return the levels with the false alarms that were counted in the background."""
    thresholds, hours = shifted(info, SHIFTS), measured.hours

    def level(k: int, place: int) -> LevelThreshold:
        starts = measured.counts.starts[place, k]
        return LevelThreshold(
            threshold=thresholds[place][info.labels[k]],
            false_alarms_per_h=round(starts / hours, 2),
            at_most_per_h=round(upper_bound(starts, hours), 2),
        )

    classes = {
        info.labels[k]: ClassLevels(**{name: level(k, place) for name, place in own._asdict().items()})
        for k, own in enumerate(chosen)
    }
    return SensitivityLevels(material=material, hours=float(f"{hours:.3g}"), classes=classes)


def hear(info: ModelInfo, recordings: Sequence[Labelled], score: Score, what: str) -> Heard:
    """Play recordings; those without times of sounds are background, in which every start is a false alarm."""
    listener = ShiftedListener(info, SHIFTS.tolist(), score)
    heard = [listener.hear(recording.path) for recording in with_progress(recordings, what)]
    truth = [recording.events or () for recording in recordings]
    return Heard(count(info.labels, heard, truth), sum(one.duration_s for one in heard) / 3600)


def read_background(option: str, paths: Sequence[Path], labels: Sequence[str]) -> list[Labelled]:
    """Return the recordings that nothing is learned from and in which no class of the model sounds."""
    found = without_labels(read_held(paths), labels)
    if not found:
        raise HtsatEdgeError(f"{option}: names no recording without a sound of the model's classes")
    return [Labelled(path) for path, _ in found]


def print_table(levels: SensitivityLevels, chosen: Sequence[Chosen], scenes: ClassCounts) -> None:
    """Print thresholds, the share of the scenes' sounds that is found, and false alarms, in the order of the levels."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("class")
    for name in ("thresholds: few · balanced · little", "found in scenes", "false alarms an hour", "at most"):
        table.add_column(name, justify="right")
    for k, (label, own) in enumerate(levels.classes.items()):
        each = [own.at(name) for name in SENSITIVITIES]
        share = [f"{scenes.found[place, k] / max(scenes.sounds[place, k], 1):.2f}" for place in chosen[k]]
        equal = " and ".join(
            name for name in SENSITIVITIES if name != BALANCED and own.at(name).threshold == own.balanced.threshold
        )
        table.add_row(
            label,
            " · ".join(f"{one.threshold:g}" for one in each),
            " · ".join(share) if scenes.sounds[PRESENT, k] else "–",
            " · ".join(f"{one.false_alarms_per_h:g}" for one in each),
            " · ".join(f"{one.at_most_per_h:g}" for one in each),
            f"balanced is {equal}" if equal else "",
        )
    wide_console().print(table)


def total(chosen: Sequence[Chosen], heard: Heard, table: FloatTable) -> str:
    """Return a table's sum over the classes an hour, at each level."""
    sums = (sum(table[own[i], k] for k, own in enumerate(chosen)) / heard.hours for i in range(len(Chosen._fields)))
    return " · ".join(f"{rate:.1f}" for rate in sums)


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    bundle = load_bundle(args.bundle)
    info = bundle.info
    if args.write:
        refuse_unwritable(bundle.path / MODEL_FILE)
    material = read_material(args, info)
    if material.classes is not None or not any(recording.events for recording in material.recordings):
        raise HtsatEdgeError("--clips: levels need labels of the model that say when sounds begin and end")
    background = read_background("--background", args.background, info.labels)
    other = read_background("--measure", args.measure, info.labels) if args.measure else None
    with closing(open_backend(bundle, args.precision, BACKEND)) as backend:
        score = scorer(backend)
        scenes = hear(info, material.recordings, score, "playing scenes")
        quiet = hear(info, background, score, "playing background")
        measured = quiet if other is None else hear(info, other, score, "playing what is measured on")
    chosen = [choose(quiet, scenes, k) for k in range(len(info.labels))]
    paths = args.measure or args.background
    levels = make_levels(info, chosen, measured, args.material or ", ".join(path.name for path in paths))
    print_table(levels, chosen, scenes.counts)
    print(
        f"all classes, background ({measured.hours:.1f} h): {total(chosen, measured, measured.counts.starts)} an hour"
    )
    print(f"all classes, scenes ({scenes.hours:.1f} h): {total(chosen, scenes, scenes.counts.false)} an hour")
    if other is None:
        print(
            "the levels were chosen on the same background, which flatters few_false_alarms: give another to --measure"
        )
    if args.write:
        path = bundle.path / MODEL_FILE
        put(path, json.loads(path.read_text(encoding="utf-8")) | {"levels": levels.model_dump()})
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="levels.py", description="Choose thresholds with few false alarms, and some that miss little.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle, whose own thresholds are `balanced`")
    parser.add_argument(
        "--background",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="hours without any of the sounds, to choose by: recordings, or scenes of htsat.render_scenes --quiet",
    )
    parser.add_argument(
        "--measure",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="others, to count false alarms in (default: the same)",
    )
    add_clips(parser, "recordings with the onsets and offsets of sounds, such as rendered scenes (docs/data.md)")
    parser.add_argument("--material", metavar="TEXT", help="what is measured on, in words, for model.json")
    parser.add_argument("--precision", help="play to this graph (default: the one that a user gets)")
    parser.add_argument("--write", action="store_true", help="put them into the bundle's model.json")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
