"""Log what happens again and again once, with a count, in place of a flood."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

PERIOD_S = 600.0


@dataclass
class Repeated:
    """Warnings of one kind."""

    until_s: float
    """Up to then, further ones are counted only."""
    text: str
    """Of the last one."""
    count: int = 0
    """Those that were not logged."""


class RepeatedWarnings:
    """Logs the first warning of each kind, and then one a period, with how many were left out."""

    def __init__(
        self, logger: logging.Logger, period_s: float = PERIOD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Log to `logger`, at most one warning of a kind in `period_s` seconds of `clock`."""
        self._logger, self._period_s, self._clock = logger, period_s, clock
        self._kinds: dict[str, Repeated] = {}

    def warn(self, kind: str, text: str) -> bool:
        """Log `text`, or count it; return whether it was logged. `kind` is what the limit applies to."""
        now, known = self._clock(), self._kinds.get(kind)
        if known is not None and now < known.until_s:
            known.count, known.text = known.count + 1, text
            return False
        left_out = "" if known is None or not known.count else f" ({known.count} more since the last one)"
        self._kinds[kind] = Repeated(now + self._period_s, text)
        self._logger.warning("%s%s", text, left_out)
        return True

    def forget(self, kind: str) -> None:
        """Have the next warning of a kind logged, as what was wrong has ended meanwhile."""
        self._kinds.pop(kind, None)

    def close(self) -> None:
        """Log how many of each kind were left out."""
        for known in list(self._kinds.values()):  # other threads may go on to warn
            if known.count:
                self._logger.warning("%s (%d more since the last one)", known.text, known.count)
        self._kinds.clear()
