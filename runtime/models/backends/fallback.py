"""A model for a program that never ends: what runs it changes, what it gives does not stop."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from contextlib import suppress

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.models.backends import Backend, Scores
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.models.engines import Flavour, read_passports

STOP_S = 5.0
"""For a builder that is told to stop."""
logger = logging.getLogger(__name__)


class Standby:
    """An engine where there is one, else onnxruntime until one is built, and again should the GPU fail."""

    def __init__(
        self,
        backend: Backend,
        on_cpu: Callable[[], Backend],
        on_gpu: Callable[[], Backend],
        builder: subprocess.Popen[bytes] | None,
    ) -> None:
        """Begin on a backend. While there is a `builder` it is onnxruntime, and `on_gpu` opens what is being built."""
        self._backend, self._on_cpu, self._on_gpu, self._builder = backend, on_cpu, on_gpu, builder
        self._on_engine = builder is None

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score clips, log_mel (B, T, F) in dB; between two calls the backend may change."""
        if self._builder is not None and self._builder.poll() is not None:
            self._builder = None
            self._take_engine()
        try:
            return self._backend.infer(log_mel)
        except HtsatEdgeError as error:
            if not self._on_engine:
                raise
            logger.error("%s; onnxruntime runs the model from now on", error)
        self._leave_engine()
        return self._backend.infer(log_mel)

    def close(self) -> None:
        """Release the model, and stop the builder if it still builds."""
        if self._builder is not None:
            self._builder.terminate()
            try:
                self._builder.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._builder.kill()
                self._builder.wait()
        self._backend.close()

    def _take_engine(self) -> None:
        try:
            engine = self._on_gpu()
        except HtsatEdgeError as error:
            logger.warning("%s; onnxruntime goes on running the model", error)
            return
        self._backend.close()
        self._backend, self._on_engine = engine, True
        logger.warning("an engine is built and proven, and runs the model from now on")

    def _leave_engine(self) -> None:
        with suppress(HtsatEdgeError):  # a GPU that failed may fail at this, too
            self._backend.close()
        self._backend, self._on_engine = self._on_cpu(), False


def start_build(bundle: Bundle, flavour: Flavour, precision: str | None) -> subprocess.Popen[bytes]:
    """Build an engine in a process of its own, as the newest one was that is there."""
    options = ["--flavour", flavour]
    last = next((p for p in read_passports(bundle) if p.recipe.flavour == flavour), None)
    if last is not None:
        recipe = last.recipe
        options += ["--batch", ",".join(map(str, recipe.batch)), "--workspace-mib", str(recipe.workspace_mib)]
        options += ["--optimization-level", str(recipe.optimization_level)]
        options += ["--budget", str(last.check.budget_db)] if last.check is not None else []
    options += ["--precision", precision or (last.asked if last is not None else "auto")]
    command = command_of("htsat_edge.export.build_trt", str(bundle.path), "--background", *options)
    # What it says goes to the log: stdout is for events. In a session of its own, Ctrl-C is not sent to it as well.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True)
