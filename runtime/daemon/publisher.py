"""Pass every message to every output."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.messages import OutputBack, OutputFailed, format_time
from htsat_edge.runtime.daemon.outputs.clips import Clip
from htsat_edge.runtime.daemon.outputs.sender import Output, Sender
from htsat_edge.runtime.daemon.supervision import describe, kind_of, warnings


class Reporter(Protocol):
    """Something whose failures are messages."""

    name: str
    vital: bool
    """Whether the daemon is not healthy while it fails."""

    @property
    def failing(self) -> bool:
        """Whether it does not work at present."""

    def notices(self) -> Iterator[str | None]:
        """Yield since the last time why it has failed, and None when it worked again."""


class Publisher:
    """The outputs, beside others whose failures are messages, too."""

    def __init__(self, outputs: Sequence[Output[Any]], system: SystemClock, writer: Sender[Clip] | None = None) -> None:
        """Publish to `outputs`; failures of these and of `writer` become messages."""
        self._outputs, self._system = outputs, system
        self.senders: list[Sender[Any]] = [*outputs, *([] if writer is None else [writer])]
        self.reporters: list[Reporter] = [*self.senders]
        """All whose failures are published."""
        self.observers: list[Callable[[Message], None]] = []
        """Get each message, too; they never wait, and never fail."""
        self._refusing: dict[str, str] = {}
        """Why an output takes no messages."""
        self._notices: deque[tuple[Output[Any], str | None]] = deque()

    def publish(self, messages: Iterable[Message]) -> None:
        """Offer messages to every output, without waiting."""
        for message in messages:
            self._offer(message)

    def publish_notices(self) -> None:
        """Publish to the others which outputs have failed or work again since the last time.

        One that refuses the report of its own failure would have the next failure to report, without end.
        """
        for reporter in self.reporters:
            for reason in reporter.notices():
                self._publish_notice(reporter, reason)
        for _ in range(len(self._notices)):
            self._publish_notice(*self._notices.popleft())

    def failing(self, reporter: Reporter) -> bool:
        """Return whether an output, or another reporter, does not work at present."""
        return reporter.failing or reporter.name in self._refusing

    def now(self) -> str:
        """Return the time of day as messages have it."""
        return format_time(self._system.wall(time.monotonic()))

    def _publish_notice(self, reporter: Reporter, reason: str | None) -> None:
        message = (
            OutputBack(time=self.now(), output=reporter.name)
            if reason is None
            else OutputFailed(time=self.now(), output=reporter.name, text=reason)
        )
        self._offer(message, reporter)

    def _offer(self, message: Message, but: Reporter | None = None) -> None:
        """Offer a message to all outputs but one; an error that nobody expected in one disturbs no other."""
        for observe in self.observers:
            observe(message)
        for output in self._outputs:
            if output is but:
                continue
            try:
                output.offer(message)
            except Exception as error:
                self._refuse(output, error)
            else:
                if self._refusing.pop(output.name, None) is not None:
                    self._notices.append((output, None))

    def _refuse(self, output: Output[Any], error: Exception) -> None:
        reason = describe(error)
        output.dropped += 1
        warnings.warn(f"{output.name}: {kind_of(error)}", f"{output.name}: {reason}; a message is lost")
        if output.name not in self._refusing:
            self._notices.append((output, f"{reason}; messages are lost"))
        self._refusing[output.name] = reason
