"""Who is notified of which events, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from htsat_edge.runtime.daemon.config.rules import Names, QuietHoursConfig, TimeOfDay
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import Section
from htsat_edge.runtime.models.levels import Sensitivity

TEXT = "{label} at {source}, {time}"


class ServiceConfig(Section):
    """A service that notifies people, such as ntfy, Telegram, Signal, Matrix or mail."""

    url: Secret
    """Its address as Apprise has it, such as ntfys://TOPIC or mailto://user:password@example.org: a secret."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0


class UnusualConfig(Section):
    """When a class is unusual here."""

    fewer_than: Annotated[int, Field(ge=1)]
    """Events of it in the store."""
    within_days: Annotated[float, Field(gt=0)] = 7.0


class BetweenConfig(Section):
    """A time of day."""

    from_: Annotated[TimeOfDay, Field(alias="from")]
    """Local time."""
    to: TimeOfDay
    """On the next day where it is not after `from`."""


class NotificationRuleConfig(Section):
    """Which events are worth a notification; all of its conditions must hold."""

    services: Names | None = None
    """Which are to notify; all by default."""
    labels: Names | None = None
    """Classes and groups; all by default."""
    sources: Names | None = None
    sensitivity: Sensitivity | None = None
    """Only where the score reaches the model's threshold of this level; null: every event that is reported."""
    min_score: Annotated[float, Field(gt=0, lt=1)] | None = None
    cooldown_s: Annotated[float, Field(ge=0)] = 60.0
    """After a notification of this rule, for each source and class."""
    first_of_day: bool = False
    """Only of the first event of a class in a source on a day."""
    unusual: UnusualConfig | None = None
    """Only of what is rare here; needs outputs.store."""
    quiet_hours: list[QuietHoursConfig] = []
    """When nobody is notified, whatever else is reported."""
    between: BetweenConfig | None = None
    """Only then."""
    text: Annotated[str, Field(min_length=1, max_length=2000)] = TEXT
    """{label}, {source}, {time}, {date}, {score}, {device} and {place} stand for what they name."""
    title: Annotated[str, Field(max_length=200)] = "{label}"
    clip: bool = False
    """Whether its clip is attached, once it is written: seconds after the end of the event."""


class NotifyConfig(Section):
    """Notifications."""

    services: Annotated[dict[str, ServiceConfig], Field(min_length=1)]
    """By a name for them."""
    rules: Annotated[list[NotificationRuleConfig], Field(min_length=1)] = [NotificationRuleConfig()]

    @model_validator(mode="after")
    def _known(self) -> NotifyConfig:
        for number, rule in enumerate(self.rules):
            for name in rule.services or ():
                if name not in self.services:
                    raise ValueError(f"rules.{number}.services: {name!r} is none of {', '.join(self.services)}")
        return self
