"""A thread with a bounded queue, which sends what it is given: a slow or dead destination stops nobody else."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.daemon.supervision import SupervisedThread

QUEUED = 1000
"""Items that a sender may be behind; what comes then is dropped, and counted."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
TRIES = 8
"""To send what cannot be sent, before it is set aside, so that what follows is sent. After so many that fail one after
the other, of one item or of several, an output does not work."""
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
    vital = True

    def __init__(self, name: str, queued: int = QUEUED) -> None:
        """Prepare a queue of `queued` items at most; `name` is for people."""
        self.name = name
        self.sent = self.dropped = self.failures = 0
        self._left = self._in_hand = 0
        self._queue: queue.Queue[Item | None] = queue.Queue(queued)  # None wakes the thread at the end
        self._notices: deque[str | None] = deque()
        self._away = self._told = False
        """Whether the destination cannot be reached; whether a failure was reported, and not yet that it works."""
        self._last_failure = ""
        """Of the last failure, where nothing was sent since."""
        self._faults = 0
        """Tries and losses one after the other that came of the items."""
        self._reporting = threading.Lock()  # who finds the queue full has a thread of its own
        self._stop = threading.Event()
        self._warnings = RepeatedWarnings(logger)
        self._end_s = 0.0
        self._thread = SupervisedThread(name, self._run, self._report_failure, self._stop)

    def start(self) -> None:
        """Begin to send; raise an HtsatEdgeError where it can never work."""
        self._thread.start()

    def check(self) -> str:
        """Try what `start` and `send` need, and change nothing; return what is ready, or raise an HtsatEdgeError."""
        return "ready"

    def put(self, item: Item) -> bool:
        """Take an item, without waiting; return whether there was room for it."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.lose(1, f"is {self._queue.maxsize} items behind, and loses some", "full")
            return False
        return True

    def lose(self, count: int, reason: str, kind: str = "lost") -> None:
        """Count items as lost, for a reason that is reported once a while; `kind` is what that applies to."""
        self._faults += 1
        self._report_fault(kind, reason)
        self.dropped += count  # last: who sees the count finds the reason

    @property
    def waiting(self) -> int:
        """Items that are queued."""
        return self._queue.qsize()

    @property
    def undelivered(self) -> int:
        """Items for which no time was left at the end; those of one that hangs, too."""
        queued = sum(item is not None for item in list(self._queue.queue))
        return self._left + self._in_hand + queued if self._stop.is_set() else 0

    @property
    def failing(self) -> bool:
        """Whether it does not deliver at present."""
        return self._away or self._faults >= TRIES

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
        """End, and wait for that; log how much was not delivered."""
        self.end()
        self._thread.join(max(0.0, self._end_s - time.monotonic()) + FIRST_PAUSE_S)
        if self.undelivered:
            reason = f": {self._last_failure}" if self._last_failure else ""
            logger.warning("%s: %d were not delivered when the program ended%s", self.name, self.undelivered, reason)

    def send(self, batch: Sequence[Item]) -> None:
        """Send items; an exception means that it failed, and that they are to be sent again."""
        raise NotImplementedError

    def count(self, batch: Sequence[Item]) -> int:
        """Return how many of these items, which were sent, are counted as such."""
        return len(batch)

    def is_outage(self, error: Exception) -> bool:
        """Return whether an error is the destination's, which may pass; any other comes of the items, and stays."""
        return isinstance(error, OSError | HtsatEdgeError)

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
        self._leave_queued()
        try:
            self.closed()
        finally:
            self._warnings.close()

    def _next(self) -> list[Item]:
        try:
            batch = [self._queue.get(timeout=0.05 if self._stop.is_set() else 0.5)]
        except queue.Empty:
            return []
        while len(batch) < self.batch and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        items = [item for item in batch if item is not None]
        self._in_hand = len(items)
        return items

    def _deliver(self, batch: Sequence[Item]) -> None:
        pause_s = FIRST_PAUSE_S
        for tries in itertools.count(1):
            try:
                self.send(batch)
            except RefusedError as error:
                self._give_up(batch, f"{error}; what is refused is lost", "refused")
                return
            except Exception as error:  # whatever an output fails of, it goes on
                self.failures += 1
                self._last_failure = reason = " ".join(str(error).split()) or repr(error)
                outage = self.is_outage(error)
                if not outage and len(batch) > 1:  # one of them is at fault, and the others are not
                    for item in batch:
                        self._deliver([item])
                    return
                if outage:
                    self._report_failure(f"{reason}; it is tried again")
                elif tries < TRIES:
                    self._faults += 1
                    if tries == 2:
                        self._report_fault("again", f"{reason}; it is tried again")
                else:
                    self._give_up(batch, f"{reason}; what cannot be sent is set aside after {TRIES} tries", "aside")
                    return
                if self._pause(pause_s):
                    self._leave(len(batch))
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._last_failure = ""
            self._report_success()
            self.sent += self.count(batch)
            self._in_hand -= len(batch)
            return

    def _leave(self, count: int) -> None:
        """Count items in hand for which no time was left at the end."""
        self._in_hand -= count
        self._left += count
        self.dropped += count

    def _leave_queued(self) -> None:
        while not self._queue.empty():
            self._in_hand = int(self._queue.get_nowait() is not None)
            self._leave(self._in_hand)

    def _give_up(self, batch: Sequence[Item], reason: str, kind: str) -> None:
        """Lose items that cannot be sent."""
        logger.debug("%s: lost: %.1000r", self.name, batch)
        self.lose(len(batch), reason, kind)
        self._in_hand -= len(batch)

    def _report_failure(self, reason: str) -> None:
        """Report that the destination cannot be reached."""
        with self._reporting:
            if not self._away:
                self._away = self._told = True
                logger.warning("%s: %s", self.name, reason)
                self._notices.append(reason)

    def _report_fault(self, kind: str, reason: str) -> None:
        """Report a fault, of each kind once a while: what works between two would be reported without end."""
        with self._reporting:
            if self._warnings.warn(kind, f"{self.name}: {reason}"):
                self._told = True
                self._notices.append(reason)

    def _report_success(self) -> None:
        with self._reporting:
            self._away, self._faults = False, 0
            if self._told:
                self._told = False
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
            self._warnings.warn("idle", f"{self.name}: {' '.join(str(error).split()) or repr(error)}")


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
