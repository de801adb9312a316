"""A bundle: a folder with everything that the runtime must know about one model."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import sha256_of
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.common.text import is_name, listed
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.models.external import external_files
from htsat_edge.runtime.models.levels import BALANCED, Sensitivity, SensitivityLevels

MODEL_FILE = "model.json"
ACCURACY_FILE = "accuracy.json"
CPU_FP32 = "cpu-fp32"
"""The graph that computes the same as fp32.onnx in operations that onnxruntime is faster with on a CPU."""
BUNDLED = Path(__file__).resolve().parent / "bundled"
"""The model that ships inside this package."""
DEFAULT_THRESHOLD = 0.5
SHOWN = 30
"""Labels that an error names of those that there are."""
logger = logging.getLogger(__name__)


class Quantization(BaseModel):
    """How the 8-bit and 16-bit graphs were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fp32_sha256: str
    """Hash of the graph that they were made from."""
    method: str
    """How the ranges of activations were chosen."""
    cpu_method: str | None = None
    """The same for cpu-int8.onnx, where there is one."""
    cpu_fp32_sha256: str | None = None
    """Hash of cpu-fp32.onnx, where cpu-int8.onnx was made from it."""
    seed: int
    clips: list[str]
    """The calibration material: the first 16 digits of the sha256 of each log-mel, rounded to the nearest dB."""
    float_layers: list[str]
    """Linear layers of the backbone that stayed in floating point."""
    logit_snr_db: dict[str, FiniteFloat]
    """By graph, the SNR of its logits to those of fp32.onnx, on windows that were held back."""
    sha256: dict[str, str] = {}
    """By graph, the hash of what was written. Empty in bundles of a time when it was not kept."""
    versions: dict[str, str]


class ModelInfo(BaseModel):
    """The content of model.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    front_end: FrontEnd
    frames: int = Field(gt=0)
    """Frames of a window."""
    steps: int = Field(gt=0)
    """Steps of a window: the model's outputs in time."""
    step_s: float = Field(gt=0)
    """Seconds of a step."""
    loss: Literal["bce", "ce"] = "bce"
    """What clipwise means: `bce` a probability for each class, `ce` logits that softmax turns into probabilities."""
    labels: list[str] = Field(min_length=1)
    """In the order of the outputs."""
    thresholds: dict[str, float] = {}
    """By label; a class without an entry has 0.5."""
    levels: SensitivityLevels | None = None
    """Thresholds for those who want fewer false alarms or miss less, where they were measured."""
    median_steps: dict[str, int] = {}
    """Length of the median filter by label, odd; a class without an entry has 1, which is no filter."""
    parents: dict[str, list[str]] = {}
    """By label, those that are more general, one level up: {"Bark": ["Dog"]}. Empty where labels are no tree."""
    quantization: Quantization | None = None
    """Where the bundle has other graphs than fp32.onnx."""
    provenance: dict[str, Any] = {}
    """The checkpoint's sha256, versions, the largest difference between the graph and torch."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelInfo:
        window_s = self.frames * self.front_end.frame_s
        if abs(self.steps * self.step_s - window_s) > 1.5 * self.front_end.frame_s:
            raise ValueError(
                f"{self.steps} steps of step_s {self.step_s:g} are {self.steps * self.step_s:g} s, "
                f"but a window of {self.frames} frames is {window_s:g} s"
            )
        for key, names in {"name": [self.name], "labels": self.labels}.items():
            for name in names:
                if not is_name(name):
                    raise ValueError(f"{key}: {name!r} is no name that can be printed")
        repeated = {label for label in self.labels if self.labels.count(label) > 1}
        if repeated:
            raise ValueError(f"labels: listed twice: {', '.join(sorted(repeated))}")
        for name in ("thresholds", "median_steps"):
            unknown = set(getattr(self, name)) - set(self.labels)
            if unknown:
                raise ValueError(f"{name}: {', '.join(sorted(unknown))}: no such label")
        for label, parents in self.parents.items():
            if unknown := {label, *parents} - set(self.labels):
                raise ValueError(f"parents: {', '.join(sorted(unknown))}: no such label")
            if label in self.ancestors(label):
                raise ValueError(f"parents: {label}: lies below itself")
        for label, threshold in self.thresholds.items():
            if not 0 < threshold < 1:
                raise ValueError(f"thresholds: {label}: {threshold} is not between 0 and 1")
        for label, own in (self.levels.classes if self.levels else {}).items():
            if label not in self.labels:
                raise ValueError(f"levels: {label}: no such label")
            if own.balanced.threshold != (threshold := self.threshold_of(label)):
                raise ValueError(
                    f"levels: {label}: balanced is {own.balanced.threshold:g}, but thresholds say {threshold:g}: take "
                    "levels out; calibration/levels.py measures them again"
                )
        for label, length in self.median_steps.items():
            if length < 1 or length % 2 == 0:
                raise ValueError(f"median_steps: {label}: {length} is not an odd number of steps")
        return self

    def steps_of(self, seconds: float) -> int:
        """Return seconds as the nearest whole number of steps."""
        return round(seconds / self.step_s)

    def threshold_of(self, label: str, sensitivity: Sensitivity = BALANCED) -> float:
        """Return the threshold of a label at a level; of one without levels, its only one."""
        if sensitivity != BALANCED and self.levels is not None and label in self.levels.classes:
            return self.levels.classes[label].at(sensitivity).threshold
        return self.thresholds.get(label, DEFAULT_THRESHOLD)

    def ancestors(self, label: str) -> set[str]:
        """Return the labels that are more general than one."""
        return find_ancestors(label, self.parents)

    def check_labels(self, where: str, labels: Iterable[str], classes: Iterable[str] | None = None) -> None:
        """Raise an HtsatEdgeError that names the labels which are no class of the model, and the nearest of each.

        With `classes`, what there is are these.
        """
        there = self.labels if classes is None else list(classes)
        unknown = {label: suggest(label, there) for label in labels if label not in there}
        if unknown:
            named = "; ".join(f"{label!r} is no class of this model{hint}" for label, hint in unknown.items())
            # What is called otherwise here may be found by AudioSet's tree: a cow is Cattle.
            word = next((label.casefold() for label, hint in unknown.items() if label and not hint), "")
            more = f" (`htsat-edge labels --search {quote(word)}` looks for it)" if word else ""
            known = "" if all(unknown.values()) else f"; the model knows {listed(there, SHOWN, '; ')}{more}"
            raise HtsatEdgeError(f"{where}: {named}{known}")

    @property
    def step_frames(self) -> Fraction:
        """Frames of a step, exactly."""
        return Fraction(self.step_s / self.front_end.frame_s).limit_denominator(self.steps)


def find_ancestors(label: str, parents: Mapping[str, Iterable[str]]) -> set[str]:
    """Return all that lies above a label, by the parents of each; itself, too, where they go round in a circle."""
    found: set[str] = set()
    waiting = [label]
    while waiting:
        above = set(parents.get(waiting.pop(), ())) - found
        found |= above
        waiting += above
    return found


class MeasuredGraph(BaseModel):
    """One graph in accuracy.json, as far as the runtime reads it; the rest is for people."""

    sha256: str


class Measurement(BaseModel):
    """The part of accuracy.json that decides which graph runs; calibration/accuracy.py writes it."""

    processor: str
    """The processor it was measured on: x86_64, aarch64."""
    graphs: dict[str, MeasuredGraph]
    recommended: dict[str, str]
    """The precision by backend."""


@dataclass(frozen=True)
class Bundle:
    """A model on disk."""

    path: Path
    info: ModelInfo

    def graph(self, precision: str = "fp32") -> Path:
        """Return the ONNX file of a precision; raise an HtsatEdgeError that lists those that exist."""
        path = self.path / f"{precision}.onnx"
        if not path.is_file():
            raise HtsatEdgeError(
                f"{self.path}: has no {path.name}; precisions here: {', '.join(self.precisions()) or 'none'}"
            )
        return path

    def precisions(self) -> list[str]:
        """Return the precisions that the bundle has graphs of."""
        return [file.stem for file in sorted(self.path.glob("*.onnx")) if not file.stem.endswith("-audio")]

    def files(self, precision: str) -> list[Path]:
        """Return the files of a graph: the ONNX file, and where its weights lie outside it, those that hold them.

        Raise an HtsatEdgeError where one is missing.
        """
        graph = self.graph(precision)
        return [graph, *external_files(graph)]

    def sha256(self, precision: str) -> str:
        """Return the hash of a graph, over all its files."""
        return sha256_of(*self.files(precision))

    def size(self, precision: str) -> int:
        """Return the bytes of a graph, over all its files."""
        return sum(path.stat().st_size for path in self.files(precision))

    def is_own(self, precision: str) -> bool | None:
        """Return whether a graph is what calibration/quantize.py wrote here; None where no hash of it was kept."""
        made = self.info.quantization
        if made is None or precision not in made.logit_snr_db:
            return False
        return made.sha256[precision] == self.sha256(precision) if precision in made.sha256 else None

    def recommended(self) -> str:
        """Return the precision that was measured to be best on onnxruntime.

        Where these files were not measured on such a processor, return full precision, in its faster graph.
        """
        full = CPU_FP32 if CPU_FP32 in self.precisions() else "fp32"
        if not (self.path / ACCURACY_FILE).is_file():
            return full
        measured = read_json(self.path / ACCURACY_FILE, Measurement)
        precision = measured.recommended.get("onnxruntime", "fp32")
        if measured.processor != platform.machine():  # another processor may be slower with it
            return full
        if precision == "fp32" and full not in measured.graphs:
            return full
        for name in ("fp32", precision):
            known = measured.graphs.get(name)
            if known is None or not self._has(name, known.sha256):
                logger.warning(
                    "%s: was measured with another %s.onnx; %s is used. "
                    "python -m htsat_edge.calibration.accuracy measures again",
                    self.path / ACCURACY_FILE,
                    name,
                    full,
                )
                return full
        return precision

    def _has(self, precision: str, sha256: str) -> bool:
        try:
            return self.sha256(precision) == sha256
        except HtsatEdgeError:  # it is not there, or not whole
            return False


def load_bundle(path: Path | str = BUNDLED) -> Bundle:
    """Read and check the model.json of the bundle in the folder `path`, by default the bundled one.

    Raises
    ------
    HtsatEdgeError
        If there is no such folder, or if its model.json is missing, damaged or inconsistent. Graphs and engines are
        not looked at.

    """
    path = Path(path)
    try:
        if not path.exists():
            hint = "python -m htsat_edge.export.to_onnx makes one from a checkpoint"
            if path.name == BUNDLED.name:
                hint = f"the one that ships is {BUNDLED}, which is used where no bundle is named"
            raise HtsatEdgeError(f"{path}: no such bundle; {hint}")
        if not (path / MODEL_FILE).is_file():
            raise HtsatEdgeError(f"{path}: is not a bundle: it has no {MODEL_FILE}")
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
    return Bundle(path, read_json(path / MODEL_FILE, ModelInfo))
