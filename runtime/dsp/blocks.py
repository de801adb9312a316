"""What a source gives: blocks of samples, and gaps between them."""

from __future__ import annotations

from dataclasses import dataclass

from htsat_edge.runtime.common.arrays import FloatArray


@dataclass(frozen=True)
class AudioBlock:
    """Samples that follow each other."""

    start_s: float
    """Of the first sample: seconds since the source began, gaps included."""
    sample_rate: int
    """Hz."""
    samples: FloatArray
    """(S,), floats in [-1, 1]; the reader's to keep."""

    @property
    def end_s(self) -> float:
        """Seconds at which the last sample ends."""
        return self.start_s + len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Gap:
    """A span without samples, between what is not joined; the next block may have another sample rate."""

    start_s: float
    """Seconds since the source began."""
    end_s: float
    """Seconds; the same as `start_s` where nothing is known to be lost."""
    reason: str
