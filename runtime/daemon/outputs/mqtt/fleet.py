"""What a collector of many devices needs to know: what a device is, how it gets on, and its messages, numbered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import cached_property

import htsat_edge
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.clock import STEP_S, SystemClock
from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.device import DeviceProfile, NumberedMessage
from htsat_edge.runtime.daemon.live.frames import LiveSource
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.messages import format_time
from htsat_edge.runtime.daemon.outputs.mqtt.broker import Publication
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics
from htsat_edge.runtime.models.backends.changing import backend_name, present_backend
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

LOOK_S = 0.5
"""From one look at how the device gets on to the next."""
CLIP_TYPES = {SavedClip: "clip_saved", RemovedClip: "clip_removed"}
Reported = Message | SavedClip | RemovedClip


def numbered(session: str, number: int, content: Reported) -> str:
    """Return a message, or what has become of a clip, as a collector takes it, as JSON."""
    if isinstance(content, Message):
        message = json.loads(content.encoded)
    else:
        message = {"type": CLIP_TYPES[type(content)], **asdict(content)}
    return NumberedMessage(session=session, number=number, message=message).model_dump_json()


class ProfileReader:
    """Reads what the device is, from any thread; most of it never changes in a session."""

    def __init__(
        self, settings: MqttConfig, bundle: Bundle, session: str, status: StatusReader, system: SystemClock
    ) -> None:
        """Read of these parts, of which `bundle` has what the model is, and `session` is the id of this one."""
        self._settings, self._bundle, self._session = settings, bundle, session
        self._status, self._system = status, system
        self._begun_s, self._begun = time.monotonic(), system.wall(time.monotonic())

    def __call__(self) -> str:
        """Return it as JSON."""
        settings, backend, sessions = self._settings, self._status.scorer.backend, self._status.sessions
        engine = getattr(present_backend(backend), "manifest", None)
        return DeviceProfile(
            device=settings.device or settings.topic,
            place=settings.place,
            version=htsat_edge.__version__,
            session=self._session,
            started_at=format_time(self._started_at()),
            model=sessions[0].info.name,
            bundle=self._hash,
            backend=backend_name(backend),
            precision=None if engine is None else engine.recipe.precision,
            hop_s={session.feed.name: session.hop_s for session in sessions},
            health_s=settings.health_s,
            page=settings.page,
        ).model_dump_json()

    def _started_at(self) -> datetime:
        """Return when it began, which is another time only where the system's clock was set."""
        begun = self._system.wall(self._begun_s)
        if abs(begun - self._begun) >= timedelta(seconds=STEP_S):
            self._begun = begun
        return self._begun

    @cached_property
    def _hash(self) -> str:
        try:
            return self._bundle.sha256("fp32")
        except (OSError, HtsatEdgeError):  # one with engines alone; what has no hash is compared to nothing
            return ""


class DeviceReport:
    """Says when it is to be published what the device is, and how it gets on."""

    def __init__(self, profile: Callable[[], str], status: StatusReader, every_s: float) -> None:
        """Prepare to say it.

        Parameters
        ----------
        profile
            Returns what the device is, as JSON; it is published where it has changed.
        status
            Reads how it gets on, which is published every `every_s` seconds, and where a source or the whole has
            become another than it was.
        """
        self._profile, self._status, self._every_s = profile, status, every_s
        self.forget()

    def forget(self) -> None:
        """Have all of it published again, such as to a broker that may have forgotten."""
        self._published = ""
        self._looked: object = None
        self._look_s = self._due_s = 0.0

    def due(self, topics: Topics) -> Iterator[Publication]:
        """Yield what is to be published now; it counts as published when the next one is asked for."""
        now = time.monotonic()
        if now < self._look_s:
            return
        self._look_s = now + LOOK_S
        profile = self._profile()
        if profile != self._published:
            yield Publication(topics.info, profile)
            self._published = profile
        state = (self._status.healthy, [condition(source) for source in self._status.sources()])
        if state != self._looked or now >= self._due_s:
            status = self._status.read()
            yield Publication(topics.health, status.model_dump_json())
            for source in status.sources:
                yield Publication(topics.of_source(source.name, "condition"), source.model_dump_json())
            self._looked, self._due_s = state, now + self._every_s


def condition(source: LiveSource) -> object:
    """Return what of a source is published as soon as it changes."""
    return source.heard, source.paused, source.problems
