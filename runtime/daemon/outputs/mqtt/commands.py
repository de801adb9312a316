"""What others ask of the daemon by MQTT: to pause a source or listen to it again, and for thresholds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.common.text import in_one_line, listed, shown
from htsat_edge.runtime.daemon.config.section import Share
from htsat_edge.runtime.daemon.control import Command, InvalidCommand, SetListening, SetThreshold
from htsat_edge.runtime.daemon.outputs.mqtt.broker import Publication
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics

BY = "MQTT"
LISTENING, THRESHOLD = "listening/set", "threshold/set"
MOST_WAITING = 1000
"""Commands; where more come the oldest are dropped, since the last counts."""
MOST_SHOWN = 100
"""Characters of a command that is not understood."""
MOST_BYTES = 10_000
WANTED = '{"label": "Dog", "threshold": 0.4}'
logger = logging.getLogger(__name__)


class ThresholdIn(BaseModel):
    """What is wanted at TOPIC/SOURCE/threshold/set."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: Annotated[str, Field(min_length=1, max_length=200)]
    threshold: Share


class CommandTopics:
    """TOPIC/SOURCE/listening/set, with the state at TOPIC/SOURCE/listening, and TOPIC/SOURCE/threshold/set."""

    def __init__(
        self,
        topics: Topics,
        listening: Mapping[str, bool],
        commands: SimpleQueue[Command],
        news: threading.Event,
        retained: dict[str, bytes] | None = None,
    ) -> None:
        """Put into `commands` what comes, and set `news` then; `listening` says of each source whether it is heard.

        `retained` has the retained commands that were taken, by topic, and gets those that are taken.
        """
        self._retained = {} if retained is None else retained
        self._topics, self._listening = topics, dict(listening)
        self._commands, self._news = commands, news
        self._warnings = RepeatedWarnings(logger)
        self._readers: dict[str, Any] = {}
        for source in listening:
            self._readers[topics.of_source(source, LISTENING)] = partial(read_listening, source)
            self._readers[topics.of_source(source, THRESHOLD)] = partial(read_threshold, source)

    @property
    def filters(self) -> list[str]:
        """What to subscribe to: also the topics of sources that there are not, so that an order is never ignored."""
        return [self._topics.of_any_source(last) for last in (LISTENING, THRESHOLD)]

    def states(self) -> Iterator[Publication]:
        """Yield whether each source is listened to."""
        for source, listening in self._listening.items():
            yield self.state(source, listening)

    def state(self, source: str, listening: bool) -> Publication:
        """Take note of whether a source is listened to; return what is published of it."""
        self._listening[source] = listening
        return Publication(self._topics.of_source(source, "listening"), "ON" if listening else "OFF")

    def take(self, topic: str, content: bytes, retained: bool) -> bool:
        """Take what has come, without waiting; return whether it is a command."""
        read = self._readers.get(topic)
        if read is None:
            return self._reject(topic, content)
        if not content:  # whoever deletes a retained message publishes an empty one
            return True
        if retained:
            if self._retained.get(topic) == content:  # again, at another connection: others may have come since
                return True
            self._retained[topic] = content
        command = read(topic, content)
        if retained and not isinstance(command, SetListening):
            # It would undo, at each connection, what was set since.
            self._warnings.warn(topic, f"{topic}: is retained there, and not taken; publish it without that")
        else:
            self._put(command)
        return True

    def _reject(self, topic: str, content: bytes) -> bool:
        """Reject a command to a source that there is not; return whether it is one."""
        parts = filter(None, (self._topics.source_of(topic, last) for last in (LISTENING, THRESHOLD)))
        if (source := next(parts, None)) is None:
            return False
        if content:
            name, known = in_one_line(shown(source), MOST_SHOWN), self._topics.sources
            others = suggest(name, known, f"; there are {listed(known)}")
            self._put(InvalidCommand(f"{name}: there is no such source{others}"))
        return True

    def _put(self, command: Command) -> None:
        if self._commands.qsize() >= MOST_WAITING:
            self._warnings.warn("full", f"{MOST_WAITING} commands wait; the oldest are dropped")
            with suppress(Empty):  # taken meanwhile
                self._commands.get_nowait()
        self._commands.put(command)
        self._news.set()


def read_listening(source: str, topic: str, content: bytes) -> Command:
    """Return what ON or OFF asks for."""
    if content not in (b"ON", b"OFF"):
        return InvalidCommand(f"{topic}: want ON or OFF, not {_shown(content)}")
    return SetListening(source, content == b"ON", BY)


def read_threshold(source: str, topic: str, content: bytes) -> Command:
    """Return what the JSON of a threshold asks for."""
    try:
        if len(content) > MOST_BYTES:
            raise ValueError(f"these are {len(content)} bytes")
        wanted = ThresholdIn.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = in_one_line(f"{place}: {first['msg']}" if place else first["msg"])
        return InvalidCommand(f"{topic}: want JSON such as {WANTED}, not {_shown(content)} ({shown(reason)})")
    except ValueError as error:
        return InvalidCommand(f"{topic}: want JSON such as {WANTED}: {error}")
    return SetThreshold(source, wanted.label, wanted.threshold, BY)


def _shown(content: bytes) -> str:
    """Return the beginning of what has come, as text that commands no terminal."""
    return in_one_line(shown(content[: 4 * MOST_SHOWN].decode(errors="replace")), MOST_SHOWN)
