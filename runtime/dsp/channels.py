"""Make one channel of several: mix them unless that would lose what they hold, or choose one."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError

Channel = Literal["mix", "first", "loudest"] | int
"""All channels mixed, or one of them; a number counts from 1."""
BLOCK_S = 0.1
"""The spans of the source's own time after each of which the choice is made anew."""
MEMORY_S = 10.0
"""How long a span counts for the choice."""
CANCELLED, RESTORED = 0.25, 0.5
"""The power of the sum of channels in shares of the sum of their powers: 1 for unrelated channels, 2 for two that are
equal, 0 for two of opposite phase. They cancel each other below the first, and do so no longer above the second."""
SILENT, AUDIBLE = 1e-5, 1e-4
"""The power of a channel in shares of that of the loudest: below the first it is silent, above the second no longer."""
LOUDER = 4.0
"""By so much power another channel must be louder than the one that is used, before it is used in its place."""
logger = logging.getLogger(__name__)


def check_channel(channel: Channel, channels: int) -> None:
    """Raise an HtsatEdgeError, which names no source, where there is no such channel among so many."""
    if isinstance(channel, int) and not 1 <= channel <= channels:
        there = "only channel 1" if channels == 1 else f"channels 1 to {channels}"
        raise HtsatEdgeError(f"has {there}, but channel {channel} is asked for")


def channel_number(channel: Channel) -> int:
    """Return the channel that is always heard, from 1 on; 0 for what is made of all of them."""
    return 1 if channel == "first" else channel if isinstance(channel, int) else 0


class Downmix:
    """Frames of several channels in, one channel out; the same samples, to the bit, for any chunking.

    The mix is the mean of the channels. Those that are silent are left out: one microphone of six would come out at a
    sixth. Where channels cancel each other, as with a plug of opposite phase, the loudest is used in place of the mix.
    What has sounded decides about what comes; neither a block of silence nor one loud sound turns the choice around.
    """

    def __init__(
        self, channels: int, sample_rate: int, channel: Channel = "mix", name: str = "", wait: bool = False
    ) -> None:
        """Prepare for `channels` channels at `sample_rate` Hz.

        Parameters
        ----------
        channels, sample_rate
            Of the frames.
        channel
            What to make of them: the mix, the channel that is the loudest, or always the same one.
        name
            Of the source, for the log: what is not mixed is logged once.
        wait
            Hold the first 0.1 s back to choose for them, too: for recordings. By default all channels are mixed then.
        """
        self._name, self._channel = name, channel
        self._fixed = 0 if channels == 1 or channel == "first" else channel - 1 if isinstance(channel, int) else None
        self._block = max(1, round(BLOCK_S * sample_rate))
        self._parts: list[FloatArray] = []
        self._missing = self._block
        self._held = wait
        self._blocks = 0
        self._covariance = np.zeros((channels, channels))
        self._audible: BoolArray = np.ones(channels, np.bool_)
        self._cancelled = False
        self._loudest = 0
        self._logged: set[str] = set()

    def push(self, frames: FloatArray) -> FloatArray:
        """Take frames (S, channels); return samples (S,), fewer only while the first are held back."""
        if self._fixed is not None:
            return np.ascontiguousarray(frames[:, self._fixed])
        done: list[FloatArray] = [np.empty(0, np.float32)]
        while len(frames):
            part, frames = frames[: self._missing], frames[self._missing :]
            self._parts.append(part.copy())  # a sound card uses its buffer again
            self._missing -= len(part)
            if not self._held:
                done.append(self._mix(part))
            if self._missing == 0:
                done.append(self._finish())
        return np.concatenate(done)

    def flush(self) -> FloatArray:
        """End the recording; return the samples (S,) that are held back."""
        return self._finish() if self._held and self._parts else np.empty(0, np.float32)

    def _finish(self) -> FloatArray:
        """End a block: choose anew, and return what was held back of it."""
        block, held = np.concatenate(self._parts), self._held
        self._parts, self._missing, self._held = [], self._block, False
        self._choose(block)
        return self._mix(block) if held else np.empty(0, np.float32)

    def _mix(self, frames: FloatArray) -> FloatArray:
        if self._channel == "loudest" or self._cancelled:
            return frames[:, self._loudest]
        # numpy adds what lies side by side in an order of its own, and a selection of columns does not.
        used = frames if self._audible.all() else np.ascontiguousarray(frames[:, self._audible])
        with np.errstate(over="ignore", invalid="ignore"):  # whoever takes the samples looks for what is no number
            return np.asarray(used.mean(axis=1), np.float32)

    def _choose(self, block: FloatArray) -> None:
        """Let a block (S, channels) count for the choice, without its constant part."""
        if not np.isfinite(block).all():
            return
        centred = block.astype(np.float64) - block.mean(axis=0, dtype=np.float64)
        self._blocks += 1
        share = max(1 / self._blocks, BLOCK_S / MEMORY_S)
        self._covariance += share * (centred.T @ centred / len(block) - self._covariance)
        powers = self._covariance.diagonal()
        if not powers.any():
            return
        if powers.max() > LOUDER * powers[self._loudest] or self._blocks == 1:
            self._loudest = int(powers.argmax())
        self._audible = powers > powers.max() * np.where(self._audible, SILENT, AUDIBLE)
        used = self._covariance[np.ix_(self._audible, self._audible)]
        self._cancelled = bool(used.sum() < (RESTORED if self._cancelled else CANCELLED) * used.trace())
        if self._channel == "mix":
            self._log()

    def _log(self) -> None:
        """Log what is not mixed, once."""
        if self._cancelled and "cancelled" not in self._logged:
            self._logged.add("cancelled")
            logger.warning(
                "%s: its channels cancel each other when mixed; channel %d, the loudest, is used instead",
                self._name,
                self._loudest + 1,
            )
        if not self._audible.all() and "silent" not in self._logged:
            self._logged.add("silent")
            silent = ", ".join(str(number + 1) for number in np.flatnonzero(~self._audible))
            logger.warning("%s: is mixed without its silent channels: %s", self._name, silent)
