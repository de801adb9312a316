"""What samples say of their recorder: how loud they are, whether they clip, stand still or were lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from htsat_edge.runtime.archive.records import Quality
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray

FULL_SCALE = 1 - 2.0**-15
"""That of 16 bits, which is the lowest. The daemon takes less for clipped (health.FULL_SCALE), since a sound card may
limit below full scale; in years of recordings peaks just below it are no fault."""
DROPOUT_S, SILENT_S = 0.01, 1.0
"""Without any change for so long: samples were lost; nothing was connected."""
POWER_STEP = 2.0**-20
"""The power of a second is a multiple of this, so that sums are exact in whatever order they are added."""


class QualityMeter:
    """Measures a span of a recording; the same for any chunking of it."""

    def __init__(self, sample_rate: int, first: int = 0, last: int | None = None) -> None:
        """Measure from the sample `first` that is pushed up to `last`; those before only say what is a change."""
        self._rate, self._early = sample_rate, first
        self._left = None if last is None else last - first
        self._pending: list[FloatArray] = []
        self._count = 0
        """Samples of a channel that are pending."""
        self._before: FloatArray | None = None
        """The last frame (1, channels) before those that are pending."""
        self._sums = Quality()
        self._still = 0
        """Samples without a change up to now."""
        self._still_first: int | None = None
        """The same at the first change; None before."""

    def push(self, frames: FloatArray) -> None:
        """Take frames (S, channels)."""
        if self._early:
            early, frames = frames[: self._early], frames[self._early :]
            self._early -= len(early)
            self._before = early[-1:].copy() if len(early) else self._before
        if self._left is not None:
            frames = frames[: self._left]
            self._left -= len(frames)
        while len(frames):
            part, frames = frames[: self._rate - self._count], frames[self._rate - self._count :]
            self._pending.append(part)
            self._count += len(part)
            if self._count == self._rate:
                self._measure()

    def finish(self) -> Quality:
        """Return the measure of all that was pushed."""
        if self._count:
            self._measure()
        first = self._still if self._still_first is None else self._still_first
        return replace(self._sums, still_first=first, still_last=self._still)

    def _measure(self) -> None:
        """Measure the next second, or what there is of it."""
        frames = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        self._pending, self._count = [], 0
        peak = float(max(frames.max(), -frames.min()))
        power = float(np.square(frames, dtype=np.float64).sum())
        silent, dropouts = self._find_runs(frames)
        part = Quality(
            samples=frames.size,
            power=round(power / POWER_STEP) * POWER_STEP,
            peak=peak,
            clipped=int(np.count_nonzero(np.abs(frames) >= FULL_SCALE)) if peak >= FULL_SCALE else 0,
            silent_s=silent,
            dropouts=dropouts,
        )
        self._sums = add([self._sums, part])

    def _find_runs(self, frames: FloatArray) -> tuple[float, int]:
        """Return seconds of silence and the number of drop-outs that end within frames (S, channels)."""
        change = find_changes(frames, self._before)
        self._before = frames[-1:].copy()
        if not change.any():
            self._still += len(change)
            return 0.0, 0
        first, last = int(change.argmax()), len(change) - 1 - int(change[::-1].argmax())
        runs = [self._still + first]
        if self._still_first is None:
            self._still_first, runs = runs[0], []
        self._still = len(change) - 1 - last
        within = change[first : last + 1]
        least = max(round(DROPOUT_S * self._rate) - 1, 1)
        if len(within) > least and not _changes_often(within, least):
            gaps = np.diff(np.flatnonzero(within)) - 1
            runs += gaps[gaps >= least].tolist()
        return judge_runs(runs, self._rate)


def find_changes(frames: FloatArray, before: FloatArray | None) -> BoolArray:
    """Return which frames (S, channels) differ from the one before, in any channel; the first of a recording does."""
    change: BoolArray = np.ones(len(frames), np.bool_)
    if before is not None:
        change[0] = (frames[0] != before[0]).any()
    change[1:] = frames[1:, 0] != frames[:-1, 0]
    for channel in range(1, frames.shape[1]):
        change[1:] |= frames[1:, channel] != frames[:-1, channel]
    return change


def _changes_often(change: BoolArray, least: int) -> bool:
    """Return whether it is plain that no run without a change is as long as `least`: it would hold a whole group."""
    group = max((least + 1) // 2, 1)
    count = len(change) // group
    return bool(change[: count * group].reshape(count, group).any(axis=1).all())


def judge_runs(runs: Iterable[int], sample_rate: int) -> tuple[float, int]:
    """Return seconds of silence and the number of drop-outs, by the lengths of runs of samples without a change."""
    seconds = [(run + 1) / sample_rate for run in runs if run > 0]  # with the sample that they repeat
    return sum(x for x in seconds if x >= SILENT_S), sum(DROPOUT_S <= x < SILENT_S for x in seconds)


def add(parts: Sequence[Quality]) -> Quality:
    """Return the sums of parts, without the runs at their borders."""
    return Quality(
        samples=sum(part.samples for part in parts),
        power=sum(part.power for part in parts),
        peak=max(part.peak for part in parts),
        clipped=sum(part.clipped for part in parts),
        silent_s=sum(part.silent_s for part in parts),
        dropouts=sum(part.dropouts for part in parts),
    )


def join(parts: Sequence[Quality], sample_rate: int, channels: int) -> Quality:
    """Return the quality of a recording from that of its spans; runs go on over their borders."""
    runs, still = list[int](), 0
    for part in parts:
        if part.still_first < part.samples // channels:
            runs.append(still + part.still_first)
            still = part.still_last
        else:
            still += part.still_first
    silent_s, dropouts = judge_runs([*runs, still], sample_rate)
    sums = add(parts)
    return replace(sums, silent_s=round(sums.silent_s + silent_s, 3), dropouts=sums.dropouts + dropouts)
