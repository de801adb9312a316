"""What to listen to, and when something is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from htsat_edge.runtime.common.urls import user_part, without_user
from htsat_edge.runtime.daemon.config.detection import SourceDetectionConfig
from htsat_edge.runtime.daemon.config.level import SourceLevelConfig
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import Section, matching

SOURCE_NAME = r"^[^\s#+\x7f-\x9f][^#+\x00-\x1f\x7f-\x9f]*$"
PASSWORD = "{password}"
"""Where a stream's password stands in its URL and its options."""


class MicrophoneConfig(Section):
    """A sound card's input, through PortAudio."""

    device: str | int | None = None
    """Its name or a part of it, its number in `htsat-edge devices`, `alsa:ID` or `usb:VENDOR:PRODUCT`."""
    channel: Literal["mix", "first", "loudest", "each"] | Annotated[int, Field(ge=1)] = "mix"
    """All mixed, each as a source of its own, the loudest, or one of them, counted from 1."""
    sample_rate: Annotated[int, Field(ge=8000, le=384_000)] | None = None
    """Hz; by default the model's if the device takes it, else the device's own."""


class StreamConfig(Section):
    """Anything that ffmpeg reads; started again whenever it ends."""

    url: str
    """rtsp://…, http://… A password belongs into `password`, and {password} in its place here, or in the options."""
    password: Secret | None = None
    options: list[str] = []
    """Of ffmpeg, before -i, such as -rtsp_transport tcp."""

    @model_validator(mode="after")
    def _password_is_elsewhere(self) -> StreamConfig:
        _, colon, password = user_part(self.url).partition(":")
        if colon and password != PASSWORD:
            raise ValueError(
                "url: holds a password; put {password} there, and say in `password` where it is "
                "(or it holds an @ in its path: write %40 for that)"
            )
        if "://" in self.url and re.search(r"\s", self.url):
            raise ValueError("url: holds a space; write %20 for it")
        used = any(PASSWORD in text for text in (self.url, *self.options))
        if used and self.password is None:
            raise ValueError("url: has {password}, but `password` does not say where it is")
        if self.password is not None and not used:
            raise ValueError("password: is not used; put {password} into the url: rtsp://me:{password}@camera/1")
        return self


class PcmConfig(Section):
    """Raw samples on stdin."""

    sample_rate: Annotated[int, Field(ge=8000, le=384_000)]
    format: Literal["s16le", "s24le", "s32le", "f32le"] = "s16le"
    channels: Annotated[int, Field(ge=1, le=64)] = 1


class SourceConfig(Section):
    """Something to listen to: one of microphone, stream, stdin and file."""

    name: Annotated[
        str,
        Field(min_length=1, json_schema_extra={"pattern": SOURCE_NAME}),
        matching(SOURCE_NAME, "want text without #, + and control characters, no space at its beginning"),
    ]
    """Of the source in messages and topics."""
    microphone: MicrophoneConfig | None = None
    stream: StreamConfig | None = None
    stdin: PcmConfig | None = None
    file: Path | None = None
    """A recording, read once, as fast as possible."""
    level: SourceLevelConfig = SourceLevelConfig()
    detection: SourceDetectionConfig = SourceDetectionConfig()
    """Keys of the section `detection` that differ for this source."""

    @model_validator(mode="after")
    def _one(self) -> SourceConfig:
        if sum(x is not None for x in (self.microphone, self.stream, self.stdin, self.file)) != 1:
            raise ValueError(f"{self.name}: want one of microphone, stream, stdin and file")
        if without_user(self.name) != self.name:
            raise ValueError("name: holds a user name or a password, and would be printed")
        if self.file is not None and re.match(r"[a-z]\w+:/", str(self.file)):
            raise ValueError("file: is an address; write stream: {url: …}")
        return self


def names_of(source: str) -> set[str]:
    """Return the names that the configuration may have for a source: array/2 is a channel of array."""
    return {source, re.sub(r"/\d+$", "", source)}


class HealthConfig(Section):
    """When something is wrong with an input: it is muted, clipped, humming, too quiet."""

    enabled: bool = True
    quiet_dbfs: Annotated[float, Field(le=0)] = -80.0
    """Below this level for a minute, the input counts as dead or its gain as too low."""
    clipped_percent: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Of the samples that may be at full scale."""
