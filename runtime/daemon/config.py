"""The keys of configs/detector.yaml: what `htsat-edge listen` is told. Units are in the names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from htsat_edge.runtime.common.errors import HtsatEdgeError
from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(gt=0, lt=65536)]


def slug(text: str) -> str:
    """What may stand in a topic and in an id: "Cattle, bovinae" is cattle_bovinae."""
    return re.sub(r"[\W_]+", "_", text.casefold()).strip("_") or "_"


class Section(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Secret(Section):
    """Where a password or token is; never in the file itself, and never logged."""

    env: str | None = None
    """Name of an environment variable."""
    file: Path | None = None
    """A file that holds it, such as systemd's credentials."""

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("want one of env and file")
        return self

    def read(self) -> str:
        """The secret itself; an HtsatEdgeError where it is not there."""
        if self.env is not None:
            if self.env not in os.environ:
                raise HtsatEdgeError(f"the environment has no {self.env}, which is to hold a secret")
            return self._checked(self.env, os.environ[self.env])
        assert self.file is not None
        try:
            return self._checked(self.file, self.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise HtsatEdgeError(f"{self.file}: cannot be read: {error.strerror}; it is to hold a secret") from None
        except UnicodeDecodeError:
            raise HtsatEdgeError(f"{self.file}: is no text; it is to hold a secret") from None

    @staticmethod
    def _checked(where: object, secret: str) -> str:
        secret = secret.strip()
        if not secret or not secret.isprintable():
            raise HtsatEdgeError(f"{where}: is to hold a secret of one line")
        return secret


class Model(Section):
    """What listens."""

    bundle: Path | None = None
    """Folder of the model; the bundled one by default."""
    precision: str | None = None
    """Which of its graphs or engines; by default what was measured to be best here."""
    backend: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    """Of onnxruntime; by default one fewer than there are cores, so that one is free for the sound card."""
    build: bool = True
    """Build an engine in the background where TensorRT is there but no engine fits."""


class Detection(Section):
    """When a sound is an event."""

    hop_s: Seconds | None = None
    """From one run of the model to the next; an eighth of a clip by default, 1.28 s."""
    look_ahead_s: Annotated[float, Field(ge=0)] | None = None
    """How much is heard after a moment before its scores are final; a quarter of a clip by default, 2.56 s."""
    threshold: Share | None = None
    """For every class, in place of the model's own."""
    thresholds: dict[str, Share] = {}
    """For some classes, by label."""
    labels: list[str] | None = None
    """Only these classes; all by default."""
    release: Share = 0.6
    """An event goes on while its score is at least this share of the threshold."""
    min_length_s: Annotated[float, Field(ge=0)] = 0.3
    merge_gap_s: Annotated[float, Field(ge=0)] = 0.7
    gate_dbfs: Annotated[float, Field(le=0)] | None = None
    """Save power: the model does not run on clips that are never louder than this. Off by default: see docs."""


class Microphone(Section):
    """A sound card's input, by way of PortAudio."""

    device: str | int | None = None
    """Its name or a part of it, its number in `htsat-edge devices`, `alsa:ID` or `usb:VENDOR:PRODUCT`."""
    channel: Literal["mix", "each"] | Annotated[int, Field(ge=1)] = "mix"
    """All mixed, each as a source of its own, or one of them, counted from 1."""
    sample_rate: Annotated[int, Field(ge=8000, le=384_000)] | None = None
    """Hz; by default the model's if the device takes it, else the device's own."""


class Stream(Section):
    """Anything that ffmpeg reads; started again whenever it ends."""

    url: str
    """rtsp://…, http://…, or a file. A password belongs into `password`, and {password} in its place here."""
    password: Secret | None = None
    options: list[str] = []
    """Of ffmpeg, before -i, such as -rtsp_transport tcp."""

    @model_validator(mode="after")
    def _no_password(self) -> Stream:
        if re.search(r"://[^/@]*:(?!\{password\})[^/@]*@", self.url):
            raise ValueError("url: holds a password; put {password} there, and say in `password` where it is")
        return self


class Pcm(Section):
    """Raw samples on stdin."""

    sample_rate: Annotated[int, Field(ge=8000, le=384_000)]
    format: Literal["s16le", "s32le", "f32le"] = "s16le"
    channels: Annotated[int, Field(ge=1, le=64)] = 1


class Source(Section):
    """What is listened to: one of microphone, stream, stdin and file."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[^\s#+][^#+\x00-\x1f]*$")]
    """How it is called in events and topics."""
    microphone: Microphone | None = None
    stream: Stream | None = None
    stdin: Pcm | None = None
    file: Path | None = None
    """A recording, heard once, as fast as it goes."""

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(x is not None for x in (self.microphone, self.stream, self.stdin, self.file)) != 1:
            raise ValueError(f"{self.name}: want one of microphone, stream, stdin and file")
        return self


class Health(Section):
    """When a microphone counts as deaf."""

    enabled: bool = True
    quiet_dbfs: Annotated[float, Field(le=0)] = -80.0
    """Below this level for a minute, the input is taken for dead or its gain for too low."""
    clipped_percent: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Of the samples that may be at full scale."""


class JsonLines(Section):
    """A file of JSON Lines."""

    path: Path
    rotate_mb: Annotated[float, Field(gt=0)] = 10.0
    """A new file is begun at this size; the old ones are PATH.1, PATH.2 …"""
    keep: Annotated[int, Field(ge=0)] = 5
    """Old files."""


class Store(Section):
    """A database (SQLite) of all events."""

    path: Path
    keep_days: Annotated[float, Field(gt=0)] = 90.0


class Mqtt(Section):
    """A broker, and Home Assistant."""

    host: str
    port: Port = 1883
    tls: bool = False
    username: str | None = None
    password: Secret | None = None
    topic: Annotated[str, Field(min_length=1, pattern=r"^[^#+\s/$][^#+]*[^#+/]$")] = "htsat-edge"
    """What all topics begin with."""
    discovery: str | None = "homeassistant"
    """Home Assistant's prefix; null: nothing is announced."""


class Webhook(Section):
    """An HTTP endpoint that gets each event as JSON, by POST."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    token: Secret | None = None
    """Sent as `Authorization: Bearer …`."""
    timeout_s: Seconds = 10.0


class Clips(Section):
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


class Metrics(Section):
    """Prometheus' /metrics, and /healthz."""

    host: str = "127.0.0.1"
    port: Port = 9464


class Outputs(Section):
    """Where events go. Each is on its own: a slow or dead one never stops detection."""

    stdout: bool = True
    """JSON Lines."""
    json_lines: JsonLines | None = None
    store: Store | None = None
    mqtt: Mqtt | None = None
    webhook: Webhook | None = None
    clips: Clips | None = None
    metrics: Metrics | None = None


class DaemonConfig(Section):
    """All of it."""

    model: Model = Model()
    detection: Detection = Detection()
    sources: Annotated[list[Source], Field(min_length=1)] = [Source(name="microphone", microphone=Microphone())]
    health: Health = Health()
    outputs: Outputs = Outputs()

    @model_validator(mode="after")
    def _consistent(self) -> DaemonConfig:
        names = [source.name for source in self.sources]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"sources: {', '.join(sorted(repeated))} stands there twice")
        topics = [slug(name) for name in names]
        if len(set(topics)) < len(topics):
            raise ValueError(f"sources: {', '.join(names)}: two of these would have the same topic")
        if sum(source.stdin is not None for source in self.sources) > 1:
            raise ValueError("sources: there is one stdin only")
        return self
