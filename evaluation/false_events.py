"""Count false events: play recordings of sounds that a model does not know, and of ambience, to it.

python -m htsat_edge.evaluation.false_events BUNDLE [BUNDLE …] --clips MANIFEST [MANIFEST …]

The recordings are those that the manifests hold back, of classes that are labels of none of the bundles, so that all
bundles hear the same. Whatever a model reports of them is false. Recordings of `background` are played forwards and
backwards until a minute is full.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.evaluation.held import add_split, read_held, refuse_without_class, without_labels
from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.evaluation.remembered import add_cache, open_remembered
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.common.text import plural
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

AMBIENCE_S = 60.0


@dataclass(frozen=True)
class Played:
    """The labels of the events that a model reported of a recording of one class."""

    label: str
    duration_s: float
    events: tuple[str, ...]


@dataclass(frozen=True)
class FalseEvents:
    """What a model reported of recordings of other sounds and of ambience."""

    others: Sequence[Played]
    ambience: Sequence[Played]

    @property
    def share(self) -> float:
        """Share of the recordings of other sounds that raise an event."""
        return float(np.mean([bool(played.events) for played in self.others]))

    @property
    def macro_share(self) -> float:
        """The same, as the mean over the classes of the recordings."""
        classes = {played.label for played in self.others}
        return float(np.mean([FalseEvents(self._of(label), ()).share for label in classes]))

    @property
    def labels_per_recording(self) -> float:
        """Wrong labels for each recording of another sound."""
        return float(np.mean([len(set(played.events)) for played in self.others]))

    @property
    def per_hour(self) -> float:
        """Events in an hour of ambience."""
        hours = sum(played.duration_s for played in self.ambience) / 3600
        return sum(len(played.events) for played in self.ambience) / hours if hours else float("nan")

    @property
    def labels(self) -> Counter[str]:
        """How many recordings of other sounds raised an event of each label."""
        return Counter(label for played in self.others for label in set(played.events))

    def _of(self, label: str) -> list[Played]:
        return [played for played in self.others if played.label == label]

    def figures(self) -> dict[str, str]:
        """Return the figures by what they are, as people read them."""
        raised, among = sum(bool(played.events) for played in self.others), len(self.others)
        most = ", ".join(f"{label} {count}" for label, count in self.labels.most_common(4)) or "–"
        return {
            "recordings of other sounds that raise an event": f"{raised} of {among} ({100 * self.share:.0f} %)",
            "the same, mean of their classes": f"{100 * self.macro_share:.0f} %",
            "wrong labels a recording": f"{self.labels_per_recording:.2f}",
            "events an hour of ambience": f"{self.per_hour:.1f}" if self.ambience else "–",
            "recordings by what was reported of them": most,
        }


def listen(detector: Detector, path: Path, label: str) -> Played:
    """Play a recording to a detector; ambience for a minute."""
    file = AudioFile(path)
    samples = np.concatenate(list(file.blocks(file.samples)))
    if label == BACKGROUND:
        samples = lengthen(samples, round(AMBIENCE_S * file.sample_rate))
    detector.reset()
    events = [*detector.push(samples), *detector.flush()]
    started = tuple(event.label for event in events if isinstance(event, EventStart))
    return Played(label, len(samples) / file.sample_rate, started)


def lengthen(samples: FloatArray, length: int) -> FloatArray:
    """Return so many samples: played forwards and backwards in turns, which has no clicks."""
    return np.pad(samples, (0, max(0, length - len(samples))), mode="symmetric")[:length]


def count_false(
    info: ModelInfo, backend: Backend, recordings: Sequence[tuple[Path, str]], settings: Settings
) -> FalseEvents:
    """Play the recordings to a model."""
    by_rate: dict[int, list[tuple[Path, str]]] = defaultdict(list)
    for path, label in recordings:
        by_rate[AudioFile(path).sample_rate].append((path, label))
    played: list[Played] = []
    for rate, own in by_rate.items():
        detector = Detector(info, backend, rate, settings)
        played += [listen(detector, path, label) for path, label in with_progress(own, f"playing to {info.name}")]
    others = [one for one in played if one.label != BACKGROUND]
    return FalseEvents(others, [one for one in played if one.label == BACKGROUND])


def print_table(figures: Mapping[str, Mapping[str, str]]) -> None:
    """Print the figures of each model in a column of its own."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in figures:
        table.add_column(Text(name))
    for what in next(iter(figures.values())):
        table.add_row(what, *(Text(own[what]) for own in figures.values()))
    wide_console().print(table)


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    bundles = [load_bundle(path) for path in args.bundles]
    held = read_held(args.clips, args.split, args.dataset, args.fold)
    refuse_without_class("--clips", held)
    recordings = without_labels(held, (label for bundle in bundles for label in bundle.info.labels))
    if not any(label != BACKGROUND for _, label in recordings):
        raise HtsatEdgeError("--clips: hold back no recording of a class that no bundle has as a label")
    settings = Settings(hop_s=args.hop, look_ahead_s=args.look_ahead)
    found: dict[str, FalseEvents] = {}
    for bundle in bundles:
        with closing(open_remembered(bundle, cache=args.cache)) as backend:
            found[str(bundle.path)] = count_false(bundle.info, backend, recordings, settings)
    others = next(iter(found.values())).others
    classes = len({played.label for played in others})
    print(f"{plural(len(others), 'recording')} of {classes} other class{'es' * (classes != 1)}")
    figures = {name: events.figures() for name, events in found.items()}
    print_table(figures)
    if args.out is not None:
        with replacing(args.out) as part:
            part.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(
        prog="python -m htsat_edge.evaluation.false_events",
        description="Count the events that models report of sounds which they do not know.",
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="models, the baseline first")
    add_clips(parser, "recordings with classes")
    parser.add_argument("--hop", type=float, metavar="S", help="seconds between windows (default: as for files)")
    parser.add_argument("--look-ahead", type=float, metavar="S", help="(default: as for files)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the figures")
    add_split(parser)
    add_cache(parser)
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
