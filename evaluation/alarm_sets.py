"""Make the alarms that models are measured by: rendered ones and held ones over noise, and recordings of real ones."""

from __future__ import annotations

import argparse
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from htsat_edge.evaluation.false_events import lengthen
from htsat_edge.evaluation.held import read_held, refuse_without_class, without_labels
from htsat_edge.evaluation.labels import BACKGROUND, Labelled
from htsat_edge.evaluation.plain_alarms import ALARMS, PATTERNS, RATE, Alarm, render
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import count, decibels
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.enrolment.recordings import read_samples

HOUSEHOLD = (BACKGROUND, "Vacuum cleaner", "Toilet flush", "Typing", "Crowd", "Water tap, faucet", "Hair dryer", "Hum")
"""The classes of recordings that are noise. Of the held ones of the corpus most are background, of games."""
LEAD_S, AFTER_S = 4.0, 2.0
"""Noise before and after an alarm."""
FAINT_DBFS = -60.0
"""The noise before and under real recordings, whose own level stays as it is."""
RINGS_S = 8.0
"""A shorter recording of a real alarm is repeated until it is as long."""
LONGEST_S = 60.0
"""A longer recording is refused."""
PEAK = 0.5


AlarmSet = Callable[[], Iterable[Alarm]]
"""Makes alarms when they are played: hours of them fill the memory."""


def plain(each: int) -> Iterator[Alarm]:
    """Render so many alarms of each pattern."""
    return (render(pattern, seed) for pattern in PATTERNS for seed in range(each))


def held_alarms(
    option: str, paths: Sequence[Path], split: str | None = None, most: int | None = None
) -> list[tuple[Labelled, str]]:
    """Return the recordings of alarms that manifests hold back, with the label; of each `most`, spread over them."""
    own: dict[str, list[Labelled]] = defaultdict(list)
    for recording in read_held(paths, split):
        for label in sorted(set(ALARMS) & set(recording.labels or ())):
            own[label].append(recording)
    if not own:
        raise HtsatEdgeError(f"{option}: holds back no recording of {', '.join(ALARMS)}")
    found: list[tuple[Labelled, str]] = []
    for label, recordings in own.items():
        places: list[int] = np.linspace(0, len(recordings) - 1, most or len(recordings)).astype(int).tolist()
        found += [(recordings[k], label) for k in sorted({*places})]
    return found


def recorded(recordings: Iterable[tuple[Labelled, str]]) -> Iterator[Alarm]:
    """Read recordings of alarms."""
    for recording, label in recordings:
        samples = read_samples(recording.path, RATE, LONGEST_S)
        spans = [(event.onset_s, event.offset_s) for event in sorted(recording.events or ()) if event.label == label]
        kind = recording.group.partition("/")[0] if recording.events else label
        yield Alarm(kind, label, samples, tuple(spans) or ((0.0, len(samples) / RATE),))


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


def sets_of(args: argparse.Namespace) -> dict[str, AlarmSet]:
    """Return the sets of alarms that the arguments name, to be made when they are played."""
    sets: dict[str, AlarmSet] = {}
    if args.alarms or args.plain:
        if not args.noise:
            raise HtsatEdgeError("--alarms and --plain need --noise: recordings, to mix them with")
        clips = read_held(args.noise, args.split)
        refuse_without_class("--noise", clips)
        held = [path for path, label in without_labels(clips, ()) if label in HOUSEHOLD]
        if not held:
            raise HtsatEdgeError(f"--noise: holds back no recording of {', '.join(HOUSEHOLD)}")
        noises = [read_samples(path, RATE, LONGEST_S) for path in held]
        print(f"noise: {len(noises)} recordings")
        if args.plain:
            sets[f"plain at {args.snr:g} dB"] = lambda: over_noise(plain(args.plain), noises, args.snr)
        if args.alarms:
            alarms = held_alarms("--alarms", args.alarms, args.split, args.most)
            sets[f"held at {args.snr:g} dB"] = lambda: over_noise(recorded(alarms), noises, args.snr)
    if args.recordings:
        real = held_alarms("--recordings", args.recordings, args.split)
        sets["recordings"] = lambda: map(ringing, recorded(real))
    return sets


def add_sets(parser: argparse.ArgumentParser) -> None:
    """Add the options that name sets of alarms; `sets_of` needs that of `add_split` as well."""
    for name, what in (
        ("--alarms", "alarms that are held back, to be mixed with noise"),
        ("--recordings", "recordings of real alarms, to be heard as they are"),
        ("--noise", "recordings with classes, of which background and household noise is taken"),
    ):
        parser.add_argument(name, type=Path, nargs="+", metavar="MANIFEST", help=what)
    parser.add_argument(
        "--plain", type=count, metavar="N", help="render so many of each pattern, to be mixed with noise"
    )
    parser.add_argument("--most", type=count, metavar="N", help="play at most so many of each class of --alarms")
    parser.add_argument("--snr", type=decibels, default=10.0, metavar="DB", help="(default: 10)")
