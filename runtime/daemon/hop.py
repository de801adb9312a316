"""The hop: how often the model runs. With `hop_s: auto` it is as short as the device can afford, for all live sources.

A hop that changes skips nothing: it changes only how far windows are apart that were not cut yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from htsat_edge.runtime.common.timing import time_calls
from htsat_edge.runtime.daemon.messages import HopChanged
from htsat_edge.runtime.daemon.scorer import MOST_WINDOWS, SILENCE_DB, Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import ModelInfo

RUNS = 5
MOST_S, SLOW_S = 20.0, 5.0
"""Windows of all sources are timed only where that takes no longer than the one; a first window that takes longer than
the other is timed no second time. The first of an engine takes 1 to 3 s."""
BUSY = 0.5
"""Share of the time that the model may need at the hop that is chosen; the rest is for other work, and for heat."""
TOO_BUSY, TOO_BUSY_S = 0.8, 5.0
"""The hop rises where the model needs more than this share for so many seconds."""
BEHIND_S, LATE_S = 4.0, 1.0
"""The hop rises where detection is so far behind for so long; samples are lost at 10 s (sources/feed.py).

What comes at once when a stream begins is scored in less.
"""
IDLE, IDLE_S = 0.4, 600.0
"""The hop falls where the model would have needed no more than this share at a shorter one for so many seconds."""
logger = logging.getLogger(__name__)


def time_window(backend: Backend, info: ModelInfo, sources: int) -> float:
    """Return the seconds that a model takes for a window where every source has one to score.

    Where that would last too long, the device is so slow that one or two windows say enough.
    """
    windows = np.full((min(sources, MOST_WINDOWS), info.frames, info.front_end.n_mels), SILENCE_DB, np.float32)
    (alone_s,) = time_calls(lambda: backend.infer(windows[:1]), 1, warm_up=1, most_s=SLOW_S)
    if alone_s * len(windows) * (1 + RUNS) > MOST_S:
        return alone_s
    return median(time_calls(lambda: backend.infer(windows), RUNS, warm_up=1)) / len(windows)


def choose_hop(needed_s: float, shortest_s: float, longest_s: float, share: float = BUSY) -> float:
    """Return the shortest hop at which the model needs no more than a share of the time.

    Parameters
    ----------
    needed_s
        Seconds that it takes for a window of every source.
    shortest_s, longest_s
        The hop in seconds is the shortest one, twice it, four times it …; the longest one is returned even where the
        model needs more.
    share
        Of the time.
    """
    hop_s = shortest_s
    while hop_s < longest_s and needed_s > share * hop_s:
        hop_s *= 2
    return min(hop_s, longest_s)


def control_hop(sessions: Sequence[SourceSession], scorer: Scorer, backend: Backend) -> HopControl | None:
    """Time the model and choose the hop of live sources; return what keeps it as short as the device can afford."""
    if not any(session.feed.live for session in sessions):
        return None
    return HopControl(sessions, scorer, time_window(backend, sessions[0].info, len(sessions)))


def load_of(scorer: Scorer, sessions: Sequence[SourceSession]) -> float:
    """Return the share of the time that the model needs at present; above 1 it is too slow for its sources."""
    heard = [session for session in sessions if not (session.feed.ended or session.paused)]
    return scorer.window_s * sum(1 / session.hop_s for session in heard)


class Lasting:
    """Measures for how long something has held."""

    def __init__(self) -> None:
        self._since: float | None = None

    def update(self, holds: bool, now_s: float) -> float:
        """Return for how many seconds it has held; 0 where it does not."""
        if not holds:
            self._since = None
        elif self._since is None:
            self._since = now_s
        return 0.0 if self._since is None else now_s - self._since


class HopRule:
    """Decides when the hop must rise, and when it may fall."""

    def __init__(self, hop_s: float, shortest_s: float, longest_s: float) -> None:
        """Begin with a hop; it stays within these limits."""
        self.hop_s, self._shortest_s, self._longest_s = hop_s, shortest_s, longest_s
        self._begin(0.0)

    def _begin(self, behind_s: float) -> None:
        """Begin to watch the present hop."""
        self._busy, self._late, self._whole = Lasting(), Lasting(), Lasting()
        self._enough_s = self._shortest_s
        """The shortest hop that was enough since then."""
        self._behind_s = behind_s
        """How far detection was behind then, or has been since, whichever is less."""

    def update(self, now_s: float, needed_s: float, behind_s: float) -> str | None:
        """Return why the hop has changed, if it has.

        Parameters
        ----------
        now_s
            Of a clock that never goes back.
        needed_s
            Seconds that the model takes at present for a window of every source.
        behind_s
            How far detection is behind, of the source that is furthest.
        """
        load = needed_s / self.hop_s
        self._behind_s = min(self._behind_s, behind_s)
        self._enough_s = max(self._enough_s, self._choose(needed_s, IDLE))
        is_late = behind_s >= max(BEHIND_S, self._behind_s + 1)  # the last change may still make up for the rest
        late_s, busy_s = self._late.update(is_late, now_s), self._busy.update(load > TOO_BUSY, now_s)
        watched_s = self._whole.update(True, now_s)
        hop_s = max(min(2 * self.hop_s, self._longest_s), self._choose(needed_s, BUSY))
        if late_s >= LATE_S:
            why = f"detection is {behind_s:.1f} s behind"
        elif busy_s >= TOO_BUSY_S:
            why = f"the model needs {load:.0%} of the time"
        elif watched_s >= IDLE_S:
            why, hop_s = "the device is fast enough again", min(self._enough_s, self.hop_s)
        else:
            return None
        changed, self.hop_s = hop_s != self.hop_s, hop_s
        self._begin(behind_s)
        return why if changed else None

    def _choose(self, needed_s: float, share: float) -> float:
        return choose_hop(needed_s, self._shortest_s, self._longest_s, share)


class HopControl:
    """Chooses the hop of all live sources at the start, and changes it when the device is too slow, or no longer is.

    A recording keeps the hop of its settings: what is found in it does not depend on how fast the device is.
    """

    def __init__(
        self,
        sessions: Sequence[SourceSession],
        scorer: Scorer,
        window_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Choose the hop, from that of the sessions upwards, for a model that takes `window_s` seconds a window."""
        self._sessions, self._scorer, self._window_s, self._clock = sessions, scorer, window_s, clock
        info, shortest_s, needed_s = sessions[0].info, sessions[0].hop_s, window_s * len(sessions)
        mirrored = sessions[0].settings.grid(info).mirrored_steps
        # Windows must overlap, and every step be heard by one.
        longest_s = max(1, min(info.steps // 2, info.steps - mirrored - 1)) * info.step_s
        self._rule = HopRule(choose_hop(needed_s, shortest_s, longest_s), shortest_s, longest_s)
        self._set("")
        text = "the model takes %.1f ms a window and runs every %g s, which is %.0f %% of the time for %d source%s"
        hop_s = self._rule.hop_s
        logger.info(text, 1000 * window_s, hop_s, 100 * needed_s / hop_s, len(sessions), "s" * (len(sessions) > 1))

    def update(self) -> list[HopChanged]:
        """Look how the device gets on; return the messages of a hop that has changed."""
        heard = [session for session in self._sessions if not session.feed.ended]
        behind_s = max((session.feed.behind_s for session in heard if not session.feed.waits), default=0.0)
        needed_s = (self._scorer.window_s or self._window_s) * len(heard)
        if why := self._rule.update(self._clock(), needed_s, behind_s):
            logger.warning("%s: the model runs every %g s", why, self._rule.hop_s)
            return self._set(why)
        return []

    def _set(self, why: str) -> list[HopChanged]:
        return [session.set_hop(self._rule.hop_s, why) for session in self._sessions if session.feed.live]
