"""The output that notifies people: a thread decides, and each service has a thread of its own to deliver."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from htsat_edge.runtime.common.message import DECIMALS, Message
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.daemon.config import ClipsConfig, DaemonConfig, NotifyConfig, OutputsConfig
from htsat_edge.runtime.daemon.config.notify import NotificationRuleConfig
from htsat_edge.runtime.daemon.config.template import fill_template
from htsat_edge.runtime.daemon.outputs.notify.clips import AwaitingClip, ClipsAwaited
from htsat_edge.runtime.daemon.outputs.notify.decider import HeardEvent, NeededScore, NotificationDecider
from htsat_edge.runtime.daemon.outputs.notify.history import EventHistory
from htsat_edge.runtime.daemon.outputs.notify.service import Notification, NotificationService
from htsat_edge.runtime.daemon.outputs.sender import Output
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.levels import Sensitivity
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

QUEUED = 20_000
"""Messages and clips: while a slow store is asked, as many may come."""
PATIENCE_S = 15.0
"""For a clip to be final and written, after the last audio that it may want."""


class NotifyOutput(Output[HeardEvent | SavedClip]):
    """Decides which events are worth a notification, and gives these to the services."""

    batch = 1

    def __init__(
        self,
        services: Mapping[str, NotificationService],
        decider: NotificationDecider,
        names: Mapping[str, str],
        clips: ClipsConfig | None = None,
    ) -> None:
        """Prepare to decide.

        Parameters
        ----------
        services
            By name; they are started before the notifier and closed after it, and end when it has.
        decider
            The rules.
        names
            What {device} and {place} stand for.
        clips
            How clips are written, where they are.
        """
        super().__init__("notify", QUEUED)
        self._services, self._decider, self._names, self._clips = services, decider, names, clips
        self._awaited = ClipsAwaited()

    def offer(self, message: Message) -> None:
        """Take a message, without waiting; those that are no events are left out."""
        if isinstance(message, Event):
            self.put(HeardEvent(message, time.monotonic(), time.time()))

    def record(self, write: SavedClip | RemovedClip) -> None:
        """Take note of a clip that was written, without waiting; from any thread."""
        if isinstance(write, SavedClip) and self._clips is not None:
            self.put(write)

    def send(self, batch: Sequence[HeardEvent | SavedClip]) -> None:
        """Decide."""
        for item in batch:
            if isinstance(item, HeardEvent):
                self._decide(item)
            elif self._clips is not None:
                self._pass_on(self._awaited.take((item.source, item.number), self._clips.folder / item.name))
        self.idle()

    def count(self, batch: Sequence[HeardEvent | SavedClip]) -> int:
        """Return how many of these are messages."""
        return sum(isinstance(item, HeardEvent) for item in batch)

    def idle(self) -> None:
        """Send without its clip what has waited for it for long enough."""
        self._pass_on(self._awaited.expire(time.monotonic()))

    def closed(self) -> None:
        """Send what still waits for its clip, and have the services end."""
        self._pass_on(self._awaited.expire(math.inf))
        for service in self._services.values():
            service.finish()

    def _decide(self, heard: HeardEvent) -> None:
        event, clips = heard.event, self._clips
        key = (event.source, event.id)
        for rule, services in self._decider.take(heard):
            made = self._notification(rule, heard)
            awaiting = AwaitingClip(made, services, heard.came_s)
            if not rule.clip:
                self._pass_on([awaiting])
            elif clips is None or event.clip is None:
                self._pass_on([replace(awaiting, notification=made.without_clip())])
            else:
                until_s = heard.came_s + clips.most_s + clips.post_roll_s + PATIENCE_S
                self._pass_on(self._awaited.expect(key, replace(awaiting, until_s=until_s)))
        if isinstance(event, EventEnd) and clips is not None:
            self._awaited.hasten(key, heard.came_s + clips.post_roll_s + PATIENCE_S)

    def _pass_on(self, notifications: Sequence[AwaitingClip]) -> None:
        for one in notifications:
            made = replace(one.notification, made_s=time.monotonic())
            for service in one.services:
                self._services[service].put(made)

    def _notification(self, rule: NotificationRuleConfig, heard: HeardEvent) -> Notification:
        event = heard.event
        moment = None if event.time is None else datetime.fromisoformat(event.time).astimezone()
        values = {
            "label": event.label,
            "source": event.source,
            "time": "at an unknown time" if moment is None else f"{moment:%H:%M}",
            "date": "on an unknown day" if moment is None else f"{moment:%Y-%m-%d}",
            "score": f"{event.score:.2f}",
            **self._names,
        }
        shown = {name: visible(value) for name, value in values.items()}
        return Notification(fill_template(rule.title, shown), fill_template(rule.text, shown), heard.came_s)


def open_services(config: NotifyConfig) -> dict[str, NotificationService]:
    """Return the services by name; each delivers once it is started."""
    return {name: NotificationService(name, settings) for name, settings in config.services.items()}


def make_notifier(config: DaemonConfig, info: ModelInfo, settings: Mapping[str, Settings]) -> list[Output[Any]]:
    """Return the services and, behind them, what decides; nothing where nobody is to be notified.

    Parameters
    ----------
    config
        The configuration.
    info, settings
        The model, and the settings of detection by source, which have the thresholds of each level.
    """
    notify, store = config.outputs.notify, config.outputs.store
    if notify is None:
        return []
    services = open_services(notify)
    history = EventHistory(None if store is None else store.path)
    decider = NotificationDecider(notify, score_needed(info, settings), history)
    return [*services.values(), NotifyOutput(services, decider, names_here(config.outputs), config.outputs.clips)]


def names_here(config: OutputsConfig) -> dict[str, str]:
    """Return what {device} and {place} stand for: what MQTT calls this device, or else the name of its host."""
    mqtt = config.mqtt
    return {
        "device": (mqtt and mqtt.device) or socket.gethostname(),
        "place": (mqtt and mqtt.place) or "",
    }


def score_needed(info: ModelInfo, settings: Mapping[str, Settings]) -> NeededScore:
    """Return what finds the score that a rule wants of a class: its own, or that of the model's level."""
    known: dict[tuple[Sensitivity, str], Mapping[str, float]] = {}

    def thresholds(sensitivity: Sensitivity, source: str) -> Mapping[str, float]:
        if (sensitivity, source) not in known:
            own = replace(settings[source], sensitivity=sensitivity, threshold=None, thresholds={})
            classes = own.classes(info)
            known[sensitivity, source] = dict(zip(classes.labels, classes.thresholds.tolist(), strict=True))
        return known[sensitivity, source]

    def needed(rule: NotificationRuleConfig, source: str, label: str) -> float:
        level = 0.0
        if rule.sensitivity is not None and source in settings:
            level = round(thresholds(rule.sensitivity, source).get(label, 0.0), DECIMALS)
        return max(level, rule.min_score or 0.0)

    return needed
