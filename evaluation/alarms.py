"""Measure how well alarms are found over household noise, how soon, and how often where there is none.

python -m htsat_edge.evaluation.alarms BUNDLE [BUNDLE …] --alarms MANIFEST --plain 8 --noise MANIFEST
    [--recordings MANIFEST] [--background MANIFEST]

Each alarm of `--alarms` (what the manifest holds back) and each that `plain_alarms.py` renders begins four seconds
after the noise does, and is heard as from a microphone: in pieces, at the default operating point. Recordings of real
ones are heard as they are, after faint noise, and ring on as real ones do. An alarm is found when an event of its class
starts while it sounds, or at most a second before or after. Latency is from the onset of its first pulse to the start,
in seconds of audio.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json
from rich.table import Table

from htsat_edge.evaluation.alarm_sets import AlarmSet, add_sets, sets_of
from htsat_edge.evaluation.false_events import count_false
from htsat_edge.evaluation.held import add_split, read_held, refuse_without_class, without_labels
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.latency import Report, match
from htsat_edge.evaluation.plain_alarms import ALARMS, RATE, Alarm
from htsat_edge.evaluation.remembered import add_cache, open_remembered
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.intervals import count_interval, share_interval
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

PIECE_S = 0.08
"""Heard at a time: as exactly are latencies known."""
COLUMNS = ("found", "90 %", "as any alarm", "onset → start, median", "95 %")


@dataclass(frozen=True)
class HeardAlarm:
    """What was reported of an alarm."""

    kind: str
    label: str
    latency_s: float | None
    """From its onset to the first start of its class; None where there was none."""
    reported: frozenset[str]
    """The alarms that it was taken for."""


class FalseAlarms(BaseModel):
    """The alarms that were reported of recordings that hold none."""

    labels: dict[str, int]
    hours: float

    def __str__(self) -> str:
        total, days = sum(self.labels.values()), self.hours / 24
        low, high = (bound / days for bound in count_interval(total))
        which = ", ".join(f"{label} {number}" for label, number in self.labels.items()) or "none"
        return f"{total / days:.1f} false alarms a day ({low:.1f}–{high:.1f}), in {self.hours:.2f} h: {which}"


class AlarmFigures(BaseModel):
    """What is said of a number of alarms."""

    alarms: int
    found: int
    interval: tuple[float, float]
    """Of the share that is found."""
    as_any: int
    """Taken for an alarm, the right one or another."""
    latency_s: tuple[float, float] | None
    """Median and 95th percentile; None where none was found."""

    @staticmethod
    def of(heard: Sequence[HeardAlarm]) -> AlarmFigures:
        """Count what was found."""
        latencies = [one.latency_s for one in heard if one.latency_s is not None]
        times = np.percentile(latencies, [50, 95]).tolist() if latencies else None
        return AlarmFigures(
            alarms=len(heard),
            found=len(latencies),
            interval=share_interval(len(latencies), len(heard)),
            as_any=sum(bool(one.reported) for one in heard),
            latency_s=times and (times[0], times[1]),
        )

    def cells(self) -> list[str]:
        """Return the cells of COLUMNS."""
        low, high = self.interval
        times = ["–", "–"] if self.latency_s is None else [f"{time:.2f} s" for time in self.latency_s]
        return [f"{self.found} of {self.alarms}", f"{low:.2f}–{high:.2f}", str(self.as_any), *times]


def hear(detector: Detector, alarm: Alarm) -> HeardAlarm:
    """Play an alarm to a detector in small pieces."""
    detector.reset()
    started: dict[int, tuple[float, float]] = {}
    reports: list[Report] = []

    def note(events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, EventEnd):
                whole = Occurrence(event.onset, event.offset, event.label)
                reports.append(Report(event.label, *started.pop(event.id), whole))
            else:
                started[event.id] = (event.onset, detector.duration_s)

    for piece in np.split(alarm.samples, range(round(PIECE_S * RATE), len(alarm.samples), round(PIECE_S * RATE))):
        note(detector.push(piece))
    note(detector.flush())
    outcomes, _ = match([alarm.whole._replace(label=label) for label in ALARMS], reports)
    latencies = {outcome.sound.label: outcome.latency_s for outcome in outcomes}
    taken_for = frozenset(outcome.sound.label for outcome in outcomes if outcome.found)
    return HeardAlarm(alarm.kind, alarm.label, latencies[alarm.label], taken_for)


def rows_of(heard: Sequence[HeardAlarm]) -> dict[str, list[HeardAlarm]]:
    """Return alarms by the name of a row: all, each class, and each kind of a class that has several."""
    rows: dict[str, list[HeardAlarm]] = {"all": list(heard)}
    for label in ALARMS:
        own = [one for one in heard if one.label == label]
        kinds = Counter(one.kind for one in own)
        if own:
            rows[label] = own
        if len(kinds) > 1:
            rows |= {f"  {kind}": [one for one in own if one.kind == kind] for kind in kinds}
    return rows


def print_table(title: str, heard: Sequence[HeardAlarm]) -> None:
    """Print a row for all alarms, each class and each kind."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for name, own in rows_of(heard).items():
        table.add_row(name, *AlarmFigures.of(own).cells())
    wide_console().print(table)


def count_false_alarms(info: ModelInfo, backend: Backend, recordings: Sequence[tuple[Path, str]]) -> FalseAlarms:
    """Count the alarms that are reported of recordings that hold none."""
    settings = Settings(labels=tuple(label for label in ALARMS if label in info.labels))
    played = count_false(info, backend, recordings, settings)
    every = [*played.others, *played.ambience]
    labels = Counter(label for one in every for label in one.events)
    return FalseAlarms(labels=dict(labels), hours=sum(one.duration_s for one in every) / 3600)


def measure(info: ModelInfo, backend: Backend, sets: Mapping[str, AlarmSet]) -> dict[str, list[HeardAlarm]]:
    """Play sets of alarms to a model, which may know only some of them."""
    detector = Detector(info, backend, RATE)
    return {name: [hear(detector, one) for one in make() if one.label in info.labels] for name, make in sets.items()}


def read_quiet(paths: Sequence[Path], split: str | None) -> list[tuple[Path, str]]:
    """Return the held recordings of --background that hold no alarm, with their classes."""
    held = read_held(paths, split)
    refuse_without_class("--background", held)
    quiet = without_labels(held, ALARMS)
    if not quiet:
        raise HtsatEdgeError(f"--background: holds back no recording without {', '.join(ALARMS)}")
    return quiet


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    bundles, sets = [load_bundle(path) for path in args.bundles], sets_of(args)
    if not sets:
        raise HtsatEdgeError("give alarms to play: --alarms, --plain or --recordings")
    content: dict[str, dict[str, object]] = {}
    quiet = read_quiet(args.background, args.split) if args.background else []
    for bundle in bundles:
        if not set(ALARMS) & set(bundle.info.labels):
            raise HtsatEdgeError(f"{bundle.path}: knows none of {', '.join(ALARMS)}")
        own: dict[str, object] = {}
        with closing(open_remembered(bundle, cache=args.cache)) as backend:
            for name, heard in measure(bundle.info, backend, sets).items():
                print_table(f"{bundle.path}: {name}", heard)
                own[name] = {row.strip(): AlarmFigures.of(alarms) for row, alarms in rows_of(heard).items()}
            if quiet:
                own["false"] = false = count_false_alarms(bundle.info, backend, quiet)
                print(f"{bundle.path}: {false}")
        content[str(bundle.path)] = own
    if args.json is not None:
        with replacing(args.json) as part:
            part.write_bytes(to_json(content, indent=1) + b"\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.evaluation.alarms", description="Measure how well alarms are found.")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    add_sets(parser)
    add_split(parser)
    parser.add_argument(
        "--background",
        type=Path,
        nargs="+",
        metavar="MANIFEST",
        help="recordings, of which those without alarms are played to count false ones",
    )
    parser.add_argument("--json", type=Path, help="write the figures")
    add_cache(parser)
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
