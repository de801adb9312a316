"""Rules between sounds: which events are not reported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.daemon.config.section import Section, one_of_several
from htsat_edge.runtime.daemon.config.sources import names_of

TIME = r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$"
TEXT = {"type": "string"}
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)


def _listed(value: Any) -> Any:
    """Return one name as a list of one."""
    return [value] if isinstance(value, str) else value


def _time_of_day(value: Any) -> str:
    """Return a time of day as HH:MM; without quotes, YAML takes some of them for a number."""
    if isinstance(value, str) and re.fullmatch(TIME, value):
        return value.zfill(5)
    raise PydanticCustomError("time_of_day", 'want a time of day in quotes, from "00:00" to "23:59"')


NotNegative = Annotated[float, Field(ge=0)]
TimeOfDay = Annotated[str, BeforeValidator(_time_of_day), Field(json_schema_extra={"pattern": TIME})]
Names = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}),
]


class SuppressConfig(Section):
    """What keeps a class from being reported."""

    while_: Annotated[Names, Field(alias="while")]
    """Another class, or several: while one of them sounds, until its end is known, which takes some seconds."""
    within_s: NotNegative = 0.0
    """And so long after its end."""


class HoursConfig(Section):
    """A time of day."""

    from_: Annotated[TimeOfDay, Field(alias="from")]
    """Local time."""
    to: TimeOfDay
    """On the next day where it is not after `from`."""
    days: Annotated[list[Day], Field(min_length=1)] | None = None
    """On which it begins; every day by default."""


class QuietHoursConfig(HoursConfig):
    """A time of day at which nothing is reported."""

    labels: Names | None = None
    """Only these classes; all by default."""
    sources: Names | None = None
    """Only in these sources; in all by default."""


class RulesConfig(Section):
    """Which events are not reported; they are counted. An event whose start was reported keeps its end."""

    suppress: dict[str, SuppressConfig] = {}
    """By class: not reported while another one sounds in the same source."""
    cooldown_s: Annotated[NotNegative | dict[str, NotNegative], one_of_several("want s, or s by class: {Dog: 60}")] = {}
    """By class, or one number for each: so long after its last reported event in a source, it is not reported again."""
    quiet_hours: list[QuietHoursConfig] = []
    """When classes or sources are not reported; by the local time of the onset."""

    @model_validator(mode="after")
    def _others(self) -> RulesConfig:
        for label, rule in self.suppress.items():
            if label in rule.while_:
                raise ValueError(f"suppress.{label}.while: is {label} itself; cooldown_s is for that")
        return self

    def cooldown_of(self, label: str) -> float:
        """Return the seconds of a class; 0 where it has none."""
        return self.cooldown_s.get(label, 0.0) if isinstance(self.cooldown_s, dict) else self.cooldown_s

    def check_sources(self, names: Set[str]) -> None:
        """Raise a ValueError where quiet hours are those of a source that is not there, nor a channel of one."""
        for number, hours in enumerate(self.quiet_hours):
            check_sources(f"rules.quiet_hours.{number}.sources", hours.sources or (), names)


def check_sources(where: str, sources: Iterable[str], names: Set[str]) -> None:
    """Raise a ValueError where one of `sources` is no source, nor a channel of one."""
    for source in sources:
        if not names & names_of(source):
            hint = suggest(source, names, f"; there is {', '.join(sorted(names))}")
            raise ValueError(f"{where}: {source!r} is no source{hint}")
