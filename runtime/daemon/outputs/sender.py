"""A thread with a bounded queue, which sends what it is given: a slow or dead destination stops nobody else."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from htsat_edge.runtime.common.message import Message

QUEUED = 1000
"""Items that a sender may be behind; what comes then is dropped, and counted."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
CLOSE_S = 5.0
"""For what is queued when the program ends."""
logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class RefusedError(Exception):
    """The destination does not want these items, and would not if they were sent again."""


class Sender(Generic[Item]):
    """Sends items from a thread of its own, in order, and again until it succeeds."""

    batch = 100
    """Items at a time."""

    def __init__(self, name: str, queued: int = QUEUED) -> None:
        """Prepare a queue of `queued` items at most; `name` is for people."""
        self.name = name
        self.sent = self.dropped = self.failures = 0
        self._queue: queue.Queue[Item | None] = queue.Queue(queued)  # None wakes the thread at the end
        self._notices: deque[str | None] = deque()
        self._failing = self._refused = False
        self._stop = threading.Event()
        self._end_s = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to send; raise an HtsatEdgeError where it can never work."""
        self._thread.start()

    def put(self, item: Item) -> None:
        """Take an item, without waiting."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            if self.dropped == 0:
                logger.warning("%s: is %d items behind, and loses some", self.name, self._queue.maxsize)
            self.dropped += 1

    @property
    def waiting(self) -> int:
        """Items that are queued."""
        return self._queue.qsize()

    def notices(self) -> Iterator[str | None]:
        """Yield since the last time why sending failed, and None when it worked again."""
        while self._notices:
            yield self._notices.popleft()

    def end(self) -> None:
        """Send what is queued, if that is quick, and end; without waiting for it."""
        if not self._stop.is_set():
            self._end_s = time.monotonic() + CLOSE_S
            self._stop.set()
            with suppress(queue.Full):
                self._queue.put_nowait(None)

    def close(self) -> None:
        """End, and wait for that."""
        self.end()
        self._thread.join(max(0.0, self._end_s - time.monotonic()) + FIRST_PAUSE_S)

    def send(self, batch: Sequence[Item]) -> None:
        """Send items; an exception means that it failed, and that they are to be sent again."""
        raise NotImplementedError

    def idle(self) -> None:
        """Do what there is to do while nothing is to be sent."""

    def closed(self) -> None:
        """Release what the thread holds, at its end."""

    def _run(self) -> None:
        while not self._late():
            batch = self._next()
            if batch:
                self._deliver(batch)
            elif self._stop.is_set() and self._queue.empty():
                break
            else:
                self._try_idle()
        self.dropped += sum(item is not None for item in self._queue.queue)
        self.closed()

    def _next(self) -> list[Item]:
        try:
            batch = [self._queue.get(timeout=0.05 if self._stop.is_set() else 0.5)]
        except queue.Empty:
            return []
        while len(batch) < self.batch and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return [item for item in batch if item is not None]

    def _deliver(self, batch: Sequence[Item]) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self.send(batch)
            except RefusedError as error:
                self._report_refusal(str(error))
                self.dropped += len(batch)
                return
            except Exception as error:  # whatever an output fails of, it goes on
                self.failures += 1
                self._report_failure(f"{' '.join(str(error).split()) or repr(error)}; it is tried again")
                if self._pause(pause_s):
                    self.dropped += len(batch)
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._report_success()
            self.sent += len(batch)
            return

    def _report_failure(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("%s: %s", self.name, reason)
            self._notices.append(reason)

    def _report_refusal(self, reason: str) -> None:
        """Report the first refusal alone: others may be accepted between two, which would be reported without end."""
        if not self._refused:
            self._refused = True
            logger.warning("%s: %s; what is refused is lost", self.name, reason)
            self._notices.append(f"{reason}; what is refused is lost")

    def _report_success(self) -> None:
        if self._failing:
            self._failing = False
            logger.warning("%s: works again", self.name)
            self._notices.append(None)

    def _pause(self, pause_s: float) -> bool:
        """Wait before the next try; return whether there is no time left for one."""
        if self._stop.wait(pause_s):
            time.sleep(FIRST_PAUSE_S / 2)
        return self._late()

    def _late(self) -> bool:
        return self._stop.is_set() and time.monotonic() > self._end_s

    def _try_idle(self) -> None:
        try:
            self.idle()
        except Exception as error:
            logger.warning("%s: %s", self.name, error)


class Output(Sender[Item]):
    """A sender of messages."""

    def offer(self, message: Message) -> None:
        """Take a message, without waiting."""
        raise NotImplementedError


class MessageSender(Output[Message]):
    """A sender of messages as they are."""

    def offer(self, message: Message) -> None:
        """Take a message, without waiting."""
        self.put(message)
