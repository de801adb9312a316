"""The streams of a server: what each has heard so far; pieces of sound in, events out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.event_stream import EventStream
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.window_stream import WindowStream

BEGIN_AGAIN = "begin the sequence again (sequence_start)"


@dataclass(frozen=True)
class Piece:
    """The next samples of a stream."""

    stream: int | str
    """The sequence that they belong to: whoever sends it chooses its id."""
    samples: FloatArray
    """(S,), floats in [-1, 1]; none, too."""
    rate: int
    """Hz; the same for a whole sequence."""
    start: bool
    """Whether the sequence begins here, whatever was heard under this id before."""
    end: bool
    """Whether it ends after these samples, and its last events are wanted."""


@dataclass
class ServedStream:
    """What there is of one sequence between two requests."""

    rate: int
    windows: WindowStream
    events: EventStream
    last_s: float = 0.0
    """When it was heard last."""


@dataclass
class Turn:
    """A piece while the windows of all pieces are scored together."""

    piece: Piece
    stream: ServedStream | None = None
    windows: list[Window] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    error: str = ""


class ServedStreams:
    """All streams of a server; each gives the events that `Detector` gives."""

    def __init__(
        self,
        info: ModelInfo,
        score: Callable[[FloatArray], FloatArray],
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a stream.

        Parameters
        ----------
        info
            The model.
        score
            Gives the framewise scores (B, steps, C) of windows (B, T, F); raises an HtsatEdgeError where it cannot.
        idle_s
            A stream that was not heard for longer is forgotten: the server has given up its sequence.
        clock
            Seconds that go on.
        """
        self._info, self._score, self._idle_s, self._clock = info, score, idle_s, clock
        self._streams: dict[int | str, ServedStream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def hear(self, pieces: Sequence[Piece]) -> list[str | HtsatEdgeError]:
        """Take pieces, of several streams; return for each its events, a line of JSON each, or why there are none."""
        now = self._clock()
        self._streams = {key: one for key, one in self._streams.items() if now - one.last_s <= self._idle_s}
        turns = [self._begin(piece, now) for piece in pieces]
        self._score_all([turn for turn in turns if turn.windows])
        for turn in turns:
            self._finish(turn)
        return [
            HtsatEdgeError(turn.error) if turn.error else "".join(f"{event.encoded}\n" for event in turn.events)
            for turn in turns
        ]

    def _begin(self, piece: Piece, now: float) -> Turn:
        """Let a stream hear its samples; return the windows that they complete."""
        turn = Turn(piece)
        try:
            turn.stream = self._find(piece)
            turn.stream.last_s = now
            turn.windows += turn.stream.windows.push(piece.samples)
            if piece.end:
                turn.windows += turn.stream.windows.flush()
        except (HtsatEdgeError, ValueError) as error:  # what was pushed before is as it was
            turn.error = str(error)
            if piece.end:
                self._forget(turn)
        return turn

    def _find(self, piece: Piece) -> ServedStream:
        if piece.start:
            self._streams.pop(piece.stream, None)
            windows = WindowStream(self._info, piece.rate)
            events = EventStream(self._info, source=str(piece.stream))
            self._streams[piece.stream] = ServedStream(piece.rate, windows, events)
        stream = self._streams.get(piece.stream)
        if stream is None:
            raise HtsatEdgeError(f"sequence {piece.stream}: nothing is known of it: {BEGIN_AGAIN}")
        if piece.rate != stream.rate:
            raise HtsatEdgeError(f"sequence {piece.stream}: began with {stream.rate} Hz, and now has {piece.rate} Hz")
        return stream

    def _score_all(self, turns: Sequence[Turn]) -> None:
        """Score the windows of all pieces at once, and let each stream have its scores."""
        if not turns:
            return
        windows = [window for turn in turns for window in turn.windows]
        try:
            scores = iter(self._score(np.stack([window.log_mel for window in windows])))
            for turn in turns:
                assert turn.stream is not None
                for window in turn.windows:
                    turn.events += turn.stream.events.push(window, next(scores))
        except HtsatEdgeError as error:  # these windows are lost, and nothing that follows would be right
            for turn in turns:
                turn.error = f"{error}; {BEGIN_AGAIN}"
                self._forget(turn)

    def _finish(self, turn: Turn) -> None:
        if turn.piece.end and not turn.error:
            assert turn.stream is not None
            turn.events += turn.stream.events.flush()
            self._forget(turn)

    def _forget(self, turn: Turn) -> None:
        self._streams.pop(turn.piece.stream, None)
