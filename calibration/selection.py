"""Choose the windows that a model is calibrated on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from htsat_edge.evaluation.datasets.checking import UNDECODABLE, refuse_many
from htsat_edge.evaluation.windows import find_recordings, is_silent, windows_of
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.log_mel import FrontEnd, band_to_hz
from htsat_edge.runtime.models.bundle import ModelInfo

FLOOR_DB = -95.0
"""Just above the floor of a log-mel, which is -100 dB."""
DYNAMIC_DB = 80.0
"""A band that is always further below the loudest one is empty: a low sample rate, or a codec, has cut it off."""
HELD = 4
"""One recording of so many is held back to measure on."""
FEWEST = 8
"""Windows: with fewer, the ranges are those of one or two recordings."""


@dataclass(frozen=True)
class MaterialWindow:
    """A window of the material, by its place."""

    path: Path
    number: int
    """Its place among the windows of the recording."""
    sha256: str
    """Hash of its log-mel, rounded to the nearest dB: copies of a recording have the same."""
    activity: float
    """How much happens: the standard deviation of its level over time, in dB."""
    highest_hz: float
    """The upper end of its spectrum."""


def draw(
    paths: Sequence[Path],
    info: ModelInfo,
    count: int,
    seed: int,
    layout: str | None = None,
    fold: int | None = None,
) -> tuple[list[MaterialWindow], FloatArray]:
    """Choose windows over the whole material, from the quietest to the liveliest.

    All windows are ordered by activity and cut into `count` parts. Each part gives one window, from the folder, and
    in it from the recording, that has given the fewest so far: neither silence nor one long recording nor one class
    prevails. Copies and silent windows are left out.

    Parameters
    ----------
    paths
        Recordings, folders, manifests and data sets, as `find_recordings` takes them.
    info
        The model, which says what a window is.
    count
        How many windows to choose; all, where there are fewer.
    seed
        Seed of the choice.
    layout, fold
        As `find_recordings` takes them.

    Returns
    -------
    The windows, and their log-mels (N, T, F) in dB.

    Raises
    ------
    HtsatEdgeError
        There are fewer than 8 windows, or half of them are empty in the upper half of the band.
    """
    if count < FEWEST:
        raise HtsatEdgeError(f"--count {count}: want at least {FEWEST} windows")
    recordings = find_recordings(paths, layout, fold)
    known, silent = _survey(recordings, info)
    if len(known) < FEWEST:
        reason = f", and {silent} silent ones" if silent else ""
        raise HtsatEdgeError(
            f"--clips: {len(recordings)} recordings hold {len(known)} different windows of "
            f"{info.steps * info.step_s:g} s{reason}; want at least {FEWEST}"
        )
    _refuse_narrow(known, info)
    chosen = _spread(known, min(count, len(known)), np.random.default_rng(seed))
    return chosen, _load(chosen, info)


def split(windows: Sequence[MaterialWindow]) -> tuple[list[int], list[int]]:
    """Return the numbers of the windows to calibrate on, and of those to measure on: of every fourth recording.

    Where there are fewer than four recordings, every fourth window is measured on.
    """
    recordings = list(dict.fromkeys(window.path for window in windows))
    held_recordings = set(recordings[HELD - 1 :: HELD])
    held = [i for i, window in enumerate(windows) if window.path in held_recordings]
    if not held:
        held = list(range(len(windows))[HELD - 1 :: HELD])
    return [i for i in range(len(windows)) if i not in held], held


def _survey(recordings: Sequence[Path], info: ModelInfo) -> tuple[list[MaterialWindow], int]:
    """Return every different window, and the number of silent ones."""
    known: dict[str, MaterialWindow] = {}
    silent = 0
    damaged: list[str] = []
    for path in with_progress(recordings, "looking for windows"):
        try:
            own = list(_windows_in(path, info))
        except HtsatEdgeError as error:
            damaged.append(str(error))
            continue
        silent += own.count(None)
        for window in own:
            if window is not None:
                known.setdefault(window.sha256, window)
    if damaged:
        refuse_many(len(damaged), len(recordings), f"are {UNDECODABLE}", damaged[0])
        print(f"left out: {len(damaged)} of {len(recordings)} recordings: {UNDECODABLE}, the first: {damaged[0]}")
    return list(known.values()), silent


def _windows_in(path: Path, info: ModelInfo) -> Iterator[MaterialWindow | None]:
    """Yield the windows of a recording; None for a silent one."""
    file = AudioFile(path)
    for number, window in enumerate(windows_of(file, info)):
        if is_silent(window):
            yield None
            continue
        sha256 = hashlib.sha256(np.round(window).astype(np.int16).tobytes()).hexdigest()
        activity = float(window.mean(axis=1).std())
        highest_hz = min(file.sample_rate / 2, upper_end_hz(window, info.front_end))
        yield MaterialWindow(path, number, sha256, activity, highest_hz)


def upper_end_hz(window: FloatArray, front_end: FrontEnd) -> float:
    """Return the frequency up to which a window (T, F) holds something in at least a tenth of its time."""
    level = np.percentile(window, 90, axis=0)
    highest = np.flatnonzero(level > max(level.max() - DYNAMIC_DB, FLOOR_DB))[-1:] + 1
    return min(band_to_hz(front_end, int(highest.sum())), front_end.highest_hz)


def _refuse_narrow(windows: Sequence[MaterialWindow], info: ModelInfo) -> None:
    """Raise an HtsatEdgeError for material at a low sample rate: it says nothing about the ranges of upper bands."""
    highest_hz, used_hz = float(np.median([window.highest_hz for window in windows])), info.front_end.highest_hz
    if highest_hz < used_hz / 2:
        raise HtsatEdgeError(
            f"--clips: half of the windows hold nothing above {highest_hz / 1000:.1f} kHz, but the model uses up to "
            f"{used_hz / 1000:.3g} kHz; give recordings as the microphone will make them"
        )


def _spread(windows: Sequence[MaterialWindow], count: int, rng: np.random.Generator) -> list[MaterialWindow]:
    ordered = sorted(windows, key=lambda window: (window.activity, window.sha256))
    given: Counter[Path] = Counter()
    chosen = []
    for part in np.array_split(np.arange(len(ordered)), count):
        paths = {i: ordered[i].path for i in rng.permutation(part).tolist()}
        pick = min(paths, key=lambda i: (given[paths[i].parent], given[paths[i]]))
        given.update([paths[pick], paths[pick].parent])
        chosen.append(ordered[pick])
    return chosen


def _load(windows: Sequence[MaterialWindow], info: ModelInfo) -> FloatArray:
    """Read the chosen windows again: the whole material would not fit in memory."""
    log_mels: dict[MaterialWindow, FloatArray] = {}
    for path in with_progress(sorted({window.path for window in windows}), "reading windows"):
        wanted = {window.number: window for window in windows if window.path == path}
        for number, log_mel in enumerate(windows_of(AudioFile(path), info)):
            if number in wanted:
                log_mels[wanted[number]] = log_mel
            if number == max(wanted):
                break
    return np.stack([log_mels[window] for window in windows])
