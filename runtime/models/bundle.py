"""A bundle: a folder with everything that the runtime must know about one model."""

from __future__ import annotations

import hashlib
import logging
import platform
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MODEL_FILE = "model.json"
ACCURACY_FILE = "accuracy.json"
CPU_FP32 = "cpu-fp32"
"""What fp32.onnx computes, in ops that onnxruntime is faster with on a CPU."""
BUNDLED = Path(__file__).resolve().parent / "bundled"
"""The model that ships inside this package."""
DEFAULT_THRESHOLD = 0.5
logger = logging.getLogger(__name__)


class Quantization(BaseModel):
    """How the 8-bit and 16-bit graphs were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fp32_sha256: str
    """Of the graph that they were made from."""
    method: str
    """How the ranges of activations were chosen."""
    cpu_method: str | None = None
    """The same for cpu-int8.onnx, where there is one."""
    cpu_fp32_sha256: str | None = None
    """Of cpu-fp32.onnx, where cpu-int8.onnx was made from it."""
    seed: int
    clips: list[str]
    """What was calibrated on: the first 16 digits of the sha256 of each clip's log-mel, to the nearest dB."""
    float_layers: list[str]
    """Linear layers of the backbone that stayed in floating point."""
    logit_snr_db: dict[str, FiniteFloat]
    """How far the logits are from those of fp32.onnx on clips that were held back, by graph."""
    versions: dict[str, str]


class ModelInfo(BaseModel):
    """What model.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    front_end: FrontEnd
    frames: int = Field(gt=0)
    """Frames of a clip."""
    steps: int = Field(gt=0)
    """Steps in time that the model gives for a clip."""
    step_s: float = Field(gt=0)
    """Seconds of a step."""
    loss: Literal["bce", "ce"] = "bce"
    """What clipwise means: `bce` a probability for each class, `ce` logits of which softmax makes probabilities."""
    labels: list[str] = Field(min_length=1)
    """In the order of the outputs."""
    thresholds: dict[str, float] = {}
    """By label; a class that is not here has 0.5."""
    median_steps: dict[str, int] = {}
    """Length of the median filter by label, odd; a class that is not here has 1, which is none."""
    quantization: Quantization | None = None
    """Where the bundle has other graphs than fp32.onnx."""
    provenance: dict[str, Any] = {}
    """The checkpoint's sha256, versions, how far the graph is from torch."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelInfo:
        clip_s = self.frames * self.front_end.frame_s
        if abs(self.steps * self.step_s - clip_s) > 1.5 * self.front_end.frame_s:
            raise ValueError(f"{self.steps} steps of step_s {self.step_s:g} are not a clip of frames, {clip_s:g} s")
        repeated = {label for label in self.labels if self.labels.count(label) > 1}
        if repeated:
            raise ValueError(f"labels: {', '.join(sorted(repeated))} stands there twice")
        for name in ("thresholds", "median_steps"):
            unknown = set(getattr(self, name)) - set(self.labels)
            if unknown:
                raise ValueError(f"{name}: {', '.join(sorted(unknown))}: no such label")
        for label, threshold in self.thresholds.items():
            if not 0 < threshold < 1:
                raise ValueError(f"thresholds: {label}: {threshold} is not between 0 and 1")
        for label, length in self.median_steps.items():
            if length < 1 or length % 2 == 0:
                raise ValueError(f"median_steps: {label}: {length} is not an odd number of steps")
        return self

    @property
    def step_frames(self) -> Fraction:
        """Frames of a step, exactly."""
        return Fraction(self.step_s / self.front_end.frame_s).limit_denominator(self.steps)


class MeasuredGraph(BaseModel):
    """What accuracy.json says of one graph; the rest of it is for people."""

    sha256: str


class Measurement(BaseModel):
    """What of accuracy.json decides which graph runs; calibration/accuracy.py writes it."""

    processor: str
    """What it was measured on: x86_64, aarch64."""
    graphs: dict[str, MeasuredGraph]
    recommended: dict[str, str]
    """The precision by backend."""


@dataclass(frozen=True)
class Bundle:
    """A model on disk."""

    path: Path
    info: ModelInfo

    def graph(self, precision: str = "fp32") -> Path:
        """The ONNX file of a precision; an HtsatEdgeError names those that there are."""
        path = self.path / f"{precision}.onnx"
        if not path.is_file():
            raise HtsatEdgeError(
                f"{self.path}: has no {path.name}; precisions here: {', '.join(self.precisions()) or 'none'}"
            )
        return path

    def precisions(self) -> list[str]:
        """Those that there are graphs of."""
        return [file.stem for file in sorted(self.path.glob("*.onnx")) if not file.stem.endswith("-audio")]

    def sha256(self, precision: str) -> str:
        """Of a graph's file."""
        return hashlib.sha256(self.graph(precision).read_bytes()).hexdigest()

    def recommended(self) -> str:
        """The precision that was measured to be best on onnxruntime.

        Where none was, of these files and on such a processor, it is full precision, in the faster graph of it.
        """
        whole = CPU_FP32 if CPU_FP32 in self.precisions() else "fp32"
        if not (self.path / ACCURACY_FILE).is_file():
            return whole
        measured = read_json(self.path / ACCURACY_FILE, Measurement)
        precision = measured.recommended.get("onnxruntime", "fp32")
        if measured.processor != platform.machine():  # another may be as slow with it as not
            return whole
        if precision == "fp32" and whole not in measured.graphs:
            return whole
        for name in ("fp32", precision):
            known = measured.graphs.get(name)
            if name not in self.precisions() or known is None or known.sha256 != self.sha256(name):
                logger.warning(
                    "%s: is not of the %s.onnx that is there; %s is used. calibration/accuracy.py measures anew",
                    self.path / ACCURACY_FILE,
                    name,
                    whole,
                )
                return whole
        return precision


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle's model.json."""
    try:
        if not path.exists():
            raise HtsatEdgeError(f"{path}: no such bundle; export/to_onnx.py makes one from a checkpoint")
        if not (path / MODEL_FILE).is_file():
            raise HtsatEdgeError(f"{path}: is not a bundle: it has no {MODEL_FILE}")
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
    return Bundle(path, read_json(path / MODEL_FILE, ModelInfo))
