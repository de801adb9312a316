"""What is listened to. Every source fills rings, and has a thread or a callback of its own that does it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.daemon.clock import SourceClock
from htsat_edge.runtime.daemon.sources.ring import Gap, RingBuffer

RING_S = 10.0
"""How far detection may be behind before samples are lost."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
"""Before a source is tried again, twice as long each time."""


@dataclass(frozen=True)
class Notice:
    """Something to be told of a source: it is lost, it is back."""

    state: str
    text: str


@dataclass(frozen=True)
class Piece:
    """Samples that follow each other."""

    start_s: float
    """Of the first sample, in seconds since the source began, those that were lost included."""
    sample_rate: int
    samples: FloatArray
    """(S,), the reader's to keep."""

    @property
    def end_s(self) -> float:
        """After the last sample."""
        return self.start_s + len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Lost:
    """A time of which there are no samples; what follows may have another sample rate."""

    start_s: float
    end_s: float
    reason: str


@dataclass(frozen=True)
class Span:
    """What was recorded at one sample rate."""

    ring: RingBuffer
    sample_rate: int
    base_s: float
    """Where it begins."""


class Feed:
    """One channel of a source. One thread writes it, another reads it."""

    def __init__(self, name: str, news: threading.Event, live: bool) -> None:
        """`news` is set when there is something to read; `live` sources are recorded as they are read."""
        self.name, self.live = name, live
        self.clock = SourceClock()
        self._news = news
        self._spans: deque[Span] = deque()
        self._notices: deque[Notice] = deque()
        self._ended = False
        self.lost = False
        """There is nothing to be heard at present."""

    # For the thread that writes

    def open(self, sample_rate: int, lost_s: float = 0.0, reason: str = "") -> None:
        """Samples of this rate follow; so many seconds were lost since the last, if there were any."""
        last = self._spans[-1] if self._spans else None
        if last is not None and last.sample_rate == sample_rate:
            last.ring.skip(round(lost_s * sample_rate), reason)
            return
        base_s = 0.0
        if last is not None:
            last.ring.skip(round(lost_s * last.sample_rate), reason)
            base_s = last.base_s + last.ring.position / last.sample_rate
        self._spans.append(Span(RingBuffer(round(RING_S * sample_rate), self._news), sample_rate, base_s))

    def write(self, samples: FloatArray) -> None:
        """Add samples (S,). Where some are no numbers, all of them are lost."""
        if np.isfinite(samples).all():
            self._spans[-1].ring.write(samples)
        else:
            self._spans[-1].ring.skip(len(samples), "samples that are no numbers")

    def skip(self, lost_s: float, reason: str) -> None:
        """So many seconds were lost before the next sample."""
        span = self._spans[-1]
        span.ring.skip(round(lost_s * span.sample_rate), reason)

    def wait_for_room(self, stop: threading.Event) -> None:
        """For writers that can wait, and then lose nothing."""
        span = self._spans[-1]
        while span.ring.waiting > RING_S / 2 * span.sample_rate and not stop.is_set():
            stop.wait(0.002)

    def opened(self, what: str) -> None:
        """It is heard: whoever was told that it is not, is told."""
        if self.lost:
            self.tell("back", f"the {what} is back")

    def tell(self, state: str, text: str) -> None:
        """Say something of the source; `lost` and `back` are what their names say."""
        self.lost = state == "lost" or (self.lost and state != "back")
        self._notices.append(Notice(state, text))
        self._news.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._news.set()

    # For the thread that reads

    def notices(self) -> Iterator[Notice]:
        """What was said since the last time."""
        while self._notices:
            yield self._notices.popleft()

    def read(self) -> Piece | Lost | None:
        """What comes next, at most a second of it; None where there is nothing yet."""
        while self._spans:
            span, last = self._spans[0], len(self._spans) == 1
            item = span.ring.read(span.sample_rate)
            if item is None:
                if last:  # as it was before the ring was read: another may have been begun meanwhile
                    return None
                self._spans.popleft()
                continue
            start_s = span.base_s + item.start / span.sample_rate
            if isinstance(item, Gap):
                return Lost(start_s, start_s + item.length / span.sample_rate, item.reason)
            piece = Piece(start_s, span.sample_rate, item.samples)
            if self.live:
                self.clock.observe(piece.end_s, time.monotonic() - span.ring.waiting / span.sample_rate)
            return piece
        return None

    @property
    def behind_s(self) -> float:
        """How much waits to be read."""
        return sum(span.ring.waiting / span.sample_rate for span in list(self._spans))

    @property
    def ended(self) -> bool:
        """All was read, and nothing more comes."""
        return self._ended and not self._notices and all(span.ring.idle for span in self._spans)


class Source(Protocol):
    """Fills feeds from its own thread until it is stopped."""

    feeds: list[Feed]

    def start(self) -> None:
        """Begin; an HtsatEdgeError where it can never be."""
        ...

    def stop(self) -> None:
        """End, and wait until that is so."""
        ...


class Backoff:
    """Pauses between tries, each twice as long as the last, for ever."""

    def __init__(self) -> None:
        self._pause_s = FIRST_PAUSE_S

    def reset(self) -> None:
        """It worked."""
        self._pause_s = FIRST_PAUSE_S

    def wait(self, stop: threading.Event) -> None:
        """Pause, unless it is time to stop."""
        stop.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def mix(frames: FloatArray, channel: int | None) -> FloatArray:
    """One channel (S,) of frames (S, channels): that of a number from 0 on, or the mean."""
    if channel is not None:
        return np.ascontiguousarray(frames[:, channel])
    return np.asarray(frames.mean(axis=1), np.float32)
