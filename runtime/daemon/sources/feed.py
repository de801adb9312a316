"""A feed: one channel of a source, on its way from the thread that records to the one that detects."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.daemon.clock import MOST_SLOPE, SourceClock
from htsat_edge.runtime.daemon.messages import SourceBack, SourceFailed, SourceLost
from htsat_edge.runtime.daemon.sources.pace import Pace
from htsat_edge.runtime.daemon.sources.ring import RingBuffer
from htsat_edge.runtime.daemon.sources.sieve import INVALID, Sieve
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap

RING_S = 10.0
"""How far detection may be behind before samples are lost."""
INVALID_S = 3.0
"""Of such samples, after which a source counts as lost."""
logger = logging.getLogger(__name__)
SourceChange = type[SourceLost] | type[SourceBack] | type[SourceFailed]


class Notice(NamedTuple):
    """Something has happened to a source."""

    state: SourceChange
    text: str


class Feed:
    """One channel of a source. One thread writes it, another reads it."""

    def __init__(self, name: str, news: threading.Event, live: bool) -> None:
        """Prepare a feed; `news` is set when there is something to read, `live` sources are heard as they sound."""
        self.name, self.live = name, live
        self.device = ""
        """What the system calls what it comes from, once that is known."""
        self.clock = SourceClock()
        self._news = news
        self._rings: deque[RingBuffer] = deque()
        """One for each sample rate, in turn."""
        self._notices: deque[Notice] = deque()
        self._pace: Pace | None = None
        self._sieve: Sieve | None = None
        self._invalid = False
        self._rate_counts = live
        """Whether it is to be said that samples come faster or slower than they should."""
        self._ended = False
        self.waits = False
        """Whether the writer waits for room, so that nothing is lost however far detection is behind."""
        self.lost = False
        """Whether nothing comes from the source at present."""
        self.failed = False
        """Whether the source has failed for good."""

    # For the thread that writes

    def open(self, sample_rate: int, lost_s: float = 0.0, reason: str = "") -> None:
        """Announce samples at `sample_rate` Hz; `lost_s` seconds were lost since the last one, if there was any."""
        self._flush()
        last = self._rings[-1] if self._rings else None
        base_s = 0.0
        if last is not None:
            last.skip(round(lost_s * last.sample_rate), reason)
            if last.sample_rate == sample_rate:
                return
            base_s = last.end_s
        self._rings.append(RingBuffer(round(RING_S * sample_rate), sample_rate, self._news, base_s))
        self._pace, self._sieve = Pace(sample_rate), Sieve(sample_rate)

    def arrive(self, samples: FloatArray) -> None:
        """Add samples (S,) of a live source that does not count what it loses, just when they come."""
        assert self._pace is not None
        self._put(self._pace.push(time.monotonic(), samples))

    def write(self, samples: FloatArray) -> None:
        """Add samples (S,). Those that are no numbers, or far beyond full scale, are lost."""
        assert self._sieve is not None
        self._sift(self._sieve.push(samples))
        if self._invalid and not self._sieve.lost:
            self._invalid = False
            self.report_back("the sound")
        elif self._sieve.lost > INVALID_S * self._rings[-1].sample_rate:
            self.report_lost(f"it gives {INVALID}; it is heard again when it gives others")
            self._invalid = True

    def skip(self, lost_s: float, reason: str) -> None:
        """Record that `lost_s` seconds were lost before the next sample."""
        self._flush()
        self._lose(lost_s, reason)

    def wait_for_room(self, stop: threading.Event) -> None:
        """Wait until half of the ring is free, so that a writer that can wait loses nothing."""
        self.waits = True
        ring = self._rings[-1]
        if ring.waiting_s <= RING_S / 2:
            return
        self._rate_counts = False  # samples come as fast as they are read
        while ring.waiting_s > RING_S / 2 and not stop.is_set():
            stop.wait(0.002)
        if self._pace is not None:
            self._put(self._pace.reset())

    def report_lost(self, reason: str) -> None:
        """Report that nothing comes from the source, once until it is back."""
        if not self.lost:
            self.lost = True
            self._notify(SourceLost, reason)

    def report_back(self, what: str) -> None:
        """Report that the source is back, where it was reported lost; `what` is such as "the microphone"."""
        if self.lost and not self._invalid:
            self.lost = False
            self._notify(SourceBack, f"{what} is back")

    def report_failed(self, reason: str) -> None:
        """Report, and log, that the source has failed for good."""
        self.failed = True
        logger.warning("%s: %s", self.name, reason)
        self.report_ended(reason)

    def report_ended(self, reason: str) -> None:
        """Report that a source which might have gone on for ever gives nothing more."""
        self.lost = True
        self._notify(SourceFailed, reason)

    def end(self) -> None:
        """Record that nothing more comes."""
        self._flush()
        self._ended = True
        self._news.set()

    # For the thread that reads

    def notices(self) -> Iterator[Notice]:
        """Yield what was reported since the last time."""
        while self._notices:
            yield self._notices.popleft()

    def read(self) -> AudioBlock | Gap | None:
        """Return what comes next, at most a second of it; None where there is nothing yet."""
        while self._rings:
            ring, last = self._rings[0], len(self._rings) == 1
            item = ring.read(ring.sample_rate)
            if item is None:
                if last:  # as it was before the ring was read: another may have been begun meanwhile
                    return None
                self._rings.popleft()
                continue
            if self.live and isinstance(item, AudioBlock):
                self.clock.observe(item.end_s, time.monotonic() - ring.waiting_s)
                self._look_at_rate(ring.sample_rate)
            return item
        return None

    @property
    def behind_s(self) -> float:
        """Seconds of audio that wait to be read."""
        return sum(ring.waiting_s for ring in list(self._rings))

    @property
    def ended(self) -> bool:
        """Whether all was read and nothing more comes."""
        return self._ended and not self._notices and all(ring.idle for ring in self._rings)

    def _look_at_rate(self, declared: int) -> None:
        """Log, once, that samples come at another rate than was declared."""
        drift = self.clock.drift_ppm / 1e6
        if self._rate_counts and abs(drift) > MOST_SLOPE:
            self._rate_counts = False
            text = "%s: gives %.0f samples a second, but %d are declared: is its sample rate right?"
            logger.warning(text, self.name, declared / (1 + drift), declared)

    def _put(self, parts: Iterable[FloatArray | float]) -> None:
        """Write what has come, and record what is missing."""
        for part in parts:
            if isinstance(part, float):
                self._lose(part, "the source was interrupted")
            else:
                self.write(part)

    def _sift(self, parts: Iterable[FloatArray | int]) -> None:
        for part in parts:
            if isinstance(part, int):
                self._rings[-1].skip(part, INVALID)
            else:
                self._rings[-1].write(part)

    def _flush(self) -> None:
        """Write what is held back, before what follows that is not joined to it."""
        if self._pace is not None and self._sieve is not None:
            self._put(self._pace.flush())
            self._sift(self._sieve.flush())

    def _lose(self, lost_s: float, reason: str) -> None:
        assert self._sieve is not None
        self._sift(self._sieve.flush())
        ring = self._rings[-1]
        ring.skip(round(lost_s * ring.sample_rate), reason)

    def _notify(self, state: SourceChange, text: str) -> None:
        self._notices.append(Notice(state, text))
        self._news.set()


class Source(Protocol):
    """Fills feeds from its own thread until it is stopped."""

    feeds: list[Feed]

    def start(self) -> None:
        """Begin; raise an HtsatEdgeError where it can never work."""
        ...

    def stop(self) -> None:
        """End, and wait for that."""
        ...
