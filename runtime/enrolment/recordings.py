"""Take recordings for an enrolment: check each, and write it as the library keeps it, 16-bit FLAC at the model's rate.

A sound is learned from what is kept, so that learning it again from there gives the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.dsp.audio import SUFFIXES, AudioFile
from htsat_edge.runtime.dsp.level import deviation_dbfs
from htsat_edge.runtime.dsp.resampler import Resampler
from htsat_edge.runtime.models.sounds import Kind, kept_name

FEWEST, MOST = 3, 50
"""Recordings of a sound."""
SHORTEST_S = 0.1
LONGEST_S: Mapping[Kind, float] = {"positive": 30.0, "background": 600.0, "false_alarm": 60.0}
"""Of a recording. One of a sound holds the sound, and little else."""
MOST_OTHERS_S = 1800.0
"""Of all backgrounds, or false alarms, together: half an hour is 60 MB, and a minute of work for a small device."""
SILENT_DBFS = -70.0
"""The loudest tenth of a second of a recording of a sound is above this."""
FULL_SCALE = 32768
READ_S = 10.0


class TakenRecording(NamedTuple):
    """A recording as it is kept."""

    path: Path
    sha256: str
    """Of its 16-bit samples."""
    seconds: float
    kind: Kind


def take_recordings(
    sample_rate: int,
    folder: Path,
    recordings: Sequence[Path],
    backgrounds: Sequence[Path] = (),
    false_alarms: Sequence[Path] = (),
) -> list[TakenRecording]:
    """Check recordings, and write them into a folder at the model's `sample_rate` in Hz.

    Parameters
    ----------
    sample_rate, folder
        Of what is written, and where it is written to.
    recordings
        Of the sound; files, or folders of them, 3 to 50 recordings in all.
    backgrounds
        Files, or folders of them, of what else is heard there; half an hour at most counts.
    false_alarms
        Files of what was wrongly taken for the sound; as many.

    Raises
    ------
    HtsatEdgeError
        One of them cannot be used; the message names it and says why.
    """
    recordings = _files_in(recordings)
    check_count(len(recordings))
    taken, seen = list[TakenRecording](), dict[str, Path]()
    for path in recordings:
        one = take_recording(path, "positive", sample_rate, folder)
        if one.sha256 in seen:
            raise HtsatEdgeError(f"{path}: is the same recording as {seen[one.sha256]}; give each once")
        seen[one.sha256] = path
        taken.append(one)
    return take_more(sample_rate, folder, taken, backgrounds, false_alarms)


def check_count(count: int) -> None:
    """Raise an HtsatEdgeError where a sound cannot be learned from so many recordings."""
    if not FEWEST <= count <= MOST:
        raise HtsatEdgeError(
            f"{count} recording{'s' * (count != 1)} of the sound: want {FEWEST} to {MOST}, made where the device stands"
        )


def take_more(
    sample_rate: int,
    folder: Path,
    there: Sequence[TakenRecording],
    backgrounds: Sequence[Path] = (),
    false_alarms: Sequence[Path] = (),
) -> list[TakenRecording]:
    """Add backgrounds and false alarms to recordings that were taken, up to half an hour of each; else as above.

    Those that are there already are left out.
    """
    taken = {one.sha256: one for one in there}
    kinds: list[tuple[Kind, Sequence[Path]]] = [("background", _files_in(backgrounds)), ("false_alarm", false_alarms)]
    for kind, paths in kinds:
        total = sum(one.seconds for one in there if one.kind == kind)
        for path in paths:
            one = take_recording(path, kind, sample_rate, folder)
            if one.sha256 not in taken and total + one.seconds <= MOST_OTHERS_S:
                taken[one.sha256] = one
                total += one.seconds
    return [*taken.values()]


def hash_recording(path: Path) -> str:
    """Return the hash of the samples of a recording that is kept; raise an HtsatEdgeError where it is damaged."""
    try:
        samples, _ = soundfile.read(path, dtype="int16")
    except (OSError, soundfile.SoundFileError) as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    return _hash(samples)


def take_recording(path: Path, kind: Kind, sample_rate: int, folder: Path) -> TakenRecording:
    """Check a recording, and write it into a folder at a rate in Hz; raise an HtsatEdgeError where it is of no use."""
    samples = read_samples(path, sample_rate, LONGEST_S[kind])
    if len(samples) < SHORTEST_S * sample_rate:
        raise HtsatEdgeError(f"{path}: is {len(samples) / sample_rate:.2f} s long, want {SHORTEST_S:g} s or more")
    if kind == "positive" and _loudest_dbfs(samples, sample_rate) < SILENT_DBFS:
        raise HtsatEdgeError(f"{path}: is silent: nothing in it is louder than {SILENT_DBFS:g} dBFS")
    scaled = np.round(samples / max(1.0, float(np.abs(samples).max())) * FULL_SCALE)
    whole = np.minimum(scaled, FULL_SCALE - 1).astype(np.int16)
    sha256 = _hash(whole)
    kept = folder / kept_name(kind, sha256)
    soundfile.write(kept, whole, sample_rate, "PCM_16")
    return TakenRecording(kept, sha256, round(len(whole) / sample_rate, 3), kind)


def read_samples(path: Path, sample_rate: int, longest_s: float) -> FloatArray:
    """Return a recording (S,), mixed, at a rate in Hz; raise an HtsatEdgeError where it is too long or unreadable."""
    file = AudioFile(path)
    resampler, parts, seconds = Resampler(file.sample_rate, sample_rate), list[FloatArray](), 0.0
    for block in file.blocks(round(READ_S * file.sample_rate)):
        seconds += len(block) / file.sample_rate
        if seconds > longest_s:
            raise HtsatEdgeError(f"{visible(str(path))}: is longer than {longest_s:g} s; cut it to what matters")
        parts.append(resampler.push(block))
    return np.concatenate([*parts, resampler.flush()])


def _files_in(paths: Iterable[Path]) -> list[Path]:
    """Return files, and of folders the recordings in them, in order."""
    found = list[Path]()
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
            if not inside:
                raise HtsatEdgeError(f"{path}: there is no recording in this folder")
            found += inside
        else:
            found.append(path)
    return found


def _loudest_dbfs(samples: FloatArray, sample_rate: int) -> float:
    """Return the level of the loudest tenth of a second."""
    length = round(SHORTEST_S * sample_rate)
    whole = samples[: len(samples) // length * length].reshape(-1, length)
    return max(map(deviation_dbfs, whole))


def _hash(samples: npt.NDArray[np.int16]) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples, "<i2").tobytes()).hexdigest()
