"""The base of what an output gets: a typed, frozen record that is serialised once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from typing_extensions import Self

DECIMALS = 4
"""Of the scores and times in messages."""


class Message(BaseModel):
    """One JSON object on one line."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )

    type: str
    source: str | None
    """Name of the source; null where the message concerns none."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with some fields changed."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("encoded", None)  # it is that of the original
        return copy

    @cached_property
    def encoded(self) -> str:
        """The message as JSON, without the newline."""
        return json.dumps(self.model_dump())


def format_time(moment: datetime) -> str:
    """Return a time of day as messages have it: ISO 8601, milliseconds, offset from UTC."""
    return moment.isoformat(timespec="milliseconds")
