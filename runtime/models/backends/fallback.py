"""A backend for a program that runs without end: it changes from onnxruntime to an engine and back as it goes."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.models.backends.backend import Backend, Scores
from htsat_edge.runtime.models.backends.changing import BackendChange, backend_name
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.models.engines import Flavour, read_manifests

STOP_S = 5.0
"""How long a builder may take to stop before it is killed."""
logger = logging.getLogger(__name__)


class FallbackBackend:
    """An engine where there is one, else onnxruntime until one is built, and again should the GPU fail."""

    def __init__(
        self,
        backend: Backend,
        on_cpu: Callable[[], Backend],
        on_gpu: Callable[[], Backend],
        builder: subprocess.Popen[bytes] | None,
        stop_s: float = STOP_S,
    ) -> None:
        """Begin on a backend.

        Parameters
        ----------
        backend
            onnxruntime where there is a `builder`, else an engine.
        on_cpu, on_gpu
            Open the model on onnxruntime, and the engine that the builder has built.
        builder
            The process that builds an engine; when it has ended, the next call of `infer` switches to that engine.
        stop_s
            How long `close` waits for the builder to stop before it kills it.

        """
        self._backend, self._on_cpu, self._on_gpu, self._builder = backend, on_cpu, on_gpu, builder
        self._on_engine = builder is None
        self._stop_s = stop_s
        self.fallbacks = 0
        """How often the GPU has failed."""
        self._changes: deque[BackendChange] = deque()

    @property
    def present(self) -> Backend:
        """What runs the model at present."""
        return self._backend

    def notices(self) -> Iterator[BackendChange]:
        """Yield what has changed since the last time."""
        while self._changes:
            yield self._changes.popleft()

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB; between two calls the backend may change."""
        if self._builder is not None and self._builder.poll() is not None:
            self._builder = None
            self._take_engine()
        try:
            return self._backend.infer(log_mel)
        except HtsatEdgeError as error:
            if not self._on_engine:
                raise
            logger.error("%s; onnxruntime runs the model from now on", error)
            self._leave_engine(str(error))
        return self._backend.infer(log_mel)

    def close(self) -> None:
        """Release the model, and stop the builder if it still builds."""
        if self._builder is not None:
            self._builder.terminate()
            try:
                self._builder.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                self._builder.kill()
                self._builder.wait()
        self._backend.close()

    def _take_engine(self) -> None:
        try:
            engine = self._on_gpu()
        except HtsatEdgeError as error:
            logger.warning("%s; onnxruntime still runs the model", error)
            return
        self._backend.close()
        self._backend, self._on_engine = engine, True
        self._note("an engine was built and validated")
        logger.warning("an engine was built and validated; it runs the model from now on")

    def _leave_engine(self, reason: str) -> None:
        with suppress(HtsatEdgeError):  # a GPU that failed may fail at this, too
            self._backend.close()
        self._backend, self._on_engine = self._on_cpu(), False
        self.fallbacks += 1
        self._note(reason)

    def _note(self, reason: str) -> None:
        self._changes.append(BackendChange(backend_name(self._backend), reason))


def start_build(bundle: Bundle, flavour: Flavour, precision: str | None) -> subprocess.Popen[bytes]:
    """Start a process that builds an engine, with the options of the newest one of this flavour."""
    # In a session of its own, Ctrl-C is not sent to it as well.
    builder = subprocess.Popen(
        build_command(bundle, flavour, precision),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert builder.stdout is not None
    assert builder.stderr is not None
    for stream, log in ((builder.stdout, logger.info), (builder.stderr, logger.warning)):
        threading.Thread(target=pass_on, args=(stream, log), name="builder's output", daemon=True).start()
    return builder


def pass_on(stream: IO[bytes], log: Callable[[str], None]) -> None:
    """Log each line of a process until it ends."""
    with stream:
        for line in stream:
            log(line.decode(errors="replace").rstrip())


def build_command(bundle: Bundle, flavour: Flavour, precision: str | None) -> list[str]:
    """Return the command that builds an engine in the background, as the newest one of this flavour was built."""
    options = ["--flavour", flavour]
    last = next((m for m in read_manifests(bundle) if m.recipe.flavour == flavour), None)
    if last is not None:
        recipe = last.recipe
        options += ["--batch", ",".join(map(str, recipe.batch)), "--workspace-mib", str(recipe.workspace_mib)]
        options += ["--optimization-level", str(recipe.optimization_level)]
        options += ["--budget", str(last.validation.budget_db)] if last.validation is not None else []
    options += ["--precision", precision or (last.requested if last is not None else "auto")]
    return command_of("htsat_edge.export.build_trt", str(bundle.path), "--background", *options)
