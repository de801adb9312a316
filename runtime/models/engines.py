"""Engines: graphs that TensorRT has compiled for one GPU.

Each has a manifest beside it that says what it was built from, for and with, and how far it is from fp32. An engine
without a manifest, or whose manifest does not fit, is never run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, model_validator

from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import Machine
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle

FOLDER = "engines"
REVISION = 2
"""Counts changes to how engines are built and to the manifest's keys; engines of a lower revision are built again.

2: the manifest speaks of validation and windows, in keys that revision 1 did not have.
"""
Flavour = Literal["tensorrt", "rtx"]
"""TensorRT, as on a Jetson; TensorRT for RTX, for the graphics cards of PCs."""
PRECISIONS = ("fp32", "fp16", "int8")
NAMES: dict[Flavour, str] = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
logger = logging.getLogger(__name__)


class NoEngine(HtsatEdgeError):
    """No engine can be used on this machine, but one could be built."""


class Gpu(BaseModel):
    """The GPU that an engine is compiled for."""

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
    """Windows at a time: fewest, what it is tuned for, most."""
    workspace_mib: int
    """Memory that a layer may use at most while it runs."""
    optimization_level: int
    """0 to 5: how long TensorRT searches."""

    @property
    def key(self) -> str:
        """The recipe's hash, which names the files."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Latency(BaseModel):
    """How long `batch` windows take, from an array in memory to arrays in memory."""

    p50_ms: float
    p99_ms: float
    runs: int
    warm_up: int
    batch: int
    cuda_graph: bool
    """Launched as one CUDA graph, which gave the same to the bit, and was faster."""


class Validation(BaseModel):
    """How far an engine is from fp32.onnx on onnxruntime."""

    recording: str
    windows: int
    logit_snr_db: float | None
    """The lower one of framewise and clipwise. None: equal to the bit, or not a number, which `rejection` says."""
    embedding_snr_db: float | None
    """The lower one of the embedding and, where the graph has it, the embedding of each step; None as above."""
    budget_db: float
    """The least that `logit_snr_db` may be."""
    largest_difference: dict[str, float]
    """Of the scores, by label."""
    decisions_changed: float
    """The share of all scores that are on the other side of their threshold."""


class EngineManifest(BaseModel):
    """What an engine was built from and for, and how it did in validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    requested: str
    """The precision that was requested: `auto`, where this one was tried among others."""
    engine_sha256: str
    engine_bytes: int
    calibration_sha256: str | None
    """Hash of what model.json says about the 8-bit graphs."""
    cuda: str | None
    """The driver's version."""
    machine: Machine
    versions: dict[str, str]
    built: AwareDatetime
    build_s: float
    latency: Latency | None
    """None where there was no GPU to measure on."""
    validation: Validation | None
    """None where there was no GPU to run on."""
    validated_on: Gpu | None
    """The GPU that `latency` and `validation` are from."""
    rejection: str | None
    """Why the engine must not run, where validation failed."""

    @model_validator(mode="before")
    @classmethod
    def _of_this_revision(cls, content: Any) -> Any:
        """Refuse the manifest of another revision in one line, rather than its first unknown key."""
        recipe = content.get("recipe") if isinstance(content, dict) else None
        if isinstance(recipe, dict) and recipe.get("revision", REVISION) != REVISION:
            raise ValueError("was written by another version of htsat-edge; the engine must be built again")
        return content


@dataclass(frozen=True)
class Platform:
    """What engines must fit: the TensorRT and the GPU of this machine."""

    flavour: Flavour
    tensorrt: str
    """Its version."""
    gpu: Gpu | None
    """None where there is none."""


def engine_folders(bundle: Bundle) -> list[Path]:
    """Return where engines of a bundle may lie: in it and, since it may be read-only, in this user's cache.

    The first is the one to build into; what is in it comes before what is in the other.
    """
    own, cache = bundle.path / FOLDER, _find_cache()
    if cache is None:
        return [own]
    place = bundle.path.resolve()
    mark = hashlib.sha256(os.fsencode(place)).hexdigest()[:8]
    cached = cache / FOLDER / f"{place.name}-{mark}"
    return [own, cached] if os.access(own if own.exists() else bundle.path, os.W_OK) else [cached, own]


def _find_cache() -> Path | None:
    """Return this user's cache, which may have to be made; None where there can be none."""
    service = os.environ.get("CACHE_DIRECTORY")  # which systemd sets (CacheDirectory=); it may name several
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        cache = Path(service.partition(":")[0]) if service else home.expanduser() / "htsat-edge"
        with suppress(FileNotFoundError):
            cache.stat()
    except (RuntimeError, OSError):  # a user without a home, or with that of another, as after sudo -u without -H
        return None
    return cache


def engine_file(bundle: Bundle, recipe: Recipe) -> Path:
    """Return where the engine of a recipe lies, or would be built."""
    return _find(bundle, f"{recipe.key}.engine")


def manifest_file(bundle: Bundle, recipe: Recipe) -> Path:
    """Return where the manifest of that engine lies, or would be written."""
    return _find(bundle, f"{recipe.key}.json")


def _find(bundle: Bundle, name: str) -> Path:
    paths = [folder / name for folder in engine_folders(bundle)]
    return next((path for path in paths if path.exists()), paths[0])


def read_manifests(bundle: Bundle) -> list[EngineManifest]:
    """Read the manifests of a bundle's engines, the newest first; log and leave out those that cannot be read."""
    found: dict[str, EngineManifest] = {}
    for path in (path for folder in engine_folders(bundle) for path in sorted(folder.glob("*.json"))):
        try:
            manifest = read_json(path, EngineManifest)
            key = manifest.recipe.key
            if path.stem != key:
                raise HtsatEdgeError(f"{path}: is not named by its own key, {key}: was it edited?")
            found.setdefault(key, manifest)
        except HtsatEdgeError as error:
            logger.warning("%s; the engine beside it is not used", error)
    return sorted(found.values(), key=lambda manifest: manifest.built, reverse=True)


def incompatibility(bundle: Bundle, recipe: Recipe, platform: Platform) -> str | None:
    """Return why an engine cannot be used on a platform, None if it can."""
    if recipe.flavour != platform.flavour or recipe.tensorrt != platform.tensorrt:
        return (
            f"it was built with {NAMES[recipe.flavour]} {recipe.tensorrt}, "
            f"but this machine has {NAMES[platform.flavour]} {platform.tensorrt}"
        )
    if recipe.gpu is not None and recipe.gpu != platform.gpu:
        return f"it was built for {recipe.gpu}, but this machine has {platform.gpu or 'no GPU'}"
    if recipe.revision != REVISION:
        return "it was built by another version of htsat-edge"
    if recipe.graph not in bundle.precisions() or bundle.sha256(recipe.graph) != recipe.graph_sha256:
        return f"{recipe.graph}.onnx has changed since it was built"
    return None


def missing_validation(manifest: EngineManifest, platform: Platform) -> str | None:
    """Return why a compatible engine does not count as validated on a platform, None if it does."""
    if manifest.rejection:
        return manifest.rejection
    if manifest.validated_on is None:
        return "it was never compared with fp32 on a GPU"
    if manifest.validated_on != platform.gpu:
        return f"it was compared with fp32 on {manifest.validated_on}, but this machine has {platform.gpu or 'no GPU'}"
    return None


def how_to_build(bundle: Bundle, precision: str | None) -> str:
    """Return a clause with the command that builds an engine."""
    where = "" if bundle.path == BUNDLED else f" {shlex.quote(str(bundle.path))}"
    what = f" --precision {precision}" if precision else ""
    return f"python -m htsat_edge.export.build_trt{where}{what} builds one"


def find_engines(bundle: Bundle, platform: Platform, precision: str | None = None) -> list[EngineManifest]:
    """Return the engines that are compatible with a platform and validated on its GPU, the fastest first.

    Raise a NoEngine that says why there is none.
    """
    known = [m for m in read_manifests(bundle) if precision in (None, m.recipe.precision)]
    reasons = {
        m.recipe.key: incompatibility(bundle, m.recipe, platform) or missing_validation(m, platform) for m in known
    }
    usable = [(m.latency.p50_ms / m.latency.batch, m) for m in known if m.latency and reasons[m.recipe.key] is None]
    if usable:
        return [manifest for _, manifest in sorted(usable, key=lambda item: item[0])]
    if not known:
        raise NoEngine(f"{bundle.path}: has no {precision + ' ' if precision else ''}engine")
    newest = known[0].recipe
    raise NoEngine(f"{engine_file(bundle, newest)}: {reasons[newest.key]}")


def read_engine(bundle: Bundle, manifest: EngineManifest) -> bytes:
    """Return an engine's bytes; raise a NoEngine where they are not those that its manifest was written for."""
    path = engine_file(bundle, manifest.recipe)
    try:
        engine = path.read_bytes()
    except OSError as error:
        raise NoEngine(f"{path}: cannot be read: {error.strerror}") from None
    if len(engine) != manifest.engine_bytes or hashlib.sha256(engine).hexdigest() != manifest.engine_sha256:
        raise NoEngine(f"{path}: is damaged: it does not match its manifest")
    return engine
