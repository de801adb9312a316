"""Carry out what others ask of the daemon while it runs: to pause a source, and for other thresholds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.sources import names_of
from htsat_edge.runtime.daemon.control import Command, InvalidCommand, SetListening, SetThreshold
from htsat_edge.runtime.daemon.messages import CommandRejected, ConfigRejected
from htsat_edge.runtime.daemon.parts import Parts
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.supervision import SupervisedThread, describe
from htsat_edge.runtime.daemon.thresholds import take_over

PAUSE_S = 1.0
"""A pause lasts so long at least, whatever is asked meanwhile: a button that is stuck asks for thousands a second."""
REJECTED_S = 5.0
"""One rejection is published in so many seconds: what is wrong is often wrong again and again."""
STOP_S = 0.5
"""For the thread to end; one that hangs is left behind."""
WriteThreshold = Callable[[str, str, float], None]
"""Writes the threshold of a source's class into the configuration; raises an HtsatEdgeError where it cannot."""
logger = logging.getLogger(__name__)


class ThresholdWriter:
    """Writes thresholds into the configuration file from a thread of its own, since a file system may hang.

    The daemon notices that the file has changed, and takes them over.
    """

    def __init__(self, write: WriteThreshold, commands: SimpleQueue[Command], news: threading.Event) -> None:
        """Prepare to write; why something cannot be written goes into `commands`."""
        self._write, self._commands, self._news = write, commands, news
        self._wanted: SimpleQueue[SetThreshold | None] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = SupervisedThread("thresholds", self._run, lambda _: None, self._stop)

    def start(self) -> None:
        """Begin to write what is put."""
        self._thread.start()

    def put(self, command: SetThreshold) -> None:
        """Take what is wanted, without waiting."""
        self._wanted.put(command)

    def close(self) -> None:
        """End, after what is being written."""
        self._stop.set()
        self._wanted.put(None)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        going_on = True
        while going_on:
            latest: dict[tuple[str, str], SetThreshold] = {}
            command = self._wanted.get()
            while command is not None:  # a slider that is dragged asks for many, of which the last counts
                latest[command.source, command.label] = command
                try:
                    command = self._wanted.get_nowait()
                except Empty:
                    break
            going_on = command is not None  # what was wanted before the end is written, too
            for wanted in latest.values():
                self._try_to_write(wanted)

    def _try_to_write(self, wanted: SetThreshold) -> None:
        try:
            self._write(wanted.source, wanted.label, wanted.threshold)
        except Exception as error:  # whatever is wrong with one, the next is written
            self._commands.put(InvalidCommand(describe(error)))
            self._news.set()


class Commander:
    """Carries commands out, in the daemon's thread."""

    def __init__(
        self,
        parts: Parts,
        finish: Callable[[SourceSession], None],
        writer: ThresholdWriter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Carry out what is put into the commands of these parts.

        `finish` publishes what is left of a recording. Without a `writer`, thresholds are in force until the
        configuration is read again.
        """
        self._parts, self._finish, self._writer, self._clock = parts, finish, writer, clock
        self._warnings = RepeatedWarnings(logger, REJECTED_S)
        self._wanted: dict[str, SetListening] = {}
        """What was asked of each source last, unless that is so."""
        self._pause_end_s: dict[str, float] = {}
        """Before which each source is not listened to again."""

    def update(self) -> None:
        """Carry out what is asked for, and publish what comes of it."""
        for _ in range(self._parts.commands.qsize()):
            try:
                messages = self._carry_out(self._parts.commands.get_nowait())
            except Empty:  # who put too many has taken some out
                break
            except HtsatEdgeError as error:
                messages = self._reject(str(error))
            self._parts.publisher.publish(messages)
        self._set_listening(self._clock())

    def close(self) -> None:
        """Have what was asked be so at once; what is asked from now on is left to the next daemon."""
        self._set_listening(float("inf"))

    def _carry_out(self, command: Command) -> list[Message]:
        match command:
            case SetListening():
                self._wanted[self._session(command.source).feed.name] = command
                return []
            case SetThreshold() if self._writer is not None:
                self._writer.put(command)
                return []
            case SetThreshold():
                return self._set_threshold(command)
            case InvalidCommand():
                return self._reject(command.text)

    def _session(self, source: str) -> SourceSession:
        for session in self._parts.sessions:
            if session.feed.name == source:
                return session
        names = listed(session.feed.name for session in self._parts.sessions)
        raise HtsatEdgeError(f"{source}: there is no such source; there are {names}")

    def _set_listening(self, now_s: float) -> None:
        """Pause at once what is not to be heard; listen again to what has paused for long enough."""
        for source, command in list(self._wanted.items()):
            session = self._session(source)
            if command.listening and session.paused and now_s < self._pause_end_s.get(source, now_s):
                continue
            del self._wanted[source]
            if command.listening is session.paused:
                self._parts.publisher.publish(self._change(session, command))

    def _change(self, session: SourceSession, command: SetListening) -> list[Message]:
        text = f"{'resumed' if command.listening else 'paused'} by {command.by}"
        logger.warning("%s: %s", session.feed.name, text)
        if command.listening:
            return session.resume(text)
        self._finish(session)
        self._pause_end_s[session.feed.name] = self._clock() + PAUSE_S
        return session.pause(text)

    def _set_threshold(self, command: SetThreshold) -> list[Message]:
        wanted = with_threshold(self._parts.config, command)
        messages = take_over(self._parts, wanted)
        rejected = [message.text for message in messages if isinstance(message, ConfigRejected)]
        return self._reject(rejected[0]) if rejected else messages

    def _reject(self, reason: str) -> list[Message]:
        text = f"a command is rejected: {reason}"
        if not self._warnings.warn("rejected", text):
            return []
        return [CommandRejected(time=self._parts.publisher.now(), text=reason)]


def with_threshold(config: DaemonConfig, command: SetThreshold) -> DaemonConfig:
    """Return a configuration with the threshold that a command wants; raise an HtsatEdgeError without its source."""
    names = names_of(command.source)
    if not any(source.name in names for source in config.sources):
        raise HtsatEdgeError(f"{command.source}: the configuration has no such source")
    sources = []
    for source in config.sources:
        if source.name in names:
            thresholds = {**source.detection.thresholds, command.label: command.threshold}
            detection = source.detection.model_copy(update={"thresholds": thresholds})
            source = source.model_copy(update={"detection": detection})
        sources.append(source)
    return config.model_copy(update={"sources": sources})
