"""Cut recordings into the windows that the runtime would give to a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from htsat_edge.evaluation.manifest import read_manifest
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import WindowStream
from htsat_edge.runtime.dsp.audio import SUFFIXES, AudioFile
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

BLOCK_S = 10.0
"""Read from a recording at a time."""
SILENT_DB = -65.0
"""A window whose loudest frame and band is below this holds no more than the last bits of a converter."""


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """Return the recordings among `paths`, in folders among them at any depth, and in manifests, each once.

    Rows of a manifest with a `split` other than train are left out: calibration/accuracy.py measures on them.

    Raises
    ------
    HtsatEdgeError
        There is no recording, or a manifest cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        if path.suffix.lower() == ".csv":
            found += [row.path for row in read_manifest(path) if not row.held_back]
        elif path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            found.append(path)
    if not found:
        raise HtsatEdgeError(f"--clips: no recording in {', '.join(map(str, paths))}")
    return list(dict.fromkeys(found))


def windows_of(file: AudioFile, info: ModelInfo) -> Iterator[FloatArray]:
    """Yield the windows (T, F) in dB of a recording, one after the other without overlap; none if it is too short."""
    stream = WindowStream(info, file.sample_rate, Settings(hop_s=info.steps * info.step_s))
    for block in file.blocks(round(BLOCK_S * file.sample_rate)):
        for window in stream.push(block):
            yield window.log_mel
    try:
        rest = stream.flush()
    except HtsatEdgeError:  # too short for a single frame
        return
    for window in rest:
        yield window.log_mel


def is_silent(window: FloatArray) -> bool:
    """Return whether a window (T, F) in dB holds no more than the last bits of a converter."""
    return bool(window.max() < SILENT_DB)
