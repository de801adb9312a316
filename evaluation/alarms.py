"""Measure how well alarms are found over household noise, how soon, and how often where there is none.

python -m htsat_edge.evaluation.alarms BUNDLE [BUNDLE …] --alarms MANIFEST --plain 8 --noise MANIFEST
    [--recordings MANIFEST] [--background MANIFEST]

Each alarm of `--alarms` (what the manifest holds back) and each that `plain_alarms.py` renders begins four seconds
after the noise does, and is heard as from a microphone: in pieces, at the default operating point. Recordings of real
ones are heard as they are, after faint noise, and ring on as real ones do. An alarm is found when an event of its class
starts while it sounds. Latency is from the onset of its first pulse to the start, in seconds of audio.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json
from rich.table import Table

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.splits import to_measure_on
from htsat_edge.evaluation.false_events import add_split, count_false, held_recordings, lengthen
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence
from htsat_edge.evaluation.latency import Report, match
from htsat_edge.evaluation.plain_alarms import ALARMS, PATTERNS, RATE, render
from htsat_edge.evaluation.remembered import add_cache, open_remembered
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import Parser, count, decibels, run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.intervals import count_interval, share_interval
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.enrolment.recordings import read_samples
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

HOUSEHOLD = (BACKGROUND, "Vacuum cleaner", "Toilet flush", "Typing", "Crowd", "Water tap, faucet", "Hair dryer", "Hum")
"""The classes of recordings that are noise."""
LEAD_S, AFTER_S = 4.0, 2.0
"""Noise before and after an alarm."""
FAINT_DBFS = -60.0
"""The noise before and under real recordings, whose own level stays as it is."""
RINGS_S = 8.0
"""A shorter recording of a real alarm is repeated until it is as long."""
LONGEST_S = 60.0
"""Read of a recording."""
PEAK = 0.5
PIECE_S = 0.08
"""Heard at a time: as exactly are latencies known."""
COLUMNS = ("found", "90 %", "as any alarm", "onset → start, median", "95 %")


@dataclass(frozen=True)
class Alarm:
    """An alarm to be heard, at RATE."""

    kind: str
    """How it was made: a pattern, or the class where that is all that is known."""
    label: str
    samples: FloatArray
    sounding: tuple[tuple[float, float], ...]
    """Onset and offset of its parts in seconds."""

    @property
    def whole(self) -> Occurrence:
        """From its first onset to its last offset."""
        return Occurrence(self.sounding[0][0], max(offset for _, offset in self.sounding), self.label)


AlarmSet = Callable[[], Iterable[Alarm]]
"""Makes alarms when they are played: hours of them fill the memory."""


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


def plain(each: int) -> Iterator[Alarm]:
    """Render so many alarms of each pattern."""
    for one in (render(pattern, seed) for pattern in PATTERNS for seed in range(each)):
        yield Alarm(one.pattern, one.label, one.samples, one.sounding)


def held_alarms(paths: Sequence[Path], most: int | None = None) -> Iterator[Alarm]:
    """Yield the recordings of alarms that manifests hold back; of each class `most`, spread over them."""
    own: dict[str, list[Labelled]] = defaultdict(list)
    dataset = read_dataset(paths)
    for recording in to_measure_on(dataset.recordings, dataset.name):
        for label in sorted(set(ALARMS) & set(recording.labels or ())):
            own[label].append(recording)
    if not own:
        raise HtsatEdgeError(f"{', '.join(map(str, paths))}: holds back no recording of {', '.join(ALARMS)}")
    for label, recordings in own.items():
        places: list[int] = np.linspace(0, len(recordings) - 1, most or len(recordings)).astype(int).tolist()
        for k in sorted({*places}):
            yield _read(recordings[k], label)


def _read(recording: Labelled, label: str) -> Alarm:
    samples = read_samples(recording.path, RATE, LONGEST_S)
    spans = [(event.onset_s, event.offset_s) for event in sorted(recording.events or ()) if event.label == label]
    kind = recording.group.partition("/")[0] if recording.events else label
    return Alarm(kind, label, samples, tuple(spans) or ((0.0, len(samples) / RATE),))


def over_noise(alarms: Iterable[Alarm], noises: Sequence[FloatArray], snr_db: float) -> Iterator[Alarm]:
    """Yield the alarms with recorded noise before, under and after them.

    The noise is so far below the power of the alarm while it sounds. Which noise it is depends on the alarm alone.
    """
    for alarm in alarms:
        rng = np.random.default_rng(zlib.crc32(alarm.samples.tobytes()))
        late = delayed(alarm)
        noise = lengthen(noises[int(rng.integers(len(noises)))], len(late.samples)).astype(np.float64)
        inside = [late.samples[round(on * RATE) : round(off * RATE)] for on, off in late.sounding]
        power = np.square(np.concatenate(inside), dtype=np.float64).mean()
        noise *= np.sqrt(power / max(np.square(noise).mean(), 1e-12) / 10 ** (snr_db / 10))
        mixed = late.samples + noise
        yield replace(late, samples=(mixed * PEAK / np.abs(mixed).max()).astype(np.float32))


def delayed(alarm: Alarm) -> Alarm:
    """Return an alarm with silence before and after it."""
    samples = np.pad(alarm.samples, (round(LEAD_S * RATE), round(AFTER_S * RATE)))
    return replace(alarm, samples=samples, sounding=tuple((on + LEAD_S, off + LEAD_S) for on, off in alarm.sounding))


def ringing(alarm: Alarm) -> Alarm:
    """Return a recording of a real alarm, repeated, over faint noise."""
    times = max(1, int(np.ceil(RINGS_S * RATE / len(alarm.samples))))
    length_s = len(alarm.samples) / RATE
    sounding = tuple((on + k * length_s, off + k * length_s) for k in range(times) for on, off in alarm.sounding)
    late = delayed(replace(alarm, samples=np.tile(alarm.samples, times), sounding=sounding))
    noise = np.random.default_rng(0).normal(0, 10 ** (FAINT_DBFS / 20), len(late.samples))
    return replace(late, samples=(late.samples + noise).astype(np.float32))


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
    (outcome,), _ = match([alarm.whole], reports)
    any_alarm = [alarm.whole._replace(label=report.label) for report in reports if report.label in ALARMS]
    taken_for = {one.label for one in any_alarm if match([one], reports)[0][0].found}
    return HeardAlarm(alarm.kind, alarm.label, outcome.latency_s, frozenset(taken_for))


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


def sets_of(args: argparse.Namespace) -> dict[str, AlarmSet]:
    """Return the sets of alarms that the arguments name, to be made when they are played."""
    sets: dict[str, AlarmSet] = {}
    if args.alarms or args.plain:
        if not args.noise:
            raise HtsatEdgeError("--alarms and --plain need --noise: recordings, to mix them with")
        held = [path for path, label in held_recordings(args.noise, (), split=args.split) if label in HOUSEHOLD]
        if not held:
            raise HtsatEdgeError(f"--noise: holds back no recording of {', '.join(HOUSEHOLD)}")
        noises = [read_samples(path, RATE, LONGEST_S) for path in held]
        print(f"noise: {len(noises)} recordings")
        if args.plain:
            sets[f"plain at {args.snr:g} dB"] = lambda: over_noise(plain(args.plain), noises, args.snr)
        if args.alarms:
            sets[f"held at {args.snr:g} dB"] = lambda: over_noise(held_alarms(args.alarms, args.most), noises, args.snr)
    if args.recordings:
        sets["recordings"] = lambda: map(ringing, held_alarms(args.recordings))
    return sets


def add_sets(parser: argparse.ArgumentParser) -> None:
    """Add the options that name sets of alarms."""
    for name, what in (
        ("--alarms", "alarms that are held back, to be mixed with noise"),
        ("--recordings", "recordings of real alarms, to be heard as they are"),
        ("--noise", "recordings with classes, of which household noise is taken"),
    ):
        parser.add_argument(name, type=Path, nargs="+", metavar="MANIFEST", help=what)
    parser.add_argument(
        "--plain", type=count, metavar="N", help="render so many of each pattern, to be mixed with noise"
    )
    parser.add_argument("--most", type=count, metavar="N", help="play at most so many of each class of --alarms")
    parser.add_argument("--snr", type=decibels, default=10.0, metavar="DB", help="(default: 10)")


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    bundles, sets = [load_bundle(path) for path in args.bundles], sets_of(args)
    if not sets:
        raise HtsatEdgeError("give alarms to play: --alarms, --plain or --recordings")
    content: dict[str, dict[str, object]] = {}
    quiet = held_recordings(args.background, ALARMS, split=args.split) if args.background else []
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
