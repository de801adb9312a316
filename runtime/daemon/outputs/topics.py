"""Topics of MQTT, and what Home Assistant calls sources and classes: two names never share one."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.daemon.config import slug

Name = TypeVar("Name")
RESERVED = ("event", "status")
"""Last parts of a source's topics that are no class."""


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


@dataclass(frozen=True)
class Sensor:
    """A class of a source, as Home Assistant sees it."""

    announced_at: str
    """Topic."""
    state: str
    """Topic that is ON or OFF."""
    content: str
    """Of the announcement, as JSON."""


class Topics:
    """Where each message goes: to TOPIC/SOURCE/event, TOPIC/SOURCE/CLASS and so on."""

    def __init__(self, topic: str, discovery: str | None, sources: Sequence[str], labels: Sequence[str]) -> None:
        """Give each source and each class names of its own.

        Parameters
        ----------
        topic
            What all topics begin with.
        discovery
            Home Assistant's prefix; None: it is not used.
        sources, labels
            Those that may come. The first of several with one short form keeps it.
        """
        self._topic, self._discovery = topic, discovery
        self._sources = distinct(sources, slug)
        self._labels = distinct(labels, slug, RESERVED)
        self._devices = distinct(sources, lambda source: f"{identifier(topic)}_{identifier(source)}")
        self._label_ids = distinct(labels, identifier)
        self._unique_ids = distinct(
            ((source, label) for source in sources for label in labels),
            lambda pair: f"{self._devices[pair[0]]}_{self._label_ids[pair[1]]}",
        )
        self._announced_at = {self.sensor(*pair).announced_at for pair in self._unique_ids}

    @property
    def status(self) -> str:
        """Topic that says whether the daemon is there."""
        return f"{self._topic}/status"

    @property
    def event(self) -> str:
        """Topic of the messages without a source."""
        return f"{self._topic}/event"

    @property
    def announcements(self) -> list[str]:
        """Filters for all announcements of these sources, whichever classes they had."""
        return [f"{self._discovery}/binary_sensor/{device}/+/config" for device in self._devices.values()]

    def of_source(self, source: str, last: str) -> str:
        """Return a topic of a source: its `event` or `status`."""
        return f"{self._topic}/{self._sources[source]}/{last}"

    def sensor(self, source: str, label: str) -> Sensor:
        """Return a class of a source as a sensor."""
        device, state = self._devices[source], self.of_source(source, self._labels[label])
        config = {
            "name": label,
            "unique_id": self._unique_ids[source, label],
            "state_topic": state,
            "device_class": "sound",
            "availability": [{"topic": self.status}, {"topic": self.of_source(source, "status")}],
            "availability_mode": "all",
            "device": {"identifiers": [device], "name": f"{source} ({self._topic})", "manufacturer": PROGRAM},
        }
        at = f"{self._discovery}/binary_sensor/{device}/{self._label_ids[label]}/config"
        return Sensor(at, state, json.dumps(config))

    def stale_states(self, announced_at: str, content: bytes) -> list[str] | None:
        """Return what to remove with an announcement: topics of its state; None where it is in use, or not ours."""
        if announced_at in self._announced_at:
            return None
        try:
            config = json.loads(content)
            if config["device"]["manufacturer"] != PROGRAM:
                return None
            state = config["state_topic"]
        except (ValueError, KeyError, TypeError):
            return None
        return [state] if isinstance(state, str) and state.startswith(f"{self._topic}/") else []
