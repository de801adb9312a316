"""The folder of a bundle's engines as the builder keeps it: one build at a time, failed attempts, what is outdated."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.models.engines import (
    EngineManifest,
    Platform,
    Recipe,
    engine_folders,
    incompatibility,
    manifest_file,
    read_manifests,
)

TIMING_CACHE = "timing.cache"
INTERRUPTED = "the process was killed, or the machine went down"


class Attempts(BaseModel):
    """How often a build in the background failed."""

    recipe: Recipe
    count: int
    reason: str


class EngineStore:
    """The engines of a bundle, for a builder on one platform."""

    def __init__(self, bundle: Bundle, platform: Platform) -> None:
        self.folder = engine_folders(bundle)[0]
        self._bundle, self._platform = bundle, platform

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one build; make it if it is missing, and wait while another process builds in it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("a+")
        except OSError as error:
            hint = "build as the bundle's owner, or name a folder that can be written to in XDG_CACHE_HOME"
            raise HtsatEdgeError(f"{self.folder}: cannot be written: {error.strerror}; {hint}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                print(f"waiting for process {file.read().strip()}, which builds here", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def find(self, recipe: Recipe) -> EngineManifest | None:
        """Return the manifest of the engine that was built by a recipe, None where there is none."""
        if not manifest_file(self._bundle, recipe).exists():  # which spares the log the faults of other manifests
            return None
        return next((m for m in read_manifests(self._bundle) if m.recipe == recipe), None)

    def write_engine(self, recipe: Recipe, engine: bytes) -> None:
        """Put an engine in its place."""
        with replacing(self.folder / f"{recipe.key}.engine") as part:
            part.write_bytes(engine)

    def write_manifest(self, manifest: EngineManifest) -> None:
        """Put a manifest beside its engine."""
        with replacing(self.folder / f"{manifest.recipe.key}.json") as part:
            part.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def read_timing_cache(self) -> bytes:
        """Return what TensorRT has measured of kernels in earlier builds, nothing where there was none."""
        path = self.folder / TIMING_CACHE
        return path.read_bytes() if path.exists() else b""

    def write_timing_cache(self, content: bytes) -> None:
        """Keep what TensorRT has measured for the next build."""
        with replacing(self.folder / TIMING_CACHE) as part:
            part.write_bytes(content)

    def read_attempts(self, recipe: Recipe) -> Attempts:
        """Return how often a build failed; count none where the file was torn by a power cut."""
        path = self._attempts_file(recipe)
        with suppress(HtsatEdgeError):
            if path.exists():
                return read_json(path, Attempts)
        return Attempts(recipe=recipe, count=0, reason="")

    def write_attempts(self, attempts: Attempts) -> None:
        """Keep how often a build failed."""
        with replacing(self._attempts_file(attempts.recipe)) as part:
            part.write_text(attempts.model_dump_json(), encoding="utf-8")

    def forget_attempts(self, recipe: Recipe) -> None:
        """Begin to count again, since a build succeeded."""
        self._attempts_file(recipe).unlink(missing_ok=True)

    def prune(self) -> list[tuple[EngineManifest, str]]:
        """Remove outdated engines and attempts, and what killed builds have left; return the engines and reasons.

        Engines for another GPU stay: on some modules the power mode changes how many SMs there are.
        """
        keep: set[Path] = set()
        newest = set()
        removed = []
        for manifest in read_manifests(self._bundle):
            recipe = manifest.recipe
            twin = (recipe.flavour, recipe.precision, recipe.gpu)
            reason = "a newer one replaces it" if twin in newest else self._outdated(recipe)
            newest.add(twin)
            files = {self.folder / f"{recipe.key}{suffix}" for suffix in (".engine", ".json")}
            if reason is None:
                keep |= files
            elif any(path.exists() for path in files):  # else it lies in a bundle that cannot be written to
                removed.append((manifest, reason))
        for path in self.folder.glob("*.failed"):
            with suppress(HtsatEdgeError):
                if self._outdated(read_json(path, Attempts).recipe) is None:
                    keep.add(path)
        for pattern in ("*.engine", "*.json", "*.failed", ".*.part"):
            for path in self.folder.glob(pattern):
                if path not in keep:
                    path.unlink()
        return removed

    def _attempts_file(self, recipe: Recipe) -> Path:
        return self.folder / f"{recipe.key}.failed"

    def _outdated(self, recipe: Recipe) -> str | None:
        """Return why an engine will not be used again, None if it may."""
        if recipe.flavour != self._platform.flavour:
            return None
        return incompatibility(self._bundle, recipe, replace(self._platform, gpu=recipe.gpu))
