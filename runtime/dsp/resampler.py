"""Change the sample rate of a stream."""

from __future__ import annotations

import numpy as np
import soxr

from htsat_edge.runtime.common.arrays import FloatArray


class Resampler:
    """A stream (S,) at another sample rate; the output does not depend on how the input was chunked."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        """Convert from `rate_in` to `rate_out`, in Hz."""
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32") if rate_in != rate_out else None

    def push(self, samples: FloatArray) -> FloatArray:
        """Take samples (S,); return those at the new rate that are ready."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> FloatArray:
        """End the recording; return the samples that are left."""
        none = np.empty(0, np.float32)
        return none if self._stream is None else self._stream.resample_chunk(none, last=True)

    def reset(self) -> None:
        """Begin a new recording."""
        if self._stream is not None:
            self._stream.clear()
