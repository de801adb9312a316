"""Choose a bundle's thresholds again, for events as the runtime reports them.

python calibration/thresholds.py BUNDLE --clips SCENES/manifest.csv --sources CORPUS/manifest.csv --write

`htsat.evaluate` chooses thresholds by the steps of single windows. The runtime averages overlapping windows and starts
events early, so that the same thresholds give other events. Here labelled recordings are played as a user's would be,
at the default operating point, with the threshold of each class a little lower and higher. With `--others` they
are raised until few recordings of other sounds raise an event, and ambience hardly does.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from rich.table import Table

from htsat_edge.calibration.material import read_material
from htsat_edge.calibration.shifts import ClassCounts, FloatTable, ShiftedListener, count, shifted
from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.evaluation.held import held_back, read_held, refuse_without_class, without_labels
from htsat_edge.evaluation.labels import BACKGROUND, Labelled
from htsat_edge.evaluation.latency import scorer
from htsat_edge.evaluation.remembered import add_cache, open_remembered
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.evaluation.tuning import Tuning
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, replacing
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.models.bundle import MODEL_FILE, Bundle, ModelInfo, load_bundle

Places = npt.NDArray[np.intp]
SHIFTS = np.round(np.arange(-3, 11) / 10, 1)
"""Of a threshold, in logits."""
PRESENT = int(np.flatnonzero(SHIFTS == 0)[0])
HIGHER = np.round(np.arange(12, 42, 2) / 10, 1)
"""More of them, for thresholds that other sounds and ambience should not reach."""
CERTAIN_DECIMALS = 2
"""Of the F-score; smaller differences are chance."""
TRUST = 5
"""A class of so many recordings has a threshold half-way between its own and that of all classes."""
CHOOSE_BY = "val"
"""The split that thresholds are chosen by; what is only measured on has no say."""


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


class HeardOthers(NamedTuple):
    """What was reported of recordings in which no class sounds, at each shift of SHIFTS and HIGHER."""

    others: npt.NDArray[np.bool_]
    """(R, shifts, C): whether a class starts in a recording of another sound."""
    ambience: FloatTable
    """(shifts, C): how often one does in ambience."""
    hours: float
    """Of ambience."""


def choose_quietly(
    counts: ClassCounts, recordings: Sequence[int], quiet: HeardOthers, most_others: float, most_per_h: float
) -> Places:
    """Choose shifts as `choose` does and raise all alike, (C,) places in SHIFTS and HIGHER.

    They are raised until at most a share `most_others` of the recordings of other sounds raise an event of any class.
    A class that then starts more than `most_per_h` times in an hour of ambience is raised alone. Other sounds are not
    told apart by class: with a hundred recordings, raising each class over its own was worse on others than these.
    """
    shifts, columns = np.concatenate([SHIFTS, HIGHER]), np.arange(len(recordings))
    own = SHIFTS[choose(ClassCounts(*(table[: len(SHIFTS)] for table in counts)), recordings)]
    rare = quiet.ambience <= most_per_h * quiet.hours
    rare[-1] = True
    stays = np.logical_and.accumulate(rare[::-1])[::-1]  # at every higher threshold as well
    lowest = stays.argmax(axis=0)
    for raised in np.arange(0, HIGHER[-1] - SHIFTS[0], 0.1):
        places = np.maximum(np.abs(own + raised - shifts[:, np.newaxis]).argmin(axis=0), lowest)
        if not len(quiet.others) or quiet.others[:, places, columns].any(axis=1).mean() <= most_others:
            break
    return places


def hear_quiet(paths: Sequence[Path], info: ModelInfo, listener: ShiftedListener) -> HeardOthers:
    """Play the recordings of --others that are held back to choose by, and in which no class of the model sounds."""
    held = read_held(paths, CHOOSE_BY)
    refuse_without_class("--others", held)
    quiet = dict(without_labels(held, info.labels))
    if not quiet:
        raise HtsatEdgeError("--others: hold back no recording, to choose by, without a sound of the model's classes")
    heard = {path: listener.hear(path) for path in with_progress([*quiet], "playing other sounds")}
    starts = {path: count(info.labels, [one], [()]).starts for path, one in heard.items()}
    ambience = [path for path, label in quiet.items() if label == BACKGROUND]
    zero = np.zeros((len(SHIFTS) + len(HIGHER), len(info.labels)))
    others = [starts[path] > 0 for path, label in quiet.items() if label != BACKGROUND]
    return HeardOthers(
        others=np.array(others, bool).reshape(len(others), *zero.shape),
        ambience=sum((starts[path] for path in ambience), zero),
        hours=sum(heard[path].duration_s for path in ambience) / 3600,
    )


def _best(scores: FloatTable, near: float) -> Places:
    """Return the places in SHIFTS of the best scores; of those that differ by chance, the nearest to `near`."""
    order = np.argsort(np.abs(SHIFTS - near), kind="stable")
    return order[scores[order].round(CERTAIN_DECIMALS).argmax(axis=0)]


def recordings_of(labels: Sequence[str], recordings: Sequence[Labelled]) -> list[int]:
    """Return in how many of the recordings each label sounds."""
    found = Counter(label for _, label in {(r.path, label) for r in recordings for label in r.labels or ()})
    return [found[label] for label in labels]


def recordings_behind(args: argparse.Namespace, labels: Sequence[str], recordings: Sequence[Labelled]) -> list[int]:
    """Return how many recordings the sounds of each label come from: those of --sources, else those that are played.

    Of --sources those that scenes to choose by are mixed from: held back, and not only to measure on.
    """
    if args.sources is None:
        return recordings_of(labels, recordings)
    found = recordings_of(labels, held_back(read_dataset(args.sources), CHOOSE_BY))
    if not any(found):
        raise HtsatEdgeError("--sources: hold back no recording, to choose by, of a label of the model")
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
    thresholds, columns = shifted(info, [*SHIFTS, *HIGHER]), np.arange(len(chosen))

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


def print_quiet(quiet: HeardOthers, chosen: Places) -> None:
    """Print what is left of the false alarms in --others."""
    columns, present = np.arange(len(chosen)), np.full_like(chosen, PRESENT)
    if len(quiet.others):
        shares = (100 * quiet.others[:, at, columns].any(axis=1).mean() for at in (present, chosen))
        before, after = shares
        what = f"{len(quiet.others)} recordings of other sounds"
        print(f"{what}: {before:.1f} % raised an event before, {after:.1f} % after")
    if quiet.hours:
        rates = (quiet.ambience[at, columns].sum() / quiet.hours for at in (present, chosen))
        before, after = rates
        print(f"{quiet.hours:.2f} h of ambience: {before:.1f} false alarms an hour before, {after:.1f} after")


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
    shifts = [*SHIFTS.tolist(), *(HIGHER.tolist() if args.others else ())]
    thresholds = shifted(info, shifts)
    with closing(open_remembered(bundle, args.precision, args.cache)) as backend:
        listener = ShiftedListener(info, shifts, scorer(backend))
        quiet = hear_quiet(args.others, info, listener) if args.others else None
        heard = [listener.hear(r.path) for r in with_progress(material.recordings, "playing")]
    counts = count(info.labels, heard, truth)
    if quiet is None:
        chosen = choose(counts, recordings)
    else:
        chosen = choose_quietly(counts, recordings, quiet, args.most_others, args.most_per_h)
        print_quiet(quiet, chosen)
    print_table(info, counts, recordings, chosen, sum(one.duration_s for one in heard) / 3600)
    tuning = Tuning(
        thresholds={label: thresholds[place][label] for label, place in zip(info.labels, chosen, strict=True)},
        median_steps=info.median_steps,
    )
    if args.out is not None:
        tuning.write(args.out)
        print(f"written: {args.out}")
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
    print(f"written: {path}")


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def rate(text: str) -> float:
    """Return a number from 0 on."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


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
    parser.add_argument(
        "--others",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="recordings with classes: those that are held back, and in which no class of the model sounds, should "
        "raise no event; thresholds may rise further then (default: only --clips count)",
    )
    parser.add_argument(
        "--most-others", type=share, default=0.05, metavar="X", help="share of them that may raise one (default: 0.05)"
    )
    parser.add_argument(
        "--most-per-h",
        type=rate,
        default=1.0,
        metavar="X",
        help="starts of a class in an hour of ambience (default: 1)",
    )
    parser.add_argument("--no-median", action="store_true", help="drop the bundle's median filters first")
    parser.add_argument("--precision", help="play to this graph (default: the one that a user gets)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write them for export/to_onnx.py --thresholds")
    parser.add_argument("--write", action="store_true", help="put them into the bundle's model.json")
    add_cache(parser)
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
