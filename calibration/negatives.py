"""Write what enrolled sounds are told from into a bundle: embeddings of other sounds and of backgrounds.

python calibration/negatives.py BUNDLE --clips CORPUS/manifest.csv --background QUIET

A few steps of each recording that is learned from, those that lie farthest apart, and all steps of the backgrounds, as
the runtime hears them. `htsat-edge enroll` learns sounds against them (docs/enroll.md).
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.checking import check
from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.evaluation.datasets.splits import to_measure_on
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.enrolment.embedding import Embedded, embed
from htsat_edge.runtime.enrolment.enroll import STEPS_OF_A_SOUND
from htsat_edge.runtime.enrolment.negatives import (
    BACKGROUND,
    NEGATIVES_FILE,
    Negatives,
    no_negatives,
    spread,
    write_negatives,
)
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import Bundle, load_bundle

HOP_STEPS = 4
MOST_OF_A_CLASS = 60
"""Recordings, evenly over those that there are."""
MOST_BACKGROUND_H = 1.0
"""Backgrounds beyond are left out: an hour of 256 channels is 2.5 MB."""


def to_learn_from(paths: Sequence[Path], layout: str | None, fold: int | None) -> list[tuple[Labelled, str]]:
    """Return the recordings of a data set that are not held back, each with the one class that sounds in it."""
    dataset = read_dataset(paths, layout, fold)
    held = {recording.path for recording in to_measure_on(dataset.recordings, dataset.name)}
    there = [one for one in dataset.recordings if one.path not in held] or list(dataset.recordings)
    there = list(check(paths, dataset, there).recordings)
    alone = [(one, min(one.labels)) for one in there if one.path not in held and one.labels and len(one.labels) == 1]
    if not alone:
        raise HtsatEdgeError("--clips: has no recording to learn from that has one class")
    return thin(alone)


def thin(recordings: Sequence[tuple[Labelled, str]]) -> list[tuple[Labelled, str]]:
    """Return at most MOST_OF_A_CLASS recordings of each class, evenly over them."""
    classes: dict[str, list[tuple[Labelled, str]]] = {}
    for one in recordings:
        classes.setdefault(one[1], []).append(one)
    return [
        own[i * len(own) // min(len(own), MOST_OF_A_CLASS)]
        for own in classes.values()
        for i in range(min(len(own), MOST_OF_A_CLASS))
    ]


def collect(
    bundle: Bundle, backend: Backend, sounds: Sequence[tuple[Labelled, str]], backgrounds: Sequence[Labelled]
) -> Negatives:
    """Return the embeddings of recordings of sounds, with their classes, and of backgrounds."""

    def hear(recording: Labelled) -> Embedded:
        return embed(recording.path, bundle.info, backend, HOP_STEPS)

    labels: list[str] = []
    parts: list[FloatArray] = []
    groups: list[str] = []
    for recording, label in with_progress(sounds, "other sounds"):
        own = hear(recording)
        final = own.final()
        parts.append(spread(final[own.loud[: len(final)]], STEPS_OF_A_SOUND))
        labels.append(label)
        groups.append(recording.group or str(recording.path))
    left = MOST_BACKGROUND_H * 3600 / bundle.info.step_s
    for recording in with_progress(backgrounds, "backgrounds"):
        if left <= 0:
            break
        parts.append(hear(recording).final())
        left -= len(parts[-1])
        labels.append(BACKGROUND)
        groups.append(recording.group or str(recording.path))
    negatives = no_negatives(parts[0].shape[1], bundle.info.step_s)
    for label, group, part in zip(labels, groups, parts, strict=True):
        negatives = negatives.plus(label, [group], [part])
    return negatives


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    bundle = load_bundle(args.bundle)
    refuse_unwritable(bundle.path / NEGATIVES_FILE)
    sounds = to_learn_from(args.clips, args.dataset, args.fold)
    backgrounds = [one for one in read_dataset(args.background).recordings if not (one.labels or frozenset())]
    if not backgrounds:
        raise HtsatEdgeError("--background: names no recording without a sound")
    with closing(open_backend(bundle, args.precision, "onnxruntime", threads=args.threads)) as backend:
        negatives = collect(bundle, backend, sounds, backgrounds)
    path = write_negatives(negatives, bundle)
    classes = {label for _, label in sounds}
    print(
        f"{path}: {len(sounds)} recordings of {len(classes)} classes, {negatives.background_h:.1f} h of background, "
        f"{path.stat().st_size / 1e6:.1f} MB"
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(
        prog="negatives.py", description="Write what enrolled sounds are told from into a bundle, as embeddings."
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle whose graphs give frame_embedding")
    add_clips(parser, "recordings with one class each; those that are held back are left out")
    parser.add_argument(
        "--background",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="recordings, or folders of them, in which no sound has a name",
    )
    parser.add_argument("--precision", help="hear with this graph (default: the one that a user gets)")
    parser.add_argument("--threads", type=int, help="of onnxruntime (default: one for each core)")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
