"""Record a sound some times from the microphone, each time until it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import MicrophoneConfig
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.daemon.sources.microphone import MicrophoneSource, load_portaudio, look_up
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.level import deviation_dbfs

FRAME_S = 0.02
SETTLE_FRAMES = 20
"""Heard first, to know how loud it is without the sound."""
ONSET_DB, FLOOR_DBFS = 10.0, -65.0
"""A sound begins where it is so much louder than before, and above this."""
QUIET_DB, QUIET_S = 5.0, 0.8
"""It is over where it is no louder than that above what was before, for so long."""
AROUND_S = 0.3
"""Kept before and after it."""
MOST_S = 5.0
"""Of a sound."""
PATIENCE_S = 30.0
"""For a sound to begin."""
STALL_S = 5.0
"""A microphone that gives nothing for so long gives nothing at all."""


class TakeCutter:
    """Finds one sound in a stream: push samples until it is `done`, then take `samples`."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate, self._frame = sample_rate, round(FRAME_S * sample_rate)
        self._samples: FloatArray = np.empty(0, np.float32)
        self._levels: list[float] = []
        self._onset: int | None = None
        """The frame in which the sound begins."""
        self._last = 0
        """The last frame that was loud."""
        self.done = False

    @property
    def settled(self) -> bool:
        """Whether it is known how loud it is without the sound."""
        return len(self._levels) > SETTLE_FRAMES

    @property
    def begun(self) -> bool:
        """Whether there is a sound."""
        return self._onset is not None

    def push(self, samples: FloatArray) -> None:
        """Take the next samples (S,)."""
        self._samples = np.concatenate([self._samples, samples])
        while not self.done and (len(self._levels) + 1) * self._frame <= len(self._samples):
            at = len(self._levels) * self._frame
            self._levels.append(deviation_dbfs(self._samples[at : at + self._frame]))
            self._decide(len(self._levels) - 1)

    @property
    def samples(self) -> FloatArray:
        """The sound (S,), with what is around it."""
        assert self._onset is not None
        around = round(AROUND_S / FRAME_S)
        begin, end = max(0, self._onset - around), self._last + 1 + around
        return self._samples[begin * self._frame : end * self._frame]

    def _decide(self, frame: int) -> None:
        if frame < SETTLE_FRAMES:
            return
        level = self._levels[frame]
        if self._onset is None:
            self._before = float(np.median(self._levels[:frame]))
            if level > max(self._before + ONSET_DB, FLOOR_DBFS):
                self._onset = self._last = frame
            return
        if level > self._before + QUIET_DB:
            self._last = frame
        self.done = (frame - self._last) * FRAME_S >= QUIET_S or (frame - self._onset) * FRAME_S >= MOST_S


def record_takes(settings: MicrophoneConfig, count: int, folder: Path, report: Callable[[str], None]) -> list[Path]:
    """Record a sound so many times into wav files in a folder; return these.

    Parameters
    ----------
    settings
        Which microphone.
    count, folder
        How many recordings, and where to.
    report
        Shows a line to whoever makes the sound.

    Raises
    ------
    HtsatEdgeError
        There is no microphone, it cannot be opened, or nothing is heard.
    """
    look_up(load_portaudio(), settings)
    if settings.channel == "each":
        settings = settings.model_copy(update={"channel": "mix"})
    news = threading.Event()
    feed = Feed("microphone", news, live=True)
    source = MicrophoneSource(settings, [feed])
    source.start()
    files, blocks = list[Path](), _blocks(feed, news)
    try:
        for number in range(1, count + 1):
            samples, rate = _record(blocks, partial(report, f"make the sound now … {number} of {count}"))
            files.append(folder / f"take-{number:02}.wav")
            soundfile.write(files[-1], samples, rate, "PCM_24")
            peak_dbfs = 20 * np.log10(float(np.abs(samples).max()))
            report(f"  heard {len(samples) / rate:.1f} s, {peak_dbfs:.0f} dBFS at its peak")
    finally:
        source.stop()
    return files


def _record(blocks: Iterator[AudioBlock | Gap], prompt: Callable[[], None]) -> tuple[FloatArray, int]:
    """Return one sound (S,) and its sample rate; begin anew, with a prompt, where samples were lost."""
    cutter: TakeCutter | None = None
    waited_s, prompted = 0.0, False
    for block in blocks:
        if isinstance(block, Gap):
            cutter = None
            continue
        if cutter is None or cutter.sample_rate != block.sample_rate:
            cutter, prompted = TakeCutter(block.sample_rate), False
        cutter.push(block.samples)
        waited_s += len(block.samples) / block.sample_rate
        if not prompted and cutter.settled:
            prompted = True
            prompt()
        if cutter.done:
            return cutter.samples, cutter.sample_rate
        if not cutter.begun and waited_s > PATIENCE_S:
            break
    raise HtsatEdgeError(f"nothing was heard for {PATIENCE_S:g} s; `htsat-edge devices` shows how loud microphones are")


def _blocks(feed: Feed, news: threading.Event) -> Iterator[AudioBlock | Gap]:
    """Yield what the microphone gives; raise where it gives nothing."""
    last = time.monotonic()
    while time.monotonic() - last < STALL_S:
        news.wait(0.1)
        news.clear()
        for notice in feed.notices():
            raise HtsatEdgeError(
                f"{notice.text.partition(';')[0]}; if `listen` uses it, take its events: --events ID …"
            )
        while (item := feed.read()) is not None:
            last = time.monotonic()
            yield item
    raise HtsatEdgeError(f"the microphone has given nothing for {STALL_S:g} s")
