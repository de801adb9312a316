"""Read training files, and name the files of the folder that a training writes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.runtime.common.config import read_csv, read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing


class Phase(BaseModel):
    """A part of a training, and how many events its scenes hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(gt=0, le=1)
    events: tuple[int, int]

    @model_validator(mode="after")
    def _ordered(self) -> Phase:
        if not 0 <= self.events[0] <= self.events[1]:
            raise ValueError(f"events {list(self.events)}: want the fewest and the most")
        return self


class Mix(BaseModel):
    """What scenes are mixed of, and how they are labelled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    others_share: float = Field(default=0.1, ge=0, lt=1)
    backgrounds: tuple[int, int] = (1, 1)
    rough_share: float = Field(default=0.0, ge=0, le=1)
    others_as_background: float = Field(default=0.0, ge=0, le=1)
    device_share: float = Field(default=0.0, ge=0, le=1)
    nearest_steps: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Mix:
        if not 0 <= self.backgrounds[0] <= self.backgrounds[1]:
            raise ValueError(f"backgrounds {list(self.backgrounds)}: want the fewest and the most")
        return self


class Augment(BaseModel):
    """How whole recordings are varied whenever they are drawn; the defaults are the paper's, where it has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    balance: float = Field(default=1.0, ge=0, le=1)
    mixup: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    mixup_share: float = Field(default=1.0, ge=0, le=1)
    gain_db: float = Field(default=0.0, ge=0, le=100)
    shift: bool = True
    time_masks: tuple[int, int] = (2, 64)
    band_masks: tuple[int, int] = (2, 8)

    @model_validator(mode="after")
    def _not_negative(self) -> Augment:
        for name in ("time_masks", "band_masks"):
            masks = getattr(self, name)
            if min(masks) < 0:
                raise ValueError(f"{name} {list(masks)}: want how many, and the most that each covers")
        return self


MIX_KEYS = frozenset({"phases", "tiled_share", "quiet_share", "partial_share", "mirrored_share", "mix", "draw"})
SCENE_KEYS = MIX_KEYS | {"clip_weight", "late_weight", "negatives", "not_negative"}
CLIP_KEYS = frozenset({"augment", "validate_clips"})
"""Keys of one kind of examples only: given for the other, they would do nothing without a word."""


class TrainConfig(BaseModel):
    """The keys of training files; the comments of configs/train.yaml and configs/train-audioset.yaml explain each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Path
    examples: Literal["scenes", "clips"] = "scenes"
    labels: list[str] = []
    auxiliary: list[str] = []
    steps: int = Field(gt=0)
    batch: int = Field(8, gt=0)
    phases: tuple[Phase, ...] = (Phase(share=1, events=(0, 4)),)
    tiled_share: float = Field(0.3, ge=0, le=1)
    quiet_share: float = Field(0.0, ge=0, le=1)
    partial_share: float = Field(0.0, ge=0, le=1)
    mirrored_share: float = Field(0.0, ge=0, le=1)
    mix: Mix = Mix()
    augment: Augment = Augment()
    draw: Literal["batch", "example"] = "batch"
    optimiser: Literal["muon", "adamw"] = "muon"
    learning_rate: float = Field(3e-3, gt=0, allow_inf_nan=False)
    schedule: Literal["linear", "cosine"] = "linear"
    warm_up_steps: int | None = Field(None, ge=0)
    drop_path: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0, allow_inf_nan=False)
    ema: float = Field(0.998, gt=0, lt=1)
    average_last: float = Field(0.0, ge=0, le=1)
    clip_weight: float = Field(0.5, ge=0, allow_inf_nan=False)
    late_weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    negatives: bool = True
    not_negative: list[str] = []
    freeze: bool = False
    seed: int = Field(1, ge=0)
    validate_every: int = Field(500, gt=0)
    validate_clips: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> TrainConfig:
        names = [*self.labels, *self.auxiliary]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"labels and auxiliary: listed twice: {', '.join(twice)}")
        if BACKGROUND in names:
            raise ValueError(f"labels and auxiliary: {BACKGROUND} cannot be learned: it stands for none of them")
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"phases: their shares add up to {total:g}, want 1")
        if self.partial_share + self.mirrored_share > 1:
            raise ValueError(
                "partial_share and mirrored_share: are shares of the same scenes, and add up to more than 1"
            )
        if self.average_last and "ema" in self.model_fields_set:
            raise ValueError("ema and average_last: each is an average of the weights; give one")
        if foreign := sorted(self.unused & self.model_fields_set):
            raise ValueError(f"{', '.join(foreign)}: not with examples: {self.examples}, which do not use it")
        if self.warm_up_steps is not None and self.warm_up_steps >= self.steps:
            raise ValueError(f"warm_up_steps {self.warm_up_steps}: want fewer than all {self.steps} steps")
        return self

    @property
    def unused(self) -> frozenset[str]:
        """The keys that do nothing here: those of the other kind of examples, and of the other average."""
        other_kind = SCENE_KEYS if self.examples == "clips" else CLIP_KEYS
        return (other_kind | ({"ema"} if self.average_last else set())) - (set() if self.negatives else {"negatives"})

    @property
    def mixes_negatives(self) -> bool:
        """Whether the sounds of other classes that ship with the package are mixed into the scenes."""
        return self.negatives and self.examples == "scenes"

    def events_at(self, step: int) -> tuple[int, int]:
        """Return the fewest and the most events of a scene at this step."""
        end = 0.0
        for phase in self.phases:
            end += phase.share
            if step < end * self.steps:
                break
        return phase.events


def read_training(path: Path) -> tuple[TrainConfig, NetworkConfig]:
    """Read a training file and the network file that it names."""
    config = read_yaml(path, TrainConfig)
    network = path.parent / config.network
    if not network.is_file():
        raise HtsatEdgeError(f"{path}: network: there is no file {config.network}; it is relative to the training file")
    return config, read_network(network)


class Example(Protocol):
    """A recording to learn from or to measure on: a part with one class, or a whole clip with any number of them."""

    @property
    def path(self) -> Path: ...
    @property
    def label(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def onset_s(self) -> float: ...
    @property
    def offset_s(self) -> float | None: ...
    @property
    def held(self) -> bool: ...


Kind = TypeVar("Kind", bound=Example)


def labels_of(config: TrainConfig, classes: Iterable[str]) -> list[str]:
    """Return the classes to learn: those of the training file, or every class of the corpus."""
    return config.labels or sorted({*classes} - {BACKGROUND, *config.auxiliary})


@dataclass(frozen=True)
class RunFolder:
    """The folder that a training writes, and that evaluation and export read."""

    path: Path

    @property
    def model(self) -> Path:
        """The averaged weights, without auxiliary classes."""
        return self.path / "model.safetensors"

    @property
    def network(self) -> Path:
        """The network file of these weights."""
        return self.path / "network.yaml"

    @property
    def labels(self) -> Path:
        """The label file of these weights."""
        return self.path / "labels.csv"

    @property
    def held(self) -> Path:
        """The recordings that were held back."""
        return self.path / "held.csv"

    @property
    def training(self) -> Path:
        """The settings of the training."""
        return self.path / "training.yaml"

    @property
    def curve(self) -> Path:
        """The figures every few hundred steps."""
        return self.path / "curve.csv"

    @property
    def thresholds(self) -> Path:
        """The settings that the evaluation chose, for the export."""
        return self.path / "thresholds.json"

    @property
    def figures(self) -> Path:
        """The figures of the evaluation."""
        return self.path / "figures.json"

    @property
    def page(self) -> Path:
        """The same as a page."""
        return self.path / "report.html"

    @property
    def state(self) -> Path:
        """All that a stopped training needs to go on."""
        return self.path / "state.pt"

    @property
    def identity(self) -> Path:
        """The hash of all that the training depends on."""
        return self.path / "identity.txt"

    def create(
        self,
        config: TrainConfig,
        network: NetworkConfig,
        labels: Sequence[str],
        recordings: Sequence[Example],
        identity: str,
    ) -> None:
        """Make the folder, before the work rather than after it, and write the files that describe the model."""
        make_folder(self.path)
        settings = self._own(config).model_dump(mode="json", exclude=set(config.unused))
        for path, content in ((self.network, network.model_dump(mode="json")), (self.training, settings)):
            with replacing(path) as part:
                part.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        with replacing(self.identity) as part:
            part.write_text(identity + "\n", encoding="utf-8")
        with replacing(self.labels) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([["label"], *([label] for label in labels)])
        with replacing(self.held) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [HELD_COLUMNS, *(_held_row(r) for r in recordings if r.held)]
            )

    def still_held(self, recordings: Sequence[Kind], whole: bool = False) -> list[Kind]:
        """Return those of the recordings that the training never learned from.

        With `whole` a file is known by its group and name alone, whichever parts of it were held.
        """
        names = WHOLE_COLUMNS if whole else HELD_COLUMNS
        known = {tuple(row[name] for name in names) for row in read_csv(self.held, HELD_COLUMNS)}

        def row(recording: Kind) -> tuple[str, ...]:
            own = dict(zip(HELD_COLUMNS, _held_row(recording), strict=True))
            return tuple(own[name] for name in names)

        return [recording for recording in recordings if row(recording) in known]

    def _own(self, config: TrainConfig) -> TrainConfig:
        """Return a training file as it stands here, beside the network file."""
        return config.model_copy(update={"network": Path(self.network.name)})

    def is_of(self, identity: str) -> bool:
        """Return whether the folder holds the training with this identity; raise an HtsatEdgeError for another.

        False where the folder says nothing, as an empty one.
        """
        if not self.identity.exists():
            return False
        if self.identity.read_text(encoding="utf-8").strip() != identity:
            raise HtsatEdgeError(
                f"{self.path}: holds a training with other settings, recordings or weights; give another --out"
            )
        return True

    def read_examples(self) -> Literal["scenes", "clips"]:
        """Return what the training learned from; older ones, which say nothing, from scenes."""
        return read_yaml(self.training, TrainConfig).examples if self.training.exists() else "scenes"

    def read_curve(self) -> list[dict[str, float]]:
        """Return the rows of the curve."""
        return [{name: float(value) for name, value in row.items()} for row in read_csv(self.curve, ["step"])]

    def read_labels(self) -> list[str]:
        """Return the labels in the order of the network's outputs."""
        return [row["label"] for row in read_csv(self.labels, ["label"])]


CURVE_NAMES = {
    "accuracy": "accuracy",
    "clip_map": "mean average precision of recordings",
    "frame_map": "of the steps of scenes",
}
"""What the figures of the curve are called where people read them."""
HELD_COLUMNS = ("class", "group", "file", "onset")
WHOLE_COLUMNS = ("group", "file")


def _held_row(recording: Example) -> tuple[str, str, str, str]:
    return recording.label, recording.group, recording.path.name, str(recording.onset_s)


def make_folder(path: Path) -> None:
    """Make a folder for results."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HtsatEdgeError(f"--out {path}: cannot be written: {error.strerror}") from None
