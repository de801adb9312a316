"""The sound level: what is published of it, and when it is an event."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from htsat_edge.runtime.common.text import is_name
from htsat_edge.runtime.daemon.config.section import Section

Offset = Annotated[float, Field(ge=0, le=300)]
"""dB SPL of a sound whose level is 0 dBFS."""


def _printable(text: str) -> str:
    if not is_name(text):
        raise PydanticCustomError("label", "want a name that can be printed")
    return text


class LevelEventConfig(Section):
    """A level that is an event of its own. It is A-weighted, with the time weighting Fast."""

    above_db: Annotated[float, Field(ge=-200, le=300)]
    """dB SPL where there is an offset_db, else dBFS."""
    label: Annotated[str, Field(min_length=1), AfterValidator(_printable)] = "Loud sound"
    """Of the event."""
    release_db: Annotated[float, Field(ge=0, le=100)] = 3.0
    """An event goes on while its level is at most this far below the limit."""
    min_length_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Shorter events are left out."""
    merge_gap_s: Annotated[float, Field(ge=0, le=3600)] = 1.0
    """Events that are nearer to each other are one."""


class SourceLevelConfig(Section):
    """The level of one source."""

    offset_db: Offset | None = None
    """dB SPL at 0 dBFS in this source; null: that of `level`."""


class LevelConfig(Section):
    """The sound level of every source: dBFS, and with a calibration LAeq and LAmax in dB SPL."""

    offset_db: Offset | None = None
    """dB SPL at 0 dBFS, from a calibration; null: the level is published in dBFS only."""
    every_s: Annotated[int, Field(ge=1, le=3600)] | None = None
    """Whole seconds that each `level` message is of, such as 1 or 60; null: there are no such messages."""
    event: LevelEventConfig | None = None
    """When a level is an event; null: never."""

    @property
    def enabled(self) -> bool:
        """Whether anything of it is wanted."""
        return self != LevelConfig()

    def of_source(self, own: SourceLevelConfig) -> LevelConfig:
        """Return what is in force for a source."""
        return self if own.offset_db is None else self.model_copy(update={"offset_db": own.offset_db})

    def check(self, source: str) -> None:
        """Raise a ValueError where the level of an event is none that a source can have."""
        if self.event is None or self.event.above_db < (self.offset_db or 0.0):
            return
        if self.offset_db is None:
            raise ValueError(f"level.event.above_db: in {source} want a level below 0 dBFS, or set level.offset_db")
        raise ValueError(f"level.event.above_db: want a level below {self.offset_db:g} dB, which is 0 dBFS in {source}")
