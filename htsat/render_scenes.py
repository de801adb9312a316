"""Mix held recordings into labelled scenes, as audio files.

python -m htsat_edge.htsat.render_scenes --data FOLDER --out SCENES

SCENES/manifest.csv labels them with onsets and offsets; calibration/accuracy.py measures on it. They are like the
scenes that thresholds are chosen on (scenes.py), but longer than a window and mixed as waveforms, so that the whole
path from samples to events is measured. With --quiet nothing but backgrounds is in them: hours to count false alarms
in (calibration/levels.py).
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from htsat_edge.runtime.common.command import Parser, count, decibels, refuse_without_extra, run, seed

try:
    import torch  # noqa: F401
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.render_scenes", "train", error)

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import BACKGROUND, SPLITS, Occurrence, join
from htsat_edge.htsat.corpus import Recording, apart, read_corpora, read_mono, split_up
from htsat_edge.htsat.scenes import PAUSE_S, SNR_DB
from htsat_edge.htsat.settings import Mix, make_folder
from htsat_edge.htsat.variations import SHORT, Rng, from_db
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.log_mel import hz_to_mel

SAMPLE_RATE = 32_000
SHORT_S = SHORT / 100
"""Shorter sounds may come several times."""
MOST_EVENTS_PER_S = 0.4
RECORDED = 0.8
"""The share of scenes with a recorded background over the noise."""
LEAST_S = 0.1
"""Shortest part of a sound at an end of the scene; a shorter one could not be detected, and is left out."""
COLUMNS = ("file", "class", "onset", "offset")


class Mixer:
    """Draws scenes from recordings; those of other classes than `labels` sound in them but are not labelled."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        labels: Sequence[str],
        sample_rate: int = SAMPLE_RATE,
        snr_db: tuple[float, float] = SNR_DB,
    ) -> None:
        """Take recordings; the lowest and highest `snr_db` are the level of sounds over the background, on average."""
        self._rate, self._snr_db = sample_rate, snr_db
        by_label: dict[str, list[Recording]] = defaultdict(list)
        for recording in recordings:
            by_label[recording.label].append(recording)
        self._by_label: Mapping[str, list[Recording]] = by_label
        self._known = [label for label in labels if label in by_label]
        self._others = sorted(by_label.keys() - set(labels) - {BACKGROUND})
        self._read = lru_cache(maxsize=64)(lambda recording: read_mono(recording, sample_rate))

    def scene(self, rng: Rng, seconds: float) -> tuple[FloatArray, list[Occurrence]]:
        """Return samples (S,), and the events in them."""
        audio = self._background(rng, round(seconds * self._rate))
        background = np.square(audio).mean()
        events: list[Occurrence] = []
        for _ in range(rng.integers(0, int(MOST_EVENTS_PER_S * seconds), endpoint=True)):
            others = bool(self._others) and rng.random() < Mix().others_share
            label = str(rng.choice(self._others if others else self._known))
            event = self._draw(rng, label)
            event = event * np.sqrt(background * from_db(rng.uniform(*self._snr_db)) / np.square(event).mean())
            for onset in self._onsets(rng, len(event), len(audio)):
                begin, end = max(onset, 0), min(onset + len(event), len(audio))
                if end - begin >= LEAST_S * self._rate:
                    audio[begin:end] += event[begin - onset : end - onset]
                    events.append(Occurrence(begin / self._rate, end / self._rate, label))
        audio *= 10 ** (rng.uniform(-30, -1) / 20) / np.abs(audio).max()
        return audio.astype(np.float32), join((e for e in events if e.label in self._known), PAUSE_S)

    def quiet(self, rng: Rng, seconds: float) -> FloatArray:
        """Return samples (S,) of one or two recorded backgrounds over noise, each forwards and backwards: no seam."""
        length = round(seconds * self._rate)
        audio = self._noise(rng, length)
        for _ in range(rng.integers(1, 2, endpoint=True)):
            recorded = self._draw(rng, BACKGROUND)
            begin = int(rng.integers(len(recorded)))
            recorded = np.pad(recorded, (0, max(0, begin + length - len(recorded))), mode="symmetric")
            recorded = recorded[begin : begin + length]
            audio += recorded * np.sqrt(from_db(rng.uniform(-5, 25)) / max(np.square(recorded).mean(), 1e-12))
        audio *= 10 ** (rng.uniform(-30, -1) / 20) / np.abs(audio).max()
        return audio.astype(np.float32)

    def _draw(self, rng: Rng, label: str) -> FloatArray:
        recordings = self._by_label[label]
        samples: FloatArray = self._read(recordings[rng.integers(len(recordings))])
        return samples

    def _background(self, rng: Rng, length: int) -> FloatArray:
        """Return noise, most of the time with a recording over it."""
        noise = self._noise(rng, length)
        if BACKGROUND in self._by_label and rng.random() < RECORDED:
            recorded = self._draw(rng, BACKGROUND)
            recorded = np.resize(np.roll(recorded, rng.integers(len(recorded))), length)
            noise += recorded * np.sqrt(from_db(rng.uniform(-5, 25)) / np.square(recorded).mean())
        return noise.astype(np.float32)

    def _noise(self, rng: Rng, length: int) -> npt.NDArray[np.float64]:
        """Return stationary noise with a slope over the mel scale."""
        hz = np.fft.rfftfreq(length, 1 / self._rate)
        slope_db = rng.uniform(-45, 5) * hz_to_mel(hz) / hz_to_mel(np.array([self._rate / 2]))
        noise = np.fft.irfft(np.fft.rfft(rng.normal(size=length)) * np.sqrt(from_db(slope_db)), length)
        return noise / noise.std()

    def _onsets(self, rng: Rng, length: int, whole: int) -> list[int]:
        """Return where an event begins; a short one may come several times."""
        onset = int(rng.integers(-length // 2, whole - min(length, whole) // 2))
        onsets = [onset]
        if length < SHORT_S * self._rate and rng.random() < 0.5:
            for _ in range(rng.integers(1, 6)):
                onset += length + round(rng.uniform(0.03, 0.8) * self._rate)
                onsets.append(onset)
        return onsets


def read_backgrounds(paths: Sequence[Path], split: str | None = None) -> list[Recording]:
    """Return recordings, or parts of them, in which no class sounds: those of a split, or all but those of test."""
    found = (recording for own in apart(paths) for recording in read_dataset(own).recordings)
    parts = [part for part in split_up(found)[0] if part.label == BACKGROUND]
    return [part for part in parts if (part.split == split if split else part.split != "test")]


def render(args: argparse.Namespace) -> int:
    """Run the command: write scenes."""
    if args.split and not args.quiet:
        raise HtsatEdgeError(f"--split {args.split}: is for --quiet; leave it out, sounds are always of the split val")
    labels = [row["label"] for row in read_csv(args.labels, ["label"])]
    corpus = read_backgrounds(args.data, args.split) if args.quiet else read_corpora(args.data)
    # Sounds are what is measured here: backgrounds that were learned from serve, too. False alarms are for --quiet.
    recordings = [r for r in corpus if r.held or r.label == BACKGROUND]
    if args.quiet and not recordings:
        of = f" in the split {args.split}" if args.split else ""
        raise HtsatEdgeError(f"--data: has no recording of the class {BACKGROUND}{of}")
    if not args.quiet and not {r.label for r in recordings}.intersection(labels):
        raise HtsatEdgeError(f"--data: holds back no recording of the classes in {args.labels}")
    if len(args.snr_db) > 2 or args.snr_db[0] > args.snr_db[-1]:
        raise HtsatEdgeError(f"--snr-db {' '.join(f'{db:g}' for db in args.snr_db)}: want one level, or LOW HIGH")
    make_folder(args.out)
    mixer, rows = Mixer(recordings, labels, snr_db=(args.snr_db[0], args.snr_db[-1])), []
    for number in with_progress(range(args.count), "mixing"):
        # Each scene has a seed of its own: more scenes leave the first ones as they were.
        rng = np.random.default_rng((args.seed, number))
        audio, events = (mixer.quiet(rng, args.seconds), []) if args.quiet else mixer.scene(rng, args.seconds)
        name = f"{number:04}.flac"
        with replacing(args.out / name, soundfile.LibsndfileError) as part:
            soundfile.write(part, audio, SAMPLE_RATE, format="FLAC")
        rows += [[name, e.label, f"{e.onset_s:.3f}", f"{e.offset_s:.3f}"] for e in events] or [
            [name, BACKGROUND, "", ""]
        ]
    with replacing(args.out / "manifest.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    print(f"{args.count} scenes of {args.seconds} s in {args.out / 'manifest.csv'}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(
        prog="python -m htsat_edge.htsat.render_scenes", description="Mix held recordings into labelled scenes."
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="corpora, as for htsat_edge.htsat.train"
    )
    parser.add_argument("--labels", type=Path, required=True, help="CSV with a column `label`: the classes to label")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scenes and their manifest.csv")
    parser.add_argument("--count", type=count, default=120, help="scenes (default 120)")
    parser.add_argument("--seconds", type=count, default=30, help="of each (default 30)")
    parser.add_argument(
        "--snr-db",
        type=decibels,
        nargs="+",
        default=SNR_DB,
        metavar="DB",
        help="level of sounds over the background: one for all, or LOW HIGH to draw between (default: 0 30)",
    )
    parser.add_argument("--quiet", action="store_true", help="backgrounds alone, in which no sound is")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        help="with --quiet, backgrounds of this split (default: not of test)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="(default 0)")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: render(args))


if __name__ == "__main__":
    sys.exit(main())
