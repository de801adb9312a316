"""The keys of configs/detector.yaml, the configuration of `htsat-edge listen`. Units are in the names."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.urls import check_host, check_url, user_part, without_user

TOPIC = r"^[^#+\s/$\x00-\x1f]([^#+\x00-\x1f]*[^#+/\s\x00-\x1f])?$"
SOURCE_NAME = r"^[^\s#+][^#+\x00-\x1f]*$"
WEB_URL = r"^https?://.+$"


def _matching(pattern: str, wanted: str) -> AfterValidator:
    """Return a check that a whole text matches a pattern; its error says in words what is wanted."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError("text", wanted)
        return text

    return AfterValidator(check)


Share = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(gt=0, lt=65536)]
Topic = Annotated[
    str,
    Field(max_length=1000, json_schema_extra={"pattern": TOPIC}),
    _matching(TOPIC, "want text without #, + and control characters, no / or space at its ends, no $ at its beginning"),
]
"""Of MQTT, to publish under: without wildcards, and with no level left empty at its ends."""
PASSWORD = "{password}"
"""Where a stream's password stands in its URL and its options."""
MOST_SECRET = 10_000
"""Bytes of a file that holds a secret; certificates are longer, passwords and tokens are not."""


def slug(text: str) -> str:
    """Return a text as it may stand in a topic and in an id: "Cattle, bovinae" is cattle_bovinae."""
    return re.sub(r"[\W_]+", "_", text.casefold()).strip("_") or "_"


class Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Secret(Section):
    """Where a password or token is kept; it is never in the file itself, and never logged."""

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
        """Return the secret itself; raise an HtsatEdgeError where it is not there."""
        if self.env is not None:
            if self.env not in os.environ:
                raise HtsatEdgeError(f"the environment has no {self.env}, which must hold a secret")
            return self._checked(self.env, os.environ[self.env])
        assert self.file is not None
        try:
            return self._checked(self.file, _read_short(self.file).decode("utf-8-sig"))
        except OSError as error:
            raise HtsatEdgeError(f"{self.file}: cannot be read: {error.strerror}; it must hold a secret") from None
        except UnicodeDecodeError:
            raise HtsatEdgeError(f"{self.file}: is no text; it must hold a secret") from None

    @staticmethod
    def _checked(where: object, secret: str) -> str:
        secret = secret.strip()
        if not secret or not secret.isprintable():
            raise HtsatEdgeError(f"{where}: must hold a secret of one line")
        return secret


def _read_short(path: Path) -> bytes:
    """Return the content of a small file; never wait for a pipe, and never read a device without end."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise HtsatEdgeError(f"{path}: is no regular file; it must hold a secret")
        content = file.read(MOST_SECRET + 1)
    if len(content) > MOST_SECRET:
        raise HtsatEdgeError(f"{path}: must hold a secret of one line, and is longer than {MOST_SECRET} bytes")
    return content


class ModelConfig(Section):
    """The model."""

    bundle: Path | None = None
    """Folder of the model; the bundled one by default."""
    precision: str | None = None
    """Of its graphs or engines; by default the one that was measured to be best here."""
    backend: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    """Of onnxruntime; by default one fewer than there are cores, so that one is free for the sound card."""
    build: bool = True
    """Build an engine in the background where TensorRT is there but no engine fits."""


class DetectionConfig(Section):
    """When a sound is an event."""

    hop_s: Seconds | None = None
    """From one run of the model to the next; an eighth of a window by default, 1.28 s."""
    look_ahead_s: Annotated[float, Field(ge=0)] | None = None
    """Heard after a moment before its scores are final; a quarter of a window by default, 2.56 s."""
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
    """Save power: the model does not run on windows that are never louder than this. Off by default: see docs."""


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
        _matching(SOURCE_NAME, "want text without #, + and control characters, no space at its beginning"),
    ]
    """Of the source in messages and topics."""
    microphone: MicrophoneConfig | None = None
    stream: StreamConfig | None = None
    stdin: PcmConfig | None = None
    file: Path | None = None
    """A recording, read once, as fast as possible."""

    @model_validator(mode="after")
    def _one(self) -> SourceConfig:
        if sum(x is not None for x in (self.microphone, self.stream, self.stdin, self.file)) != 1:
            raise ValueError(f"{self.name}: want one of microphone, stream, stdin and file")
        if without_user(self.name) != self.name:
            raise ValueError("name: holds a user name or a password, and would be printed")
        if self.file is not None and re.match(r"[a-z]\w+:/", str(self.file)):
            raise ValueError("file: is an address; write stream: {url: …}")
        return self


class HealthConfig(Section):
    """When something is wrong with an input: it is muted, clipped, humming, too quiet."""

    enabled: bool = True
    quiet_dbfs: Annotated[float, Field(le=0)] = -80.0
    """Below this level for a minute, the input counts as dead or its gain as too low."""
    clipped_percent: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Of the samples that may be at full scale."""


class JsonLinesConfig(Section):
    """A file of JSON Lines."""

    path: Path
    rotate_mb: Annotated[float, Field(gt=0)] = 10.0
    """A new file is begun at this size; the old ones are PATH.1, PATH.2 …"""
    keep: Annotated[int, Field(ge=0)] = 5
    """Old files."""


class StoreConfig(Section):
    """A database (SQLite) of all events."""

    path: Path
    keep_days: Annotated[float, Field(gt=0)] = 90.0


class MqttConfig(Section):
    """An MQTT broker, and Home Assistant."""

    host: Annotated[str, AfterValidator(check_host)]
    port: Port = 1883
    tls: bool = False
    username: str | None = None
    password: Secret | None = None
    topic: Topic = "htsat-edge"
    """What all topics begin with."""
    discovery: Topic | None = "homeassistant"
    """Home Assistant's prefix; null: nothing is announced."""
    off_delay_s: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """A class is ON for at least so long after each start, since nobody sees a bark of half a second."""


class WebhookConfig(Section):
    """An HTTP endpoint that gets each message as JSON, by POST."""

    url: Annotated[str, Field(json_schema_extra={"pattern": WEB_URL}), _matching(WEB_URL, "want http://… or https://…")]
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
    clips: ClipsConfig | None = None
    metrics: MetricsConfig | None = None

    @property
    def others(self) -> bool:
        """Whether there is another output than stdout."""
        return any((self.json_lines, self.store, self.mqtt, self.webhook, self.clips, self.metrics))


class DaemonConfig(Section):
    """The whole configuration."""

    model: ModelConfig = ModelConfig()
    detection: DetectionConfig = DetectionConfig()
    sources: Annotated[list[SourceConfig], Field(min_length=1)] = [
        SourceConfig(name="microphone", microphone=MicrophoneConfig())
    ]
    health: HealthConfig = HealthConfig()
    outputs: OutputsConfig = OutputsConfig()

    @model_validator(mode="after")
    def _consistent(self) -> DaemonConfig:
        names = [source.name for source in self.sources]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"sources: {', '.join(sorted(repeated))} is there twice")
        topics = [slug(name) for name in names]
        if len(set(topics)) < len(topics):
            raise ValueError(f"sources: {', '.join(names)}: two of these would have the same topic")
        if sum(source.stdin is not None for source in self.sources) > 1:
            raise ValueError("sources: only one can read stdin")
        return self
