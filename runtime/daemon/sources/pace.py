"""Tell a live source that was interrupted, and lost what sounded meanwhile, from one that catches up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from htsat_edge.runtime.common.arrays import FloatArray

WINDOW_S = 3.0
"""How long lateness is watched."""
SURE_S = 0.25
"""Lateness that scheduling and networks do not explain, if it lasts for a window."""
FLAT_S = 0.03
"""How much lateness changes from one half of a window to the other where samples come in real time."""
HOLD_S = 6.0
"""Samples are held for so long at most until it is known what became of those before."""


class Pace:
    """Watches how late the samples of a live source are, one second of which comes a second.

    After an interruption samples are late. Where they had been kept somewhere, they come faster until none is late any
    more. Where they come in real time and stay late, those that are missing were lost. Until that is known, samples are
    held: what was lost lies before them.
    """

    def __init__(self, sample_rate: int) -> None:
        """Prepare for samples at `sample_rate` Hz."""
        self._rate = sample_rate
        self._received = 0
        self._late: deque[tuple[float, float]] = deque()
        """When samples came, and how late they were, in seconds."""
        self._usual: float | None = None
        """How late they were before an interruption; None while there is none."""
        self._held: list[FloatArray] = []
        self._held_from_s: float | None = None

    def push(self, now_s: float, samples: FloatArray) -> Iterator[FloatArray | float]:
        """Take samples (S,) that have come just now; yield those that are to be written, and between, seconds lost."""
        self._received += len(samples)
        late = now_s - self._received / self._rate
        if self._usual is None:
            usual = self._flat_level()
            if usual is None or late - usual <= SURE_S:
                self._note(now_s, late)
                yield samples
                return
            self._usual, self._held_from_s = usual, now_s
            self._late.clear()
        self._note(now_s, late)
        self._held.append(samples)
        yield from self._decide(now_s, late)

    def reset(self) -> Iterator[FloatArray]:
        """Begin anew, where the source had to wait for its reader: its samples are late then. Yield what is held."""
        yield from self._release()
        self._usual = None
        self._late.clear()

    def flush(self) -> Iterator[FloatArray | float]:
        """Begin anew where the source ends; yield what is held, and what was lost before it."""
        if self._held and self._usual is not None:
            yield from self._lose(min(late for _, late in self._late) - self._usual)
        yield from self.reset()

    def _note(self, now_s: float, late: float) -> None:
        self._late.append((now_s, late))
        while self._late[0][0] < now_s - WINDOW_S:
            self._late.popleft()

    def _decide(self, now_s: float, late: float) -> Iterator[FloatArray | float]:
        """Yield what is held as soon as it is known whether anything was lost before."""
        assert self._usual is not None
        if late - self._usual <= SURE_S:  # it has caught up
            yield from self._release()
            self._usual = None
        elif (level := self._flat_level()) is not None:
            yield from self._lose(level - self._usual)
        elif self._held_from_s is not None:
            waited_s, held_s = now_s - self._held_from_s, sum(map(len, self._held)) / self._rate
            if held_s > waited_s + SURE_S + len(self._held[0]) / self._rate or waited_s > HOLD_S:
                yield from self._release()
        else:
            yield from self._release()

    def _lose(self, seconds: float) -> Iterator[FloatArray | float]:
        self._received += round(seconds * self._rate)
        yield seconds
        yield from self._release()
        self._usual = None
        self._late.clear()

    def _release(self) -> Iterator[FloatArray]:
        held, self._held, self._held_from_s = self._held, [], None
        yield from held

    def _flat_level(self) -> float | None:
        """Return how late samples are, where they have come in real time for a window; else None."""
        if not self._late:
            return None
        end_s = self._late[-1][0]
        if end_s - self._late[0][0] < 0.6 * WINDOW_S:
            return None
        halves: tuple[list[float], list[float]] = ([], [])
        for at_s, late in self._late:
            halves[at_s > end_s - WINDOW_S / 2].append(late)
        first, second = (min(half, default=float("inf")) for half in halves)
        return min(first, second) if abs(first - second) <= FLAT_S else None
