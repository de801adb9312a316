"""The clips that a model is calibrated on, cut from recordings as the runtime cuts them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from htsat_edge.evaluation.labels import numbered_rows
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.detector import Detector, Settings
from htsat_edge.runtime.dsp.audio import SUFFIXES, AudioFile
from htsat_edge.runtime.dsp.log_mel import FrontEnd, hz_to_mel, mel_to_hz
from htsat_edge.runtime.models.backends import Scores
from htsat_edge.runtime.models.bundle import ModelInfo

BLOCK_S = 10.0
SILENT_DB = -65.0
"""A clip whose loudest frame and band is below this holds no more than a converter's last bits, if that."""
FLOOR_DB = -95.0
"""Just above the floor of a log-mel, which is -100 dB."""
DYNAMIC_DB = 80.0
"""A band that is always further below the loudest one holds nothing: a low sample rate, or a codec, has cut it off."""
HELD = 4
"""One recording of so many is not calibrated on but measured with."""
FEWEST = 8
"""Clips: with less, the ranges are those of one or two recordings."""


@dataclass(frozen=True)
class Window:
    """A clip, by where it lies in the material."""

    path: Path
    number: int
    """Among the clips of its recording."""
    sha256: str
    """Of its log-mel, to the nearest dB: copies of a recording have the same."""
    activity: float
    """How much happens in it: the standard deviation over time of its level, in dB."""
    highest_hz: float
    """Up to where it holds something."""


class Listener:
    """Takes the place of a model, and keeps what it is given."""

    def __init__(self, info: ModelInfo) -> None:
        self._info = info
        self.clips: list[FloatArray] = []

    def infer(self, log_mel: FloatArray) -> Scores:
        """Keep the clips, log_mel (B, T, F); find nothing."""
        self.clips += list(log_mel)
        batch, classes = len(log_mel), len(self._info.labels)
        shapes = (batch, self._info.steps, classes), (batch, classes), (batch, 1)
        return Scores(*(np.zeros(shape, np.float32) for shape in shapes))

    def close(self) -> None:
        """Nothing is held."""


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """Recordings, those in folders (at any depth), and those in the column `file` of manifests, each once.

    What a manifest holds back (any `split` but train) is left for calibration/accuracy.py to measure on.
    """
    found: list[Path] = []
    for path in paths:
        if path.suffix.lower() == ".csv":
            found += [path.parent / row["file"] for _, row in numbered_rows(path, learned=True)]
        elif path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            found.append(path)
    if not found:
        raise HtsatEdgeError(f"--clips: no recording in {', '.join(map(str, paths))}")
    return list(dict.fromkeys(found))


def clips_of(file: AudioFile, info: ModelInfo) -> Iterator[FloatArray]:
    """The clips (T, F) that the runtime would cut from a recording, one after the other without overlap."""
    listener = Listener(info)
    detector = Detector(info, listener, file.sample_rate, Settings(hop_s=info.steps * info.step_s))
    for block in file.blocks(round(BLOCK_S * file.sample_rate)):
        detector.push(block)
        yield from listener.clips
        listener.clips = []
    try:
        detector.close()
    except HtsatEdgeError:  # too short for a single frame
        return
    yield from listener.clips


def is_silent(clip: FloatArray) -> bool:
    """Whether a clip (T, F) in dB holds no more than the last bits of a converter."""
    return bool(clip.max() < SILENT_DB)


def draw(paths: Sequence[Path], info: ModelInfo, count: int, seed: int) -> tuple[list[Window], FloatArray]:
    """Choose clips over the whole material, from the quietest to the liveliest, and read them: log-mels (N, T, F).

    All clips are ordered by activity and cut into `count` parts, of which each gives one, from the folder, and in it
    the recording, that has given the fewest so far: neither silence nor one long recording nor one class prevails.
    Copies and silence are left out.
    """
    if count < FEWEST:
        raise HtsatEdgeError(f"--count {count}: want {FEWEST} clips at least")
    recordings = find_recordings(paths)
    known, silent = _survey(recordings, info)
    if len(known) < FEWEST:
        reason = f", and {silent} silent ones" if silent else ""
        raise HtsatEdgeError(
            f"--clips: {len(recordings)} recordings hold {len(known)} different clips of "
            f"{info.steps * info.step_s:g} s{reason}; want {FEWEST} at least"
        )
    _refuse_narrow(known, info)
    chosen = _spread(known, min(count, len(known)), np.random.default_rng(seed))
    return chosen, _load(chosen, info)


def split(windows: Sequence[Window]) -> tuple[list[int], list[int]]:
    """The numbers of the windows to calibrate on, and of those to measure with: every fourth recording is held back.

    Of fewer than four recordings, every fourth window is.
    """
    recordings = list(dict.fromkeys(window.path for window in windows))
    held_recordings = set(recordings[HELD - 1 :: HELD])
    held = [i for i, window in enumerate(windows) if window.path in held_recordings]
    if not held:
        held = list(range(len(windows))[HELD - 1 :: HELD])
    return [i for i in range(len(windows)) if i not in held], held


def _survey(recordings: Sequence[Path], info: ModelInfo) -> tuple[list[Window], int]:
    known: dict[str, Window] = {}
    silent = 0
    for path in with_progress(recordings, "looking for clips"):
        file = AudioFile(path)
        for number, clip in enumerate(clips_of(file, info)):
            if is_silent(clip):
                silent += 1
                continue
            sha256 = hashlib.sha256(np.round(clip).astype(np.int16).tobytes()).hexdigest()
            activity = float(clip.mean(axis=1).std())
            highest_hz = min(file.sample_rate / 2, heard_up_to(clip, info.front_end))
            known.setdefault(sha256, Window(path, number, sha256, activity, highest_hz))
    return list(known.values()), silent


def heard_up_to(clip: FloatArray, front_end: FrontEnd) -> float:
    """The frequency in Hz up to which a clip (T, F) holds something, in a tenth of its time at least."""
    level = np.percentile(clip, 90, axis=0)
    highest = np.flatnonzero(level > max(level.max() - DYNAMIC_DB, FLOOR_DB))[-1:] + 1
    low, high = hz_to_mel([front_end.fmin, front_end.fmax])
    return float(mel_to_hz(low + (high - low) * highest.sum() / front_end.n_mels))


def _refuse_narrow(windows: Sequence[Window], info: ModelInfo) -> None:
    """What was recorded at a low rate has nothing in the upper bands, and says nothing about their ranges."""
    highest_hz, fmax = float(np.median([window.highest_hz for window in windows])), info.front_end.fmax
    if highest_hz < fmax / 2:
        raise HtsatEdgeError(
            f"--clips: half of the clips hold nothing above {highest_hz / 1000:.1f} kHz, but the model listens up to "
            f"{fmax / 1000:g} kHz; give recordings as the microphone will make them"
        )


def _spread(windows: Sequence[Window], count: int, rng: np.random.Generator) -> list[Window]:
    ordered = sorted(windows, key=lambda window: (window.activity, window.sha256))
    given: Counter[Path] = Counter()
    chosen = []
    for part in np.array_split(np.arange(len(ordered)), count):
        paths = {i: ordered[i].path for i in rng.permutation(part).tolist()}
        pick = min(paths, key=lambda i: (given[paths[i].parent], given[paths[i]]))
        given.update([paths[pick], paths[pick].parent])
        chosen.append(ordered[pick])
    return chosen


def _load(windows: Sequence[Window], info: ModelInfo) -> FloatArray:
    """Read the chosen clips again: the whole material would not fit in memory."""
    log_mels: dict[Window, FloatArray] = {}
    for path in with_progress(sorted({window.path for window in windows}), "reading clips"):
        wanted = {window.number: window for window in windows if window.path == path}
        for number, clip in enumerate(clips_of(AudioFile(path), info)):
            if number in wanted:
                log_mels[wanted[number]] = clip
            if number == max(wanted):
                break
    return np.stack([log_mels[window] for window in windows])
