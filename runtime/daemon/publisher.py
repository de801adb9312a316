"""Pass every message to every output."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.messages import OutputBack, OutputFailed, format_time
from htsat_edge.runtime.daemon.outputs.clips import Clip
from htsat_edge.runtime.daemon.outputs.sender import Output, Sender


class Publisher:
    """The outputs, beside the writer of clips, whose failures are messages, too."""

    def __init__(self, outputs: Sequence[Output[Any]], system: SystemClock, writer: Sender[Clip] | None = None) -> None:
        """Publish to `outputs`; failures of these and of `writer` become messages."""
        self._outputs, self._system = outputs, system
        self.senders: list[Sender[Any]] = [*outputs, *([] if writer is None else [writer])]

    def publish(self, messages: Iterable[Message]) -> None:
        """Offer messages to every output, without waiting."""
        for message in messages:
            for output in self._outputs:
                output.offer(message)

    def publish_notices(self) -> None:
        """Publish to the others which outputs have failed or work again since the last time.

        One that refuses the report of its own failure would have the next failure to report, without end.
        """
        for sender in self.senders:
            for reason in sender.notices():
                message = (
                    OutputBack(time=self.now(), output=sender.name)
                    if reason is None
                    else OutputFailed(time=self.now(), output=sender.name, text=reason)
                )
                for output in self._outputs:
                    if output is not sender:
                        output.offer(message)

    def now(self) -> str:
        """Return the time of day as messages have it."""
        return format_time(self._system.wall(time.monotonic()))
