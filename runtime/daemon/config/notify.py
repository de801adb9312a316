"""Who is notified of which events, and how."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.daemon.config.rules import HoursConfig, Names, QuietHoursConfig, check_sources
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import OneLine, Section, Share
from htsat_edge.runtime.daemon.config.template import check_template
from htsat_edge.runtime.models.levels import Sensitivity

TEXT = "{label} at {source}, {time}"
Template = AfterValidator(check_template)


class ServiceConfig(Section):
    """A service that notifies people, such as ntfy, Telegram, Signal, Matrix or mail."""

    url: Secret
    """Its address as Apprise has it, such as ntfys://TOPIC or mailto://user:password@example.org: a secret."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0


class UnusualConfig(Section):
    """When a class is unusual here."""

    fewer_than: Annotated[int, Field(ge=1, le=1000)]
    """Events of it in the store."""
    within_days: Annotated[float, Field(gt=0)] = 7.0
    """Before the event."""


class NotificationRuleConfig(Section):
    """Which events are worth a notification; all of its conditions must hold."""

    services: Names | None = None
    """Which are to notify; all by default."""
    labels: Names | None = None
    """Classes and groups; all by default."""
    sources: Names | None = None
    """All by default."""
    sensitivity: Sensitivity | None = None
    """Only where the score reaches the model's threshold of this level; null: every event that is reported."""
    min_score: Share | None = None
    """Only where the score reaches this, at the start or as the peak at the end."""
    cooldown_s: Annotated[float, Field(ge=0)] = 60.0
    """After a notification of this rule, for each source and class."""
    first_of_day: bool = False
    """Only of the first event of a class in a source on a day that meets the other conditions."""
    unusual: UnusualConfig | None = None
    """Only of what is rare here; needs outputs.store."""
    quiet_hours: list[QuietHoursConfig] = []
    """When nobody is notified, whatever else is reported."""
    between: HoursConfig | None = None
    """Only then."""
    text: Annotated[str, Field(min_length=1, max_length=2000), Template] = TEXT
    """{label}, {source}, {time}, {date}, {score}, {device} and {place} stand for what they name."""
    title: Annotated[str, Field(max_length=200), Template] = "{label}"
    clip: bool = False
    """Whether its clip is attached, once it is written: seconds after the end of the event."""


class NotifyConfig(Section):
    """Notifications."""

    services: Annotated[dict[OneLine, ServiceConfig], Field(min_length=1)]
    """By a name for them."""
    rules: Annotated[list[NotificationRuleConfig], Field(min_length=1)] = [NotificationRuleConfig()]

    @model_validator(mode="after")
    def _known(self) -> NotifyConfig:
        for number, rule in enumerate(self.rules):
            for name in rule.services or ():
                if name not in self.services:
                    hint = suggest(name, self.services, f"; there is {', '.join(self.services)}")
                    raise ValueError(f"rules.{number}.services: {name!r} is no service{hint}")
        return self

    def check_outputs(self, stored: bool, clips: bool) -> None:
        """Raise a ValueError where a rule needs the store or clips, and these are not there."""
        for number, rule in enumerate(self.rules):
            if rule.unusual is not None and not stored:
                raise ValueError(f"notify.rules.{number}.unusual: what is unusual is counted in outputs.store: add it")
            if rule.clip and not clips:
                raise ValueError(f"notify.rules.{number}.clip: clips are written by outputs.clips: add it")

    def check_sources(self, names: Set[str]) -> None:
        """Raise a ValueError where a rule names a source that is not there, nor a channel of one."""
        for number, rule in enumerate(self.rules):
            where = f"outputs.notify.rules.{number}"
            check_sources(f"{where}.sources", rule.sources or (), names)
            for at, hours in enumerate(rule.quiet_hours):
                check_sources(f"{where}.quiet_hours.{at}.sources", hours.sources or (), names)
