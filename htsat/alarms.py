"""Synthesise alarms, sirens, telephones and doorbells: python -m htsat_edge.htsat.alarms --out FOLDER.

These sounds are made by machines after published patterns (alarm_signals.py), so they can be made again. A third of
the recordings are other sounds with tones, which are no alarm. FOLDER/manifest.csv has classes, onsets and offsets.

About a fifth is held back (split val). The ranges of pitch and of pace of a pattern are each cut into five bands. A
recording has its pitch from one band and its pace from another; five of the 25 pairs, in which each band occurs once,
are held back. Some patterns are held back as a whole. A group is a pattern and a pair. The same seed gives the same
recordings, whatever the number of processes, and more recordings leave the first ones as they were.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import csv
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile

from htsat_edge.htsat.alarm_patterns import Beat, Pattern, Range, Rng
from htsat_edge.htsat.alarm_rendering import SAMPLE_RATE, Note, Samples, capture, carry, house, noise, render
from htsat_edge.htsat.alarm_signals import (
    CLOCK_PATTERNS,
    DOORBELL_PATTERNS,
    OTHERS,
    REVERSING_PATTERNS,
    SIREN_PATTERNS,
    SMOKE_PATTERNS,
    TELEPHONE_PATTERNS,
)
from htsat_edge.htsat.settings import make_folder
from htsat_edge.runtime.common.command import Parser, count, run, seed
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress

ALARMS = (
    SMOKE_PATTERNS,
    SIREN_PATTERNS,
    CLOCK_PATTERNS,
    TELEPHONE_PATTERNS,
    DOORBELL_PATTERNS,
    REVERSING_PATTERNS,
)
TURNS = (*ALARMS, OTHERS, OTHERS, OTHERS)
"""Recordings take turns in these: a third are others."""
BANDS = 5
SHORTEST_S, LONGEST_S = 1.0, 10.0
LEAD_S = (0.05, 0.6)
"""Before the first tone, and after the last one."""
RING_OUT_S = 0.5
"""After a signal that is not cut off."""
SNR_DB = (10.0, 50.0)
PEAK_DB = (-26.0, -0.5)
PAUSE_S = 2.0
"""A signal with shorter pauses is one event: T3 of smoke detectors pauses for 1.5 s."""
QUIET_DB = 30.0
"""Sound this far below the loudest moment is over, as in recordings (corpus.py), or where noise covers it."""
MOMENT = SAMPLE_RATE // 100
COLUMNS = ("file", "class", "onset", "offset", "group", "split")


@dataclass(frozen=True)
class Variant:
    """A pattern, with its pitch and pace each from one band of their ranges."""

    pattern: Pattern
    pitch_band: int
    pace_band: int

    @property
    def group(self) -> str:
        """What recordings that are alike have in common."""
        return f"{self.pattern.name}/{self.pitch_band}{self.pace_band}"

    @property
    def held(self) -> bool:
        """Whether it is held back: a Latin square has each band once."""
        return self.pattern.held or (self.pitch_band + 2 * self.pace_band) % BANDS == 0

    def pitch(self, rng: Rng) -> float:
        """Draw a pitch."""
        return _draw(rng, self.pattern.pitch, self.pitch_band)

    def pace(self, rng: Rng) -> float:
        """Draw a pace."""
        return _draw(rng, self.pattern.pace, self.pace_band)


@dataclass(frozen=True)
class Take:
    """A synthetic recording."""

    samples: Samples
    """(S,), with a peak below 1."""
    spans_s: list[tuple[float, float]]
    """Onsets and offsets of the signal."""


def choose(rng: Rng, number: int) -> Variant:
    """Draw the variant of a recording; its class depends on its number."""
    kind = TURNS[number % len(TURNS)]
    shares = np.array([pattern.share for pattern in kind])
    pattern = kind[rng.choice(len(kind), p=shares / shares.sum())]
    return Variant(pattern, *(int(band) for band in rng.integers(BANDS, size=2)))


def perform(rng: Rng, variant: Variant) -> Take:
    """Synthesise a recording."""
    pattern = variant.pattern
    notes, length = compose(rng, variant)
    dry = render(rng, notes, pattern.voice, length, pattern.moving)
    wet = carry(rng, house(rng, dry, pattern.housing), pattern.outdoors)
    snr_db = rng.uniform(*SNR_DB)
    spans_s, power = find_spans(wet, min(QUIET_DB, snr_db))
    wet = capture(rng, wet + noise(rng, length, pattern.outdoors) * np.sqrt(power * 10 ** (-snr_db / 10)))
    return Take(wet * 10 ** (rng.uniform(*PEAK_DB) / 20) / np.abs(wet).max(), spans_s)


def compose(rng: Rng, variant: Variant) -> tuple[list[Note], int]:
    """Return the notes of a recording, and its length in samples.

    A signal that is played from end to end is cut off at the end, and begins amid a cycle half of the time.
    """
    pattern = variant.pattern
    lead_s, after_s = rng.uniform(*LEAD_S, 2)
    pitch, pace = variant.pitch(rng), variant.pace(rng)
    duty, span = rng.uniform(*pattern.duty), rng.uniform(*pattern.span)
    tune = pattern.cycle if isinstance(pattern.cycle, tuple) else pattern.cycle(rng)
    if pattern.times:
        end_s = LONGEST_S - after_s
        beats: Iterator[Beat] = iter(tune * int(rng.integers(*pattern.times, endpoint=True)))
        after_s += RING_OUT_S
    else:
        end_s = max(rng.uniform(SHORTEST_S, LONGEST_S) - after_s, lead_s + 0.3)
        first = int(rng.integers(len(tune))) if rng.random() < 0.5 else 0
        beats = cycle(tune[first:] + tune[:first])
    notes, now_s = [], lead_s
    for beat in beats:
        on_s = beat.on_s * duty * pace
        stop_s = min(now_s + on_s, end_s)
        glide = beat.glide ** (span * (stop_s - now_s) / on_s)
        notes.append(Note(now_s, stop_s, tuple(pitch * tone**span for tone in beat.tones), glide))
        now_s += on_s + max(0.0, beat.off_s + beat.on_s * (1 - duty)) * pace
        if now_s > end_s - 0.02:
            break
    return notes, MOMENT * int(min(notes[-1].offset_s + after_s, LONGEST_S) * SAMPLE_RATE / MOMENT)


def find_spans(sound: Samples, quiet_db: float) -> tuple[list[tuple[float, float]], float]:
    """Return the onsets and offsets of what is not quiet, and its mean power; short pauses belong to it."""
    power = np.square(sound).reshape(-1, MOMENT).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-quiet_db / 10))
    paused = np.flatnonzero(np.diff(loud) * MOMENT > PAUSE_S * SAMPLE_RATE)
    begins, ends = loud[np.r_[0, paused + 1]], loud[np.r_[paused, -1]] + 1
    spans = np.stack([begins, ends], axis=1) / (SAMPLE_RATE / MOMENT)
    return [(float(onset), float(offset)) for onset, offset in spans], float(power[loud].mean())


def write(out: Path, seed: int, number: int) -> list[tuple[str, ...]]:
    """Write a recording; return its rows of the manifest."""
    rng = np.random.default_rng((seed, number))
    variant = choose(rng, number)
    take = perform(rng, variant)
    label, split = variant.pattern.label, "val" if variant.held else "train"
    name = f"{slug(label)}/{variant.pattern.name}-{seed}-{number:05}.flac"
    with replacing(out / name, soundfile.LibsndfileError) as part:
        soundfile.write(part, take.samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return [(name, label, f"{onset:.2f}", f"{offset:.2f}", variant.group, split) for onset, offset in take.spans_s]


def slug(label: str) -> str:
    """Return the name of the folder of a class."""
    return re.sub(r"\W+", "-", label.lower())


def _draw(rng: Rng, limits: Range, band: int) -> float:
    low, high = np.log(limits)
    return float(np.exp(low + (high - low) * (band + rng.random()) / BANDS))


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    for label in sorted({pattern.label for pattern in chain(*TURNS)}):
        make_folder(args.out / slug(label))
    task, numbers = partial(write, args.out, args.seed), range(args.count)
    with ProcessPoolExecutor(args.processes, get_context("spawn"), end_at_interrupt) as pool:
        try:
            results = map(task, numbers) if args.processes == 1 else pool.map(task, numbers, chunksize=8)
            found = [row for _, rows in zip(with_progress(numbers, "alarms"), results, strict=True) for row in rows]
        finally:
            pool.shutdown(cancel_futures=True)  # what an interrupt leaves undone
    with replacing(args.out / "manifest.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *found])
    print(f"{args.count} recordings in {args.out / 'manifest.csv'}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.htsat.alarms", description="Synthesise alarms and what is like them.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the recordings and their manifest.csv")
    parser.add_argument("--count", type=count, default=3000, help="recordings (default 3000)")
    parser.add_argument("--seed", type=seed, default=0, help="(default 0)")
    parser.add_argument("--processes", type=count, default=1, help="to work with (default 1)")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
