"""Where lines go. Each output has a thread and a bounded queue of its own: a slow or dead one stops nobody else."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

QUEUED = 1000
"""Lines that an output may be behind; what comes then is dropped, and counted."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
CLOSE_S = 5.0
"""For what is queued when the program ends."""
logger = logging.getLogger(__name__)

Line = Mapping[str, Any]


class RefusedError(Exception):
    """The other side does not want these lines, and would not if they were sent again."""


class Output:
    """Sends lines from a thread of its own, in order, and again until it succeeds."""

    batch = 100
    """Lines at a time."""

    def __init__(self, name: str, queued: int = QUEUED) -> None:
        self.name = name
        self.sent = self.dropped = self.failures = 0
        self._queue: queue.Queue[Line] = queue.Queue(queued)
        self._stop = threading.Event()
        self._end_s = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to send; an HtsatEdgeError where it can never be."""
        self._thread.start()

    def offer(self, line: Line) -> None:
        """Take a line, without waiting."""
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            if self.dropped == 0:
                logger.warning("%s: is %d lines behind, and loses some", self.name, self._queue.maxsize)
            self.dropped += 1

    @property
    def waiting(self) -> int:
        """Lines that are queued."""
        return self._queue.qsize()

    def end(self) -> None:
        """Send what is queued, if that is quick, and end; without waiting for it."""
        if not self._stop.is_set():
            self._end_s = time.monotonic() + CLOSE_S
            self._stop.set()

    def close(self) -> None:
        """End, and wait for that."""
        self.end()
        self._thread.join(max(0.0, self._end_s - time.monotonic()) + FIRST_PAUSE_S)

    def send(self, lines: Sequence[Line]) -> None:
        """Send lines; an exception where that failed, and they are sent again."""
        raise NotImplementedError

    def idle(self) -> None:
        """There is nothing to send just now."""

    def closed(self) -> None:
        """The thread ends."""

    def _run(self) -> None:
        while not self._late():
            batch = self._next()
            if batch:
                self._deliver(batch)
            elif self._stop.is_set():
                break
            else:
                self._try_idle()
        self.dropped += self._queue.qsize()
        self.closed()

    def _next(self) -> list[Line]:
        try:
            batch = [self._queue.get(timeout=0.05 if self._stop.is_set() else 0.5)]
        except queue.Empty:
            return []
        while len(batch) < self.batch and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    def _deliver(self, batch: Sequence[Line]) -> None:
        pause_s, failed = FIRST_PAUSE_S, False
        while True:
            try:
                self.send(batch)
            except RefusedError as error:
                logger.warning("%s: %s; %d lines are lost", self.name, error, len(batch))
                self.dropped += len(batch)
                return
            except Exception as error:  # whatever an output fails of, it goes on
                self.failures += 1
                if not failed:
                    logger.warning("%s: %s; it is tried again", self.name, " ".join(str(error).split()) or repr(error))
                failed = True
                if self._pause(pause_s):
                    self.dropped += len(batch)
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if failed:
                logger.warning("%s: works again", self.name)
            self.sent += len(batch)
            return

    def _pause(self, pause_s: float) -> bool:
        """Before the next try; whether there is no time left for one."""
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
