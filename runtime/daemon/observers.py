"""Who sees what goes by in a session, between samples and messages."""

from __future__ import annotations

from collections.abc import Callable

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.daemon.rules import RuleName
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.events import Event


class SessionObserver:
    """Sees what it wants of a source go by, in order; times are seconds since the source began.

    What comes is not to be changed: others see the same arrays.
    """

    def audio(self, block: AudioBlock) -> None:
        """Take the next samples."""

    def frames(self, start_s: float, frame_s: float, log_mel: FloatArray) -> None:
        """Take the next frames (T, F) in dB, one each `frame_s` seconds from `start_s` on."""

    def scores(self, start_s: float, step_s: float, scores: FloatArray) -> None:
        """Take the next final scores (n, C), of steps of `step_s` seconds from `start_s` on."""

    def newest(self, start_s: float, step_s: float, newest: Callable[[], FloatArray]) -> None:
        """Take what the windows say so far of the steps from `start_s` on, which are not final; after each window.

        `newest` returns their scores (n, C); whoever wants them calls it at once.
        """

    def event(self, event: Event) -> None:
        """Take the next event."""

    def left_out(self, event: Event, rule: RuleName) -> None:
        """Take the next start, or end, of an event that a rule does not let through."""

    def retuned(self, at_s: float) -> None:
        """Take note that the session's settings are others from `at_s` on, where the next final scores begin."""

    def interrupted(self, at_s: float) -> None:
        """Take note that what follows is not joined to what came before `at_s`."""

    def failed(self, reason: str) -> None:
        """Take note that one of the other calls has raised an exception; must not raise any."""
