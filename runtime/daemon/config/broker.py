"""An MQTT broker, and how to reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from htsat_edge.runtime.common.urls import check_host
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import PRINTABLE, Port, Section, matching

TOPIC = r"^[^#+\s/$\x00-\x1f\x7f-\x9f]([^#+\x00-\x1f\x7f-\x9f]*[^#+/\s\x00-\x1f\x7f-\x9f])?$"
Topic = Annotated[
    str,
    Field(max_length=500, json_schema_extra={"pattern": TOPIC}),
    matching(TOPIC, "want text without #, + and control characters, no / or space at its ends, no $ at its beginning"),
]
"""Of MQTT, to publish under: without wildcards, and with no level left empty at its ends."""
UserName = Annotated[
    str,
    Field(min_length=1, max_length=10_000),
    matching(rf"{PRINTABLE}+", "want text of one line, without control characters"),
]
"""Also a token, where a broker wants one; MQTT takes no more than 65535 bytes."""


class BrokerConfig(Section):
    """An MQTT broker."""

    host: Annotated[str, AfterValidator(check_host)]
    port: Port = 1883
    tls: bool = False
    ca_file: Path | None = None
    """Certificates (PEM) of who has signed the broker's; null: those of the system."""
    username: UserName | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _nothing_unused(self) -> BrokerConfig:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file: is used only with `tls: true`")
        if self.password is not None and self.username is None:
            raise ValueError("password: is used only with `username`")
        return self
