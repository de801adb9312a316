"""The streams of a server: what each has heard so far; blocks of sound in, events out."""

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
class StreamBlock:
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
    """A block while the windows of all blocks are scored together."""

    block: StreamBlock
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

    def hear(self, blocks: Sequence[StreamBlock]) -> list[str | HtsatEdgeError]:
        """Take blocks, of several streams; return for each its events, a line of JSON each, or why there are none."""
        now = self._clock()
        self._streams = {key: one for key, one in self._streams.items() if now - one.last_s <= self._idle_s}
        turns = [self._begin(block, now) for block in blocks]
        self._score_all([turn for turn in turns if turn.windows])
        for turn in turns:
            self._finish(turn)
        return [
            HtsatEdgeError(turn.error) if turn.error else "".join(f"{event.encoded}\n" for event in turn.events)
            for turn in turns
        ]

    def _begin(self, block: StreamBlock, now: float) -> Turn:
        """Let a stream hear its samples; return the windows that they complete."""
        turn = Turn(block)
        try:
            turn.stream = self._find(block)
            turn.stream.last_s = now
            turn.windows += turn.stream.windows.push(block.samples)
            if block.end:
                turn.windows += turn.stream.windows.flush()
        except (HtsatEdgeError, ValueError) as error:  # what was pushed before is as it was
            turn.error = str(error)
            if block.end:
                self._forget(turn)
        return turn

    def _find(self, block: StreamBlock) -> ServedStream:
        if block.start:
            self._streams.pop(block.stream, None)
            windows = WindowStream(self._info, block.rate)
            events = EventStream(self._info, source=str(block.stream))
            self._streams[block.stream] = ServedStream(block.rate, windows, events)
        stream = self._streams.get(block.stream)
        if stream is None:
            raise HtsatEdgeError(f"sequence {block.stream}: nothing is known of it: {BEGIN_AGAIN}")
        if block.rate != stream.rate:
            raise HtsatEdgeError(f"sequence {block.stream}: began with {stream.rate} Hz, and now has {block.rate} Hz")
        return stream

    def _score_all(self, turns: Sequence[Turn]) -> None:
        """Score the windows of all blocks at once, and let each stream have its scores."""
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
        if turn.block.end and not turn.error:
            assert turn.stream is not None
            turn.events += turn.stream.events.flush()
            self._forget(turn)

    def _forget(self, turn: Turn) -> None:
        self._streams.pop(turn.block.stream, None)
