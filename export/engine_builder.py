"""Provide an engine: take the one that exists, or build it; validate it on this GPU, and write its manifest."""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import datetime, timezone
from types import ModuleType
from typing import TYPE_CHECKING

from htsat_edge.export.engine import build, choose_graph, has_monitor, load_graph
from htsat_edge.export.engine_store import INTERRUPTED, Attempts, EngineStore
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.machine import Machine, installed_versions, read_machine
from htsat_edge.runtime.common.progress import Phases
from htsat_edge.runtime.models.backends.gpu import has_cudart, open_device
from htsat_edge.runtime.models.backends.trt import TrtBackend, load_tensorrt
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.models.engines import (
    NAMES,
    EngineManifest,
    Flavour,
    Platform,
    Recipe,
    how_to_build,
    read_engine,
    read_manifests,
)

if TYPE_CHECKING:
    import onnx

ATTEMPTS = 3
"""How often the background tries to build an engine; then somebody must do it by hand."""


class EngineBuilder:
    """Builds engines of a bundle for this machine."""

    def __init__(self, bundle: Bundle, flavour: Flavour, budget_db: float, background: bool) -> None:
        """Load TensorRT and open the GPU; raise an HtsatEdgeError where that fails.

        TensorRT for RTX builds without a GPU: its engines are then not validated.
        """
        self.bundle = bundle
        self._budget_db, self._background = budget_db, background
        self._trt: ModuleType = load_tensorrt(flavour)
        gpu = self._cuda = None
        try:
            gpu, self._cuda = open_device().gpu, open_device().driver
        except HtsatEdgeError:
            if flavour == "tensorrt":  # it compiles for the GPU of this machine
                raise
        self.platform = Platform(flavour, self._trt.__version__, gpu)
        self.store = EngineStore(bundle, self.platform)
        self._machine: Machine = read_machine()

    def __str__(self) -> str:
        gpu = f"{self.platform.gpu}, {self._machine}" if self.platform.gpu else "no GPU here"
        return f"{NAMES[self.platform.flavour]} {self.platform.tensorrt}, {gpu}"

    def make_recipe(
        self, precision: str, batch: tuple[int, int, int], workspace_mib: int, optimization_level: int
    ) -> Recipe:
        """Return what an engine depends on; raise an HtsatEdgeError where the bundle has no graph to build it from."""
        graph = choose_graph(self._trt, self.bundle, precision)
        return Recipe(
            flavour=self.platform.flavour,
            tensorrt=self.platform.tensorrt,
            gpu=self.platform.gpu if self.platform.flavour == "tensorrt" else None,
            precision=precision,
            graph=graph,
            graph_sha256=self.bundle.sha256(graph),
            batch=batch,
            workspace_mib=workspace_mib,
            optimization_level=optimization_level,
        )

    def provide(self, recipe: Recipe, requested: str) -> tuple[EngineManifest, str]:
        """Return the manifest of an engine, and whether it was built or found, as a clause.

        Raise a CheckFailed where the background gives up on it, an HtsatEdgeError where it cannot be built.
        """
        known = self._find(recipe)
        if known is not None and known.rejection and self._background:
            raise CheckFailed(f"{recipe.precision}: {known.rejection}; {how_to_build(self.bundle, recipe.precision)}")
        if known is None or known.rejection:
            manifest = self._build(recipe, requested)
            how = f"built in {manifest.build_s:.1f} s"
        else:
            manifest = self._judge(known if self._is_validated(known) else self._validate(known))
            how = f"already built on {known.built.astimezone():%Y-%m-%d %H:%M}"
        if manifest != known:
            self.store.write_manifest(manifest)
        self.store.forget_attempts(recipe)
        return manifest, how

    def _find(self, recipe: Recipe) -> EngineManifest | None:
        """Return the manifest of an engine that exists, is whole, and that TensorRT accepts."""
        manifest = self.store.find(recipe)
        if manifest is None:
            return None
        try:
            engine = read_engine(self.bundle, manifest)
            if self.platform.gpu is not None:
                TrtBackend(self._trt, engine, self.bundle.info).close()
        except HtsatEdgeError as error:
            print(f"{error}; it is built again", file=sys.stderr)
            return None
        return manifest

    def _build(self, recipe: Recipe, requested: str) -> EngineManifest:
        """Build an engine and validate it. In the background, count a failure, one that ends the process as well."""
        graph = load_graph(self._trt, self.bundle, recipe)
        before = self.store.read_attempts(recipe)
        if self._background and before.count >= ATTEMPTS:
            raise CheckFailed(
                f"{recipe.precision}: the build failed {before.count} times: {before.reason}; "
                f"{how_to_build(self.bundle, recipe.precision)}"
            )

        def record(attempts: Attempts) -> None:
            if self._background:
                self.store.write_attempts(attempts)

        def failure(reason: str) -> Attempts:
            return Attempts(recipe=recipe, count=before.count + 1, reason=reason)

        record(failure(INTERRUPTED))
        try:
            return self._validate(self._compile(recipe, graph, requested))
        except HtsatEdgeError as error:
            record(failure(str(error)))
            raise
        except KeyboardInterrupt:  # a build that was stopped has not failed
            record(before)
            sys.stdout.flush()
            os._exit(130)  # TensorRT cannot be stopped, nor the process end as usual while it builds

    def _compile(self, recipe: Recipe, graph: onnx.ModelProto, requested: str) -> EngineManifest:
        """Build an engine and write it; return its manifest without validation."""
        if self._background or not (has_monitor(self._trt) and sys.stderr.isatty()):  # where no bar shows the progress
            print(f"{recipe.precision}: building{self._expected_time()}", flush=True)
        info = self.bundle.info
        timing = self.store.read_timing_cache() if recipe.flavour == "tensorrt" else b""
        with Phases(f"building {recipe.precision}", quiet=self._background) as phases:
            done = build(self._trt, graph, recipe, (info.frames, info.front_end.n_mels), timing, phases)
        self.store.write_engine(recipe, done.engine)
        if done.timing_cache:
            self.store.write_timing_cache(done.timing_cache)
        own = recipe.precision == "int8" and self.bundle.is_own(recipe.graph) is not False
        calibration = info.quantization.model_dump_json() if info.quantization and own else None
        return EngineManifest(
            recipe=recipe,
            requested=requested,
            engine_sha256=hashlib.sha256(done.engine).hexdigest(),
            engine_bytes=len(done.engine),
            calibration_sha256=hashlib.sha256(calibration.encode()).hexdigest() if calibration else None,
            cuda=self._cuda,
            machine=self._machine,
            versions=installed_versions("htsat-edge", "onnx", "onnxruntime", "numpy"),
            built=datetime.now(timezone.utc),
            build_s=round(done.seconds, 1),
            latency=None,
            validation=None,
            validated_on=None,
            rejection=None,
        )

    def _expected_time(self) -> str:
        for manifest in read_manifests(self.bundle)[:1]:
            return f"; the last build took {manifest.build_s:.0f} s"
        return "; on a Jetson this takes minutes" if self.platform.flavour == "tensorrt" else ""

    def _is_validated(self, manifest: EngineManifest) -> bool:
        return self.platform.gpu is None or manifest.validated_on == self.platform.gpu

    def _validate(self, manifest: EngineManifest) -> EngineManifest:
        """Return the manifest with what the engine reaches on this GPU, if there is one."""
        if self.platform.gpu is None:
            return manifest
        from htsat_edge.export.validate import validate

        engine = read_engine(self.bundle, manifest)
        latency, validation, rejection = validate(
            self.bundle,
            lambda cuda_graph: TrtBackend(self._trt, engine, self.bundle.info, cuda_graph),
            manifest.recipe.batch,
            self._budget_db,
            has_cudart(),
        )
        return manifest.model_copy(
            update={
                "latency": latency,
                "validation": validation,
                "validated_on": self.platform.gpu,
                "rejection": rejection,
                "cuda": self._cuda,
                "machine": self._machine,
            }
        )

    def _judge(self, manifest: EngineManifest) -> EngineManifest:
        """Return the manifest, with a rejection where today's budget asks for more than the engine reached."""
        from htsat_edge.export.validate import below_budget

        snr = manifest.validation.logit_snr_db if manifest.validation is not None else None
        if snr is None or snr >= self._budget_db:
            return manifest
        return manifest.model_copy(update={"rejection": below_budget("logit", snr, self._budget_db)})
