"""Where messages go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from htsat_edge.runtime.common.urls import check_url, user_part
from htsat_edge.runtime.daemon.config.broker import BrokerConfig, Topic
from htsat_edge.runtime.daemon.config.notify import NotifyConfig
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import OneLine, Port, Seconds, Section, Share, local_path, matching

WEB_URL = r"^https?://.+$"
WebUrl = Annotated[str, Field(json_schema_extra={"pattern": WEB_URL}), matching(WEB_URL, "want http://… or https://…")]


class JsonLinesConfig(Section):
    """A file of JSON Lines."""

    path: Path
    rotate_mb: Annotated[float, Field(gt=0)] = 10.0
    """A new file is begun at this size; the old ones are PATH.1, PATH.2 …"""
    keep: Annotated[int, Field(ge=0)] = 5
    """Old files."""


class ScoresConfig(Section):
    """The scores of all classes, from which the page says why something was not reported."""

    keep_days: Annotated[float, Field(gt=0)] = 30.0
    quota_mb: Annotated[float, Field(gt=0)] = 500.0
    """Of all scores in the database; the oldest go first."""


class StoreConfig(Section):
    """A database (SQLite) of all events."""

    path: Annotated[Path, local_path("want a file of this device")]
    keep_days: Annotated[float, Field(gt=0)] = 90.0
    scores: ScoresConfig | None = ScoresConfig()
    """null: none are stored."""


class MqttConfig(BrokerConfig):
    """An MQTT broker, Home Assistant, and what a fleet needs to know."""

    topic: Topic = "htsat-edge"
    """What all topics begin with; each device has another one."""
    discovery: Topic | None = "homeassistant"
    """Home Assistant's prefix; null: nothing is announced."""
    off_delay_s: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """A class is ON for at least so long after each start, since nobody sees a bark of half a second."""
    commands: bool = False
    """Whether who may publish to the broker may pause sources and set thresholds."""
    device: OneLine | None = None
    """What people call this device; by default its topic."""
    place: OneLine | None = None
    """Where it is, such as Barn."""
    page: WebUrl | None = None
    """Address of this device's page as a collector reaches it, which fetches clips from there."""
    health_s: Annotated[float, Field(ge=5, le=3600)] = 60.0
    """How often it says how it gets on."""

    @model_validator(mode="after")
    def _plain_page(self) -> MqttConfig:
        if self.page is not None:
            if user_part(self.page) or "?" in self.page or "#" in self.page:
                raise ValueError("page: want http(s)://host:port without a user, ? and #: it is published as it is")
            check_url(self.page)
        return self


class WebhookConfig(Section):
    """An HTTP endpoint that gets each message as JSON, by POST."""

    url: WebUrl
    token: Secret | None = None
    """Sent as `Authorization: Bearer …`."""
    timeout_s: Seconds = 10.0

    @model_validator(mode="after")
    def _no_user(self) -> WebhookConfig:
        if user_part(self.url):
            raise ValueError(
                "url: holds a user name or a password; say in `token` where the token is "
                "(or it holds an @ in its path: write %40 for that)"
            )
        check_url(self.url)
        return self


class ClipsConfig(Section):
    """Recordings of events."""

    folder: Path
    pre_roll_s: Annotated[float, Field(ge=0, le=30)] = 2.0
    post_roll_s: Annotated[float, Field(ge=0, le=30)] = 1.0
    most_s: Annotated[float, Field(ge=1, le=120)] = 20.0
    """Of an event; a longer one is cut off here."""
    quota_mb: Annotated[float, Field(gt=0)] = 1000.0
    """Of the folder; the oldest clips go first."""
    format: Literal["flac", "wav"] = "flac"
    privacy: Literal["none", "no_speech"] = "none"
    """no_speech: what scores high for speech is silence in the clip."""
    speech_label: str = "Speech"
    speech_score: Share = 0.1
    """From here on it is speech."""


class MetricsConfig(Section):
    """Prometheus' /metrics, and /healthz."""

    host: str = "127.0.0.1"
    port: Port = 9464


class OutputsConfig(Section):
    """Where messages go. Each output is on its own: a slow or dead one never stops detection."""

    stdout: bool = True
    """JSON Lines."""
    json_lines: JsonLinesConfig | None = None
    store: StoreConfig | None = None
    mqtt: MqttConfig | None = None
    webhook: WebhookConfig | None = None
    notify: NotifyConfig | None = None
    clips: ClipsConfig | None = None
    metrics: MetricsConfig | None = None

    @model_validator(mode="after")
    def _notified(self) -> OutputsConfig:
        if self.notify is not None:
            self.notify.check_outputs(self.store is not None, self.clips is not None)
        return self

    @property
    def others(self) -> bool:
        """Whether there is another output than stdout."""
        return any((self.json_lines, self.store, self.mqtt, self.webhook, self.notify, self.clips, self.metrics))

    @property
    def keeps_events(self) -> bool:
        """Whether events are still somewhere when they have left the screen."""
        return any((self.json_lines, self.store, self.mqtt, self.webhook))
