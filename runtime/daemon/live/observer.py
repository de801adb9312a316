"""What a source sounds like just now, and what the model makes of it: frames for the live socket."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.message import DECIMALS, Message
from htsat_edge.runtime.daemon.live.frames import DB_STEP, FLOOR_DB, LiveFrame, NewestScores
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.store.score_codes import FLOOR

POOLED = 2
"""Frames of which a column is the loudest; they come in blocks of an even number, but for the end of a recording."""
MOST_KEPT_S = 20.0
"""Of frames without a run of the model, as while detection fails."""
MOST_LABELS = 12
"""Classes whose scores are sent, where they are not below what the store keeps."""


@dataclass
class Arrived:
    """What has come since the last frame, as it came: no time is spent on it but in the thread that sends."""

    start_s: float = 0.0
    """Of the first log-mel."""
    log_mels: list[FloatArray] = field(default_factory=list)
    """(T, F) each, in dB."""
    onset: float = 0.0
    """Of the first score."""
    final: list[FloatArray] = field(default_factory=list)
    """(n, C) each."""
    newest: list[FloatArray] = field(default_factory=list)
    """(n, C), of the steps that are not final."""


class FrameSink(Protocol):
    """Takes frames: the live socket, or the view on a terminal."""

    connected: bool
    """Whether anybody watches."""

    def put(self, make: Callable[[], Message]) -> None:
        """Take a frame, without waiting; it is made where it is wanted."""


class LiveObserver(SessionObserver):
    """Sends what a session hears to whoever watches; while nobody does, it does nothing."""

    def __init__(self, server: FrameSink, session: SourceSession) -> None:
        """Send what a session hears by a server."""
        self._server, self._session = server, session
        self._front_end = session.info.front_end
        self._labels = session.settings.classes(session.info).labels
        self._arrived, self._next_s = Arrived(), 0.0  # the latter is the end of the last log-mel

    def frames(self, start_s: float, frame_s: float, log_mel: FloatArray) -> None:
        """Keep the next frames (T, F) until the model has heard them."""
        self._next_s = start_s + len(log_mel) * frame_s
        if not self._server.connected:
            return
        if not self._arrived.log_mels or start_s - self._arrived.start_s > MOST_KEPT_S:
            self._arrived.start_s, self._arrived.log_mels = start_s, []
        self._arrived.log_mels.append(log_mel)

    def scores(self, start_s: float, _: float, scores: FloatArray) -> None:
        """Keep the next final scores (n, C) until the window that has settled them is done."""
        if not self._server.connected:
            return
        if not self._arrived.final:
            self._arrived.onset = start_s
        self._arrived.final.append(scores)

    def newest(self, start_s: float, _: float, newest: Callable[[], FloatArray]) -> None:
        """Send what has come, with what the windows say so far of the steps that are not final."""
        if not self._server.connected:
            self._arrived = Arrived()
            return
        if not self._arrived.final:
            self._arrived.onset = start_s
        self._arrived.newest.append(newest())
        self._send()

    def interrupted(self, _: float) -> None:
        """Send what is left of a recording."""
        if self._arrived.final:
            self._send()
        self._arrived = Arrived()

    def failed(self, _: str) -> None:
        """Give up what has come since the last frame."""
        self._arrived = Arrived()

    def _send(self) -> None:
        heard, self._arrived = self._arrived, Arrived()
        if not heard.log_mels:
            heard.start_s = self._next_s
        time, level = self._session.time_at(heard.start_s), self._session.level_dbfs
        self._server.put(lambda: self._frame(heard, time, level))

    def _frame(self, heard: Arrived, time: str | None, level: float) -> LiveFrame:
        """Return what was heard as a message; in the thread of whoever watches."""
        front_end, final = self._front_end, sum(map(len, heard.final))
        return LiveFrame(
            source=self._session.feed.name,
            onset=round(heard.start_s, DECIMALS),
            time=time,
            column_s=POOLED * front_end.frame_s,
            mels=front_end.n_mels,
            columns=draw_columns(heard.log_mels, front_end),
            low_hz=front_end.lowest_hz,
            high_hz=front_end.highest_hz,
            level_dbfs=round(level, 1) if math.isfinite(level) else None,
            newest=NewestScores(
                onset=round(heard.onset, DECIMALS),
                step_s=self._session.info.step_s,
                final=final,
                scores=self._highest(np.concatenate([*heard.final, *heard.newest])),
            ),
        )

    def _highest(self, scores: FloatArray) -> dict[str, list[float]]:
        """Return the scores (n, C) of the classes that score highest."""
        if len(scores) == 0:
            return {}
        peak = scores.max(axis=0)
        best = [k for k in np.argsort(-peak, kind="stable")[:MOST_LABELS] if peak[k] >= FLOOR]
        return {self._labels[k]: np.round(scores[:, k].astype(float), DECIMALS).tolist() for k in best}


def draw_columns(log_mels: list[FloatArray], front_end: FrontEnd) -> str:
    """Return log-mels (T, F) in dB as the columns of a picture, a byte for each band, in base64."""
    if not log_mels:
        return ""
    frames = np.concatenate(log_mels)
    frames = frames[: len(frames) // POOLED * POOLED]
    columns = frames.reshape(-1, POOLED, front_end.n_mels).max(axis=1)
    codes = np.clip(np.round((columns - FLOOR_DB) / DB_STEP), 0, 255).astype(np.uint8)
    return base64.b64encode(codes.tobytes()).decode()
