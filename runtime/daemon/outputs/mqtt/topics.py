"""Topics of MQTT: two names never share one."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from htsat_edge.runtime.daemon.config import slug

Name = TypeVar("Name")
RESERVED = (
    "event",
    "status",
    "level",
    "condition",
    "last_sound",
    "listening",
    "threshold",
    "info",
    "health",
    "messages",
)
"""Last parts of a source's topics, and of a device's, that are no class."""


def identifier(text: str) -> str:
    """Return a text as Home Assistant takes it in an id, of a-z, 0-9 and _: "Küche" is kuche_ and a few digits.

    Home Assistant drops an announcement with any other letter. The digits keep apart what differs in such letters.
    """
    short = slug(text)
    plain = unicodedata.normalize("NFKD", short).encode("ascii", "ignore").decode().strip("_")
    return short if plain == short else _apart(plain or "x", text)


def distinct(names: Iterable[Name], shorten: Callable[[Name], str], taken: Iterable[str] = ()) -> dict[Name, str]:
    """Return the short form of each name, made different where an earlier name, or `taken`, has it."""
    used, short_of = set(taken), {}
    for name in names:
        short = shorten(name)
        if short in used:
            short = _apart(short, name)
        used.add(short)
        short_of[name] = short
    return short_of


def _apart(short: str, name: object) -> str:
    digest = hashlib.sha256(str(name).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{short}_{digest[:6]}"


class Topics:
    """Where each message goes: to TOPIC/SOURCE/event, TOPIC/SOURCE/CLASS and so on."""

    def __init__(self, topic: str, labels: Mapping[str, Sequence[str]]) -> None:
        """Give each source and each class a topic of its own.

        Parameters
        ----------
        topic
            What all topics begin with.
        labels
            The classes that may come, by source. The first of several with one short form keeps it; a class has the
            same in every source.
        """
        self._topic = topic
        every = dict.fromkeys(label for own in labels.values() for label in own)
        self._sources = distinct(labels, slug)
        self._labels = distinct(every, slug, RESERVED)

    @property
    def sources(self) -> list[str]:
        """How the sources are called in topics."""
        return [*self._sources.values()]

    @property
    def status(self) -> str:
        """Topic that says whether the daemon is there."""
        return f"{self._topic}/status"

    @property
    def event(self) -> str:
        """Topic of the messages without a source."""
        return f"{self._topic}/event"

    @property
    def info(self) -> str:
        """Topic that says what the device is."""
        return f"{self._topic}/info"

    @property
    def health(self) -> str:
        """Topic that says how the device gets on."""
        return f"{self._topic}/health"

    @property
    def messages(self) -> str:
        """Topic of all messages, numbered, for a collector."""
        return f"{self._topic}/messages"

    def of_source(self, source: str, last: str) -> str:
        """Return a topic of a source: its `event`, `status`, `level` and so on."""
        return f"{self._topic}/{self._sources[source]}/{last}"

    def of_any_source(self, last: str) -> str:
        """Return a filter for a topic of every source, also of one that there is not."""
        return f"{self._topic}/+/{last}"

    def source_of(self, topic: str, last: str) -> str | None:
        """Return the part of a topic that `of_any_source` fits which stands for the source; None of another topic."""
        begins, ends = f"{self._topic}/", f"/{last}"
        part = topic.removeprefix(begins).removesuffix(ends)
        return part if topic == f"{begins}{part}{ends}" and "/" not in part else None

    def state(self, source: str, label: str) -> str:
        """Return the topic that says whether a class of a source is ON or OFF."""
        return self.of_source(source, self._labels[label])
