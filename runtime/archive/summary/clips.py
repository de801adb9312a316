"""Cut an event out of its recording, for a page: a picture of it, and a sound that browsers play."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from htsat_edge.runtime.archive.cluster.storage import local_copy
from htsat_edge.runtime.archive.journal import KeptEvent
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.common.urls import is_url
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.channels import Channel
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel
from htsat_edge.runtime.dsp.resampler import Resampler

BEFORE_S = AFTER_S = 1.0
LONGEST_S = 8.0
"""Of a clip; of a longer event its beginning."""
BLOCK_S = 0.1
"""Read at a time: so much may be lost before the place where a recording breaks off."""
PEAK = 0.7
MOST_GAIN = 10 ** (30 / 20)
"""A quiet clip is made louder, up to the peak above."""
DYNAMIC_DB = 70
"""What is this far below the loudest is drawn black."""
FRAMES_A_PIXEL = 2


@dataclass(frozen=True)
class EventClip:
    """An event with what is around it."""

    begin_s: float
    """Seconds of the recording."""
    end_s: float
    sound: str
    """A data URI."""
    picture: str
    """A data URI of a PNG, mel bands from the bottom up; empty where none is wanted."""
    gain_db: float
    """By which the sound is louder than the recording."""

    @property
    def size(self) -> int:
        """Bytes in a page."""
        return len(self.sound) + len(self.picture)


def why_not_drawn() -> str:
    """Return why there are no pictures, in a line; nothing where there are."""
    try:
        with needing("A spectrogram", "matplotlib", 'pip install "htsat-edge[plot]"'):
            import matplotlib.image  # noqa: F401
    except HtsatEdgeError as error:
        return str(error)
    return ""


def cut(path: Path, event: KeptEvent, front_end: FrontEnd, draw: bool = True) -> EventClip:
    """Cut an event out of a recording.

    Parameters
    ----------
    path
        The recording.
    event
        In it.
    front_end
        What the model hears with; its sample rate is that of the clip.
    draw
        Whether a picture is wanted.

    Raises
    ------
    HtsatEdgeError
        It cannot be read, or is no longer that long.
    """
    begin_s = max(0.0, event.onset - BEFORE_S)
    end_s = min(event.offset + AFTER_S, begin_s + LONGEST_S)
    with _local(path) as local:
        samples = _read(local, event.channel or "mix", begin_s, end_s, front_end.sample_rate)
    log_mel = LogMel(front_end)
    if len(samples) < max(log_mel.min_samples, (event.onset - begin_s) * front_end.sample_rate):
        raise HtsatEdgeError("the recording has become shorter")
    peak = float(np.abs(samples).max())
    gain = min(MOST_GAIN, max(1.0, PEAK / max(peak, 1e-9)))
    return EventClip(
        begin_s,
        begin_s + len(samples) / front_end.sample_rate,
        _encode(np.clip(samples * np.float32(gain), -1, 1), front_end.sample_rate),
        _draw(log_mel(samples)) if draw else "",
        20 * float(np.log10(gain)),
    )


@contextmanager
def _local(path: Path) -> Iterator[Path]:
    """Yield where a recording can be read: that of a store is copied."""
    if not is_url(path):
        yield path
        return
    try:
        with local_copy(path) as local:
            yield local
    except HtsatEdgeError:
        raise
    except Exception as error:  # each library of fsspec has errors of its own
        raise HtsatEdgeError(f"{path}: cannot be read: {in_one_line(error)}") from None


def _read(path: Path, channel: Channel, begin_s: float, end_s: float, sample_rate: int) -> FloatArray:
    """Return a part of a recording (S,) at a sample rate; less where the recording ends before."""
    recording = AudioFile(path)
    first, end = (round(at * recording.sample_rate) for at in (begin_s, end_s))
    parts: list[FloatArray] = []
    try:
        for (samples,) in recording.split(round(BLOCK_S * recording.sample_rate), [channel], first):
            parts.append(samples)
            if sum(map(len, parts)) >= end - first:
                break
    except HtsatEdgeError:  # it may break off later
        if not parts:
            raise
    resampler = Resampler(recording.sample_rate, sample_rate)
    samples = np.concatenate([*parts, np.empty(0, np.float32)])[: end - first]
    return np.concatenate([resampler.push(samples), resampler.flush()])


def _encode(samples: FloatArray, sample_rate: int) -> str:
    """Return samples (S,) as a data URI."""
    kind = "audio/mpeg"
    with TemporaryDirectory() as folder:  # libsndfile would call Python for a stream, and Ctrl-C would be lost in it
        sound = Path(folder) / "sound"
        try:
            soundfile.write(sound, samples, sample_rate, format="MP3")
        except (soundfile.LibsndfileError, ValueError):  # libsndfile before 1.1, or a rate that MP3 does not have
            kind = "audio/flac"
            soundfile.write(sound, samples, sample_rate, format="FLAC", subtype="PCM_16")
        return _data_uri(kind, sound.read_bytes())


def _draw(log_mel: FloatArray) -> str:
    """Return a log-mel (T, F) as a picture, a data URI."""
    from matplotlib.image import imsave

    whole = log_mel[: len(log_mel) // FRAMES_A_PIXEL * FRAMES_A_PIXEL]
    pixels = whole.reshape(-1, FRAMES_A_PIXEL, log_mel.shape[1]).max(axis=1).T
    top, picture = float(pixels.max()), io.BytesIO()
    imsave(
        picture,
        pixels,
        format="png",
        cmap="magma",
        origin="lower",
        vmin=max(top - DYNAMIC_DB, float(pixels.min())),
        vmax=top + 1e-3,
        metadata={"Software": PROGRAM},
    )
    return _data_uri("image/png", picture.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
