"""Engines: graphs that TensorRT has compiled for one GPU.

Each has a passport beside it that says what it was built from, for and with, and what it reached; an engine without
one, or whose passport does not fit, is never run.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import Machine
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle
from pydantic import AwareDatetime, BaseModel, ConfigDict

FOLDER = "engines"
REVISION = 1
"""Of how engines are built here; a higher one makes those of before invalid."""
Flavour = Literal["tensorrt", "rtx"]
"""TensorRT, as on a Jetson; TensorRT for RTX, for the graphics cards of PCs."""
PRECISIONS = ("fp32", "fp16", "int8")
NAMES: dict[Flavour, str] = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
logger = logging.getLogger(__name__)


class NoEngine(HtsatEdgeError):
    """There is none that can be used here, but one could be built."""


class Gpu(BaseModel):
    """What an engine is compiled for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    compute_capability: str
    """Such as 8.7."""
    sm_count: int
    """Streaming multiprocessors; modules of one name differ in it."""

    def __str__(self) -> str:
        return f"{self.name} ({self.compute_capability}, {self.sm_count} SMs)"


class Recipe(BaseModel):
    """Everything that an engine depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int = REVISION
    flavour: Flavour
    tensorrt: str
    """Its version."""
    gpu: Gpu | None
    """None: TensorRT for RTX, whose engines are for all of its cards; it compiles the last steps when it loads one."""
    precision: str
    graph: str
    """The file that it is built from, without .onnx."""
    graph_sha256: str
    batch: tuple[int, int, int]
    """Clips at a time: fewest, what it is tuned for, most."""
    workspace_mib: int
    """What a layer may use at most while it runs."""
    optimization_level: int
    """0 to 5: how long TensorRT searches."""

    @property
    def key(self) -> str:
        """Its hash, which names the files."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Latency(BaseModel):
    """How long `batch` clips take, from an array in memory to arrays in memory."""

    p50_ms: float
    p99_ms: float
    runs: int
    warm_up: int
    batch: int
    cuda_graph: bool
    """Launched as one CUDA graph, which gave the same to the bit, and was faster."""


class Check(BaseModel):
    """How far an engine is from fp32.onnx on onnxruntime."""

    material: str
    clips: int
    logit_snr_db: float | None
    """Of framewise and clipwise, the lower one. None: the same to the bit, or no number at all, which `broken` says."""
    embedding_snr_db: float | None
    budget_db: float
    """The least that the first may be."""
    largest_difference: dict[str, float]
    """Of the scores, by label."""
    decisions_changed: float
    """The share of all scores that are on the other side of their threshold."""


class Passport(BaseModel):
    """What is known of an engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    asked: str
    """The precision that was asked for: `auto`, where this one was tried among others."""
    engine_sha256: str
    engine_bytes: int
    calibration_sha256: str | None
    """Of what model.json says of the 8-bit graphs."""
    cuda: str | None
    """The driver's version."""
    machine: Machine
    versions: dict[str, str]
    built: AwareDatetime
    build_s: float
    latency: Latency | None
    """None where there was no GPU to measure on."""
    check: Check | None
    proven_on: Gpu | None
    """Where the last two are from."""
    broken: str | None
    """Why it must not run, where its answers are off."""


@dataclass(frozen=True)
class Here:
    """What engines must fit."""

    flavour: Flavour
    tensorrt: str
    gpu: Gpu | None
    """None where there is none."""


def engine_file(bundle: Bundle, recipe: Recipe) -> Path:
    """Where an engine lies."""
    return bundle.path / FOLDER / f"{recipe.key}.engine"


def passport_file(bundle: Bundle, recipe: Recipe) -> Path:
    """Where its passport lies."""
    return bundle.path / FOLDER / f"{recipe.key}.json"


def read_passports(bundle: Bundle) -> list[Passport]:
    """Those of a bundle, the newest first; one that cannot be read is told of and left out."""
    found = []
    for path in sorted((bundle.path / FOLDER).glob("*.json")):
        try:
            passport = read_json(path, Passport)
            if passport_file(bundle, passport.recipe) != path:
                raise HtsatEdgeError(f"{path}: is not named by its own key, {passport.recipe.key}: was it edited?")
            found.append(passport)
        except HtsatEdgeError as error:
            logger.warning("%s; the engine beside it is not used", error)
    return sorted(found, key=lambda passport: passport.built, reverse=True)


def misfit(bundle: Bundle, recipe: Recipe, here: Here) -> str | None:
    """Why an engine cannot be used here, if so."""
    if recipe.flavour != here.flavour or recipe.tensorrt != here.tensorrt:
        return f"it is of {NAMES[recipe.flavour]} {recipe.tensorrt}, and here is {NAMES[here.flavour]} {here.tensorrt}"
    if recipe.gpu is not None and recipe.gpu != here.gpu:
        return f"it is for {recipe.gpu}, and here is {here.gpu or 'no GPU'}"
    if recipe.revision != REVISION:
        return "it was built by another version of htsat-edge"
    if recipe.graph not in bundle.precisions() or bundle.sha256(recipe.graph) != recipe.graph_sha256:
        return f"{recipe.graph}.onnx is not what it was built from"
    return None


def distrust(passport: Passport, here: Here) -> str | None:
    """Why an engine that fits must not run here, if so."""
    if passport.broken:
        return passport.broken
    if passport.proven_on is None:
        return "it was never compared with fp32 on a GPU"
    if passport.proven_on != here.gpu:
        return f"it was compared with fp32 on {passport.proven_on}, and here is {here.gpu or 'no GPU'}"
    return None


def how_to_build(bundle: Bundle, precision: str | None) -> str:
    """What to do where there is no engine."""
    where = "" if bundle.path == BUNDLED else f" {bundle.path}"
    what = f" --precision {precision}" if precision else ""
    return f"python export/build_trt.py{where}{what} builds one"


def find(bundle: Bundle, here: Here, precision: str | None = None) -> list[Passport]:
    """The engines that fit this machine and were proven on its GPU, the fastest first.

    A NoEngine says why there is none.
    """
    known = [p for p in read_passports(bundle) if precision in (None, p.recipe.precision)]
    reasons = {p.recipe.key: misfit(bundle, p.recipe, here) or distrust(p, here) for p in known}
    fit = [(p.latency.p50_ms / p.latency.batch, p) for p in known if p.latency and reasons[p.recipe.key] is None]
    if fit:
        return [passport for _, passport in sorted(fit, key=lambda item: item[0])]
    if not known:
        raise NoEngine(f"{bundle.path}: has no {precision + ' ' if precision else ''}engine")
    newest = known[0].recipe
    raise NoEngine(f"{engine_file(bundle, newest)}: {reasons[newest.key]}")


def read_engine(bundle: Bundle, passport: Passport) -> bytes:
    """An engine's bytes; a NoEngine where they are not those that its passport was written for."""
    path = engine_file(bundle, passport.recipe)
    try:
        engine = path.read_bytes()
    except OSError as error:
        raise NoEngine(f"{path}: cannot be read: {error.strerror}") from None
    if len(engine) != passport.engine_bytes or hashlib.sha256(engine).hexdigest() != passport.engine_sha256:
        raise NoEngine(f"{path}: is damaged: it does not match its passport")
    return engine
