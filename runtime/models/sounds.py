"""Enrolled sounds: what the user has taught a model beside the classes that it was trained on.

Each is a linear layer on the graph's `frame_embedding`, and lies in a folder, by default `sounds` in the bundle:
`NAME.json` says everything about it, `NAME.npz` holds its weights, and the folder `NAME` its recordings, from which it
can be learned again when the graph has changed. Nothing of the model itself is touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat
from scipy.special import expit

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import sha256_of
from htsat_edge.runtime.common.text import is_name, listed
from htsat_edge.runtime.models.backends.backend import Backend, Scores
from htsat_edge.runtime.models.backends.changing import BackendChange, fallbacks_of, notices_of
from htsat_edge.runtime.models.bundle import Bundle, ModelInfo

SOUNDS_FOLDER = "sounds"
"""Of a bundle."""
HEAD_SUFFIXES = (".npz", ".new.npz")
"""Of a sound's weights: where it was being replaced when the power failed, those of its json may be in the second."""
MOST_BYTES = 4_000_000
"""Of a file of ours; a larger one is none."""
LONGEST_LABEL = 100
"""Letters of a sound's label."""
Kind = Literal["positive", "background", "false_alarm"]
"""What a recording is of: the sound, what else is heard there, or what was wrongly taken for the sound."""
KEPT_NAME = re.compile(rf"({'|'.join(get_args(Kind))})-[0-9a-f]{{12}}\.flac")
"""Of recordings in a sound's folder."""
logger = logging.getLogger(__name__)


def _plain_name(text: str) -> str:
    if not text or text.startswith(".") or "/" in text or "\\" in text or not text.isprintable():
        raise ValueError(f"{text!r} is no name of a file in the sound's folder")
    return text


def _printable(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text!r} is no name that can be printed")
    return text


Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Estimate(BaseModel):
    """A figure with its 90 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class Confusion(BaseModel):
    """How many recordings of a known class an enrolled sound fires on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Annotated[str, AfterValidator(_printable)]
    fired: Annotated[int, Field(ge=0)]
    of: Annotated[int, Field(ge=0)]


class SoundReport(BaseModel):
    """How well an enrolled sound is told from everything else, on recordings that it was not learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recordings: int
    recall: Estimate
    """Share of the recordings that it fires on."""
    false_alarms_per_h: Estimate
    background_h: FiniteFloat
    """Hours of background that this was measured on."""
    confusions: list[Confusion] = []
    """Known classes that it fires on, the most frequent first."""
    threshold: Share
    accepted: bool
    reason: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")] = ""
    """Of a sound that was refused: why, in one sentence."""


class SoundRecording(BaseModel):
    """A recording that a sound was learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Annotated[str, AfterValidator(_plain_name)]
    """Its name in the sound's folder."""
    sha256: Sha256
    """Of its 16-bit samples."""
    seconds: Annotated[FiniteFloat, Field(gt=0)]
    kind: Kind


class SoundInfo(BaseModel):
    """The content of a sound's json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    label: Annotated[str, Field(max_length=LONGEST_LABEL), AfterValidator(_printable)]
    graph_sha256: Sha256
    """Of the bundle's fp32.onnx when the sound was learned; for another graph, its weights mean nothing."""
    channels: Annotated[int, Field(ge=1, le=65_536)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    median_steps: Annotated[int, Field(ge=1, le=31)] = 1
    enrolled_at: datetime
    head_sha256: Sha256
    """Of the npz."""
    recordings: list[SoundRecording]
    report: SoundReport


@dataclass(frozen=True)
class EnrolledSound:
    """A sound that can be heard."""

    name: str
    """Of its files."""
    info: SoundInfo
    weight: FloatArray
    """(channels,)."""
    bias: float


@dataclass(frozen=True)
class Sounds:
    """What is in a folder of sounds, by the order of their names."""

    folder: Path
    usable: list[EnrolledSound] = field(default_factory=list)
    stale: list[tuple[str, SoundInfo]] = field(default_factory=list)
    """Those that were made for another graph, by name. They stay classes of the model, which never fire: what a
    configuration says of them remains right."""
    broken: list[tuple[str, str]] = field(default_factory=list)
    """What is left out, by name, and why."""

    @property
    def problems(self) -> list[str]:
        """One line for each sound that is left out."""
        return [f"{self.folder / name}.json: {text}" for name, text in self.broken]

    @property
    def labels(self) -> list[str]:
        """The classes that they add to a model, in the order of its outputs."""
        return [info.label for _, info in self.known]

    @property
    def known(self) -> list[tuple[str, SoundInfo]]:
        """Those that can be read, usable or stale, by name."""
        return sorted([*((sound.name, sound.info) for sound in self.usable), *self.stale])

    def notes(self) -> list[str]:
        """Return a line for each sound that is not heard."""
        how = "not heard until `htsat-edge enroll --refresh` has learned it again"
        stale = [
            f"{self.folder / name}.json: {info.label}: was made for another graph: {how}" for name, info in self.stale
        ]
        return [*self.problems, *stale]


def kept_name(kind: Kind, sha256: str) -> str:
    """Return the name of a recording in a sound's folder; two that differ never share one."""
    return f"{kind}-{sha256[:12]}.flac"


def read_sounds(folder: Path, bundle: Bundle) -> Sounds:
    """Return the sounds of a folder, which needs not exist. One that is damaged is left out, and a line says why."""
    sounds = Sounds(folder)
    try:
        names = sorted(path.stem for path in folder.glob("*.json") if is_name(path.stem) and path.name[0] != ".")
        graph = bundle.sha256("fp32") if names else ""
    except (OSError, HtsatEdgeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return Sounds(folder, broken=[("*", f"the sounds cannot be used: {reason}")])
    taken = {label.casefold(): "a class of the model" for label in bundle.info.labels}
    for name in names:
        try:
            info = read_info(folder, name)
            if (other := taken.get(info.label.casefold())) is not None:
                raise HtsatEdgeError(f"its label {info.label!r} is that of {other}: rename or remove one of them")
            if info.graph_sha256 != graph:
                sounds.stale.append((name, info))
            else:
                sounds.usable.append(EnrolledSound(name, info, *read_head(folder, name, info)))
        except HtsatEdgeError as error:
            sounds.broken.append((name, str(error).removeprefix(f"{folder / name}.json: ")))
        else:
            taken[info.label.casefold()] = f"the sound {name}"
    return sounds


def read_info(folder: Path, name: str) -> SoundInfo:
    """Return what a sound's json says; raise an HtsatEdgeError where it is damaged."""
    path = folder / f"{name}.json"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise HtsatEdgeError(f"{path}: is too large to be a sound's")
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
    return read_json(path, SoundInfo)


def read_head(folder: Path, name: str, info: SoundInfo) -> tuple[FloatArray, float]:
    """Return the weight (channels,) and the bias of a sound; raise an HtsatEdgeError where its json names others."""
    path = find_head(folder, name, info)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            weight, bias = content["weight"], float(content["bias"])
    except Exception:  # numpy and what it unpacks with fail in a dozen ways at a file that is not ours
        raise _damaged(folder, name) from None
    if weight.dtype != np.float32 or weight.shape != (info.channels,) or not np.isfinite([*weight, bias]).all():
        raise _damaged(folder, name)
    return weight, bias


def find_head(folder: Path, name: str, info: SoundInfo) -> Path:
    """Return the file with the weights that a sound's json names; raise an HtsatEdgeError where there is none."""
    for suffix in HEAD_SUFFIXES:
        path = folder / f"{name}{suffix}"
        try:
            if path.stat().st_size <= MOST_BYTES and sha256_of(path) == info.head_sha256:
                return path
        except OSError:
            continue
    raise _damaged(folder, name)


def _damaged(folder: Path, name: str) -> HtsatEdgeError:
    return HtsatEdgeError(
        f"{folder / name}.npz: is missing or damaged: `htsat-edge enroll --refresh {name}` learns the sound again"
    )


def with_sounds(info: ModelInfo, sounds: Sounds) -> ModelInfo:
    """Return a model with sounds as its last classes."""
    if not sounds.known:
        return info
    added = [sound for _, sound in sounds.known]
    return info.model_copy(
        update={
            "labels": [*info.labels, *(sound.label for sound in added)],
            "thresholds": {**info.thresholds, **{sound.label: sound.threshold for sound in added}},
            "median_steps": {**info.median_steps, **{sound.label: sound.median_steps for sound in added}},
        }
    )


class SoundsBackend:
    """A backend whose scores have enrolled sounds as their last classes; all else is the model's, to the bit."""

    def __init__(self, backend: Backend, sounds: Sounds) -> None:
        """Add sounds to a backend, which is closed with this one."""
        self.inner = backend
        """What runs the model."""
        names = [name for name, _ in sounds.known]
        self._columns = len(names)
        self._heads = {names.index(sound.name): sound for sound in sounds.usable}
        self._warned = False

    @property
    def present(self) -> Backend:
        """What runs the model."""
        return self.inner

    @property
    def fallbacks(self) -> int:
        """How often something else has had to take over."""
        return fallbacks_of(self.inner)

    def notices(self) -> Iterator[BackendChange]:
        """Yield what has changed since the last time."""
        return notices_of(self.inner)

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB; a sound that is stale, or has nothing to go by, scores 0."""
        scores = self.inner.infer(log_mel)
        windows, steps = scores.framewise.shape[:2]
        framewise = np.zeros((windows, steps, self._columns), np.float32)
        clipwise = np.zeros((windows, self._columns), np.float32)
        frames = scores.frame_embedding
        unheard = list[str]()
        for column, sound in self._heads.items():
            if frames is None or frames.shape[-1] != len(sound.weight):
                unheard.append(sound.info.label)
                continue
            logits = score_logits(frames, sound.weight, sound.bias)
            framewise[..., column] = expit(logits)
            clipwise[..., column] = expit(logits.mean(axis=-1))
        if unheard and not self._warned:
            self._warned = True
            given = "no" if frames is None else f"another ({frames.shape[-1]} channels)"
            text = "the model gives %s frame_embedding, so %s cannot be heard: export its graph, and enrol them, again"
            logger.warning(text, given, listed(unheard))
        return scores._replace(
            framewise=np.concatenate([scores.framewise, framewise], axis=-1),
            clipwise=np.concatenate([scores.clipwise, clipwise], axis=-1),
        )

    def close(self) -> None:
        """Release the model."""
        self.inner.close()


def score_logits(frame_embedding: FloatArray, weight: FloatArray, bias: float) -> npt.NDArray[np.float64]:
    """Return the logits (…, steps) of a sound, from embeddings (…, steps, channels).

    They do not depend on how many windows there are: a matrix product would round differently.
    """
    logits: npt.NDArray[np.float64] = (frame_embedding.astype(np.float64) * weight).sum(axis=-1) + bias
    return logits
