"""The model, and when a sound is an event."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from htsat_edge.runtime.common.urls import check_url
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import Seconds, Section, Share, matching, one_of_several
from htsat_edge.runtime.models.backends import Kind
from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.groups import Group
from htsat_edge.runtime.models.levels import BALANCED, Sensitivity

GROUPS = "want the name of a file, or groups such as {Dog: [Dog, Bark]} or {Dog: {labels: [Dog, Bark], threshold: 0.5}}"
SERVER_URL = r"^(https?|grpcs?)://[^\s/@?#]+:[0-9]+$"
SERVER = "want http://HOST:PORT, or with https, grpc or grpcs; without a user and a path"
Groups = Annotated[str | dict[str, Group], one_of_several(GROUPS)]
Length = Annotated[float, Field(ge=0, le=3600)]
THRESHOLDS = ("sensitivity", "threshold", "thresholds")
"""Keys of a section `detection` that a running daemon takes over by itself."""


class RemoteConfig(Section):
    """A server that speaks KServe v2, such as Triton, with the same model (export/to_triton.py)."""

    url: Annotated[str, Field(json_schema_extra={"pattern": SERVER_URL}), matching(SERVER_URL, SERVER)]
    """http, https, grpc or grpcs, with the port."""
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Its name there; by default that of the bundle's model."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    """For an answer, after which this device scores the windows itself; at most the hop."""
    token: Secret | None = None
    """Sent as `Authorization: Bearer …`."""
    ca_file: Path | None = None
    """Certificates (PEM) of who has signed the server's; null: those of the system."""

    @model_validator(mode="after")
    def _reachable(self) -> RemoteConfig:
        check_url(self.url)
        if self.ca_file is not None and not self.url.startswith(("https:", "grpcs:")):
            raise ValueError("ca_file: is used only with https and grpcs")
        return self

    def server(self) -> RemoteServer:
        """Return where the model is, with the token; raise an HtsatEdgeError where that cannot be read."""
        token = None if self.token is None else self.token.read()
        return RemoteServer(self.url, self.model, self.timeout_s, token, self.ca_file)


class ModelConfig(Section):
    """The model."""

    bundle: Path | None = None
    """Folder of the model; the bundled one by default."""
    precision: str | None = None
    """Of its graphs or engines; by default the one that was measured to be best here."""
    backend: Literal["auto", "onnxruntime", "tensorrt", "remote"] = "auto"
    """remote: a server runs it, and this device only while that is slow or gone."""
    remote: RemoteConfig | None = None
    """The server, where `backend` is remote."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Of onnxruntime; by default one fewer than there are cores, so that one is free for the sound card."""
    build: bool = True
    """Build an engine in the background where TensorRT is there but no engine fits."""
    sounds: Path | None = None
    """Folder of the sounds that were enrolled on this device; `sounds` in the bundle by default."""

    @model_validator(mode="after")
    def _remote(self) -> ModelConfig:
        if self.backend == "remote" and self.remote is None:
            raise ValueError("backend: remote needs a section `remote` with the server's url")
        return self

    @property
    def local_backend(self) -> Kind:
        """What runs the model on this device, for what no server is to do."""
        return "auto" if self.backend == "remote" else self.backend

    @property
    def server(self) -> RemoteServer | None:
        """The server, where it is to run the model; raise an HtsatEdgeError where its token cannot be read."""
        return self.remote.server() if self.backend == "remote" and self.remote is not None else None


class SourceDetectionConfig(Section):
    """What of the section `detection` is different for one source; null: nothing."""

    groups: Groups | None = None
    labels: list[str] | None = None
    """An empty list: all."""
    threshold: Share | None = None
    thresholds: dict[str, Share] = {}
    """Added to those of `detection`."""
    sensitivity: Sensitivity | None = None
    confirm_s: dict[str, Length] = {}
    """Added to those of `detection`."""
    release: Share | None = None
    min_length_s: Length | None = None
    merge_gap_s: Length | None = None

    def with_thresholds_of(self, other: SourceDetectionConfig) -> SourceDetectionConfig:
        """Return this section with the thresholds of another."""
        return self.model_copy(update=thresholds_of(other))


class DetectionConfig(Section):
    """When a sound is an event."""

    hop_s: Annotated[Seconds | Literal["auto"], one_of_several("want auto, or seconds above 0")] = "auto"
    """From one run of the model to the next; auto: 0.32 s, or as short as the device can afford."""
    look_ahead_s: Annotated[float, Field(ge=0)] | None = None
    """Heard after a moment before its scores are final; a quarter of a window by default, 2.56 s."""
    early_margin: Annotated[float, Field(ge=0, le=10)] | None = 0.5
    """A start is reported before its scores are final where they are by so much above the threshold, in logits; null:
    once they are final."""
    mirror_s: Length | None = None
    """What was heard last is mirrored at the end of a window; a sixteenth of a window by default, 0.64 s."""
    groups: Groups = {}
    """Labels by the name of what a person calls one thing, which is reported in their place; a file of such groups, or
    the name of one that ships with this: audioset."""
    labels: list[str] | None = None
    """Only these labels and groups; all by default."""
    most_specific: bool = True
    """Where the model has a tree of labels, no Animal is reported while there is a Dog."""
    threshold: Share | None = None
    """For every class, in place of the model's own."""
    thresholds: dict[str, Share] = {}
    """For some labels and groups."""
    sensitivity: Sensitivity = BALANCED
    """Which of the model's own thresholds count, for classes that have several; measured false alarms of each stand in
    the model card. `threshold` and `thresholds` count more."""
    confirm_s: dict[str, Length] = {}
    """Evidence that some labels and groups need before their start; the others need none."""
    release: Share = 0.6
    """An event goes on while its score is at least this share of the threshold."""
    min_length_s: Length = 0.3
    merge_gap_s: Length = 0.3
    gate_dbfs: Annotated[float, Field(le=0)] | None = None
    """Save power: the model does not run on windows that are never louder than this. Off by default: see docs."""

    def with_thresholds_of(self, other: DetectionConfig) -> DetectionConfig:
        """Return this section with the thresholds of another."""
        return self.model_copy(update=thresholds_of(other))

    def of_source(self, own: SourceDetectionConfig) -> DetectionConfig:
        """Return what is in force for a source."""
        changed = {name: value for name, value in own if value is not None}
        for name in ("thresholds", "confirm_s"):
            changed[name] = {**getattr(self, name), **changed[name]}
        return self.model_copy(update=changed)


def thresholds_of(section: Section) -> dict[str, object]:
    """Return what a section says of thresholds."""
    return {name: value for name, value in section if name in THRESHOLDS}
