"""A server runs the model, and this device while the server is slow or gone; no window is lost by it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.models.backends.backend import Backend, Scores
from htsat_edge.runtime.models.backends.changing import BackendChange, backend_name, fallbacks_of, notices_of
from htsat_edge.runtime.models.backends.kserve import release_thread
from htsat_edge.runtime.models.backends.remote import RemoteBackend

FIRST_PROBE_S, LONGEST_PROBE_S = 1.0, 8.0
"""From one look at a server that does not do to the next, twice as long each time."""
BEGIN_S = 3.0
"""For the first look at a server; without an answer, this device begins."""
FIRST_STEADY_S, LONGEST_STEADY_S, FORGIVEN_S = 10.0, 600.0, 600.0
"""A server that has come back for less than the last of these must answer in time for so long before it is used again,
twice as long each time: each change is published, and one that comes and goes would flood who reads them."""
CLOSE_S = 1.0
logger = logging.getLogger(__name__)


@dataclass
class _Request:
    """Windows on their way to the server and back."""

    log_mel: FloatArray
    limit_s: float
    answered: threading.Event = field(default_factory=threading.Event)
    scores: Scores | None = None
    problem: str = ""


class RemoteFallback:
    """A model on a server, and the same on this device, which scores what the server does not score in time."""

    def __init__(
        self,
        connect: Callable[[], RemoteBackend],
        local: Backend,
        quiet: FloatArray,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin, on the server where it answers at once.

        Parameters
        ----------
        connect
            Connects with the server; called in a thread of its own, and again after each failure.
        local
            Scores the windows that the server does not; it is closed with this one.
        quiet
            A window (1, T, F) to try the server with before there is another.
        timeout_s
            For an answer.
        clock
            That never goes back.
        """
        self._connect, self._local, self._sample = connect, local, quiet
        self._timeout_s, self._clock = timeout_s, clock
        self.hop_s: Callable[[], float] = lambda: math.inf
        """Seconds from one window to the next at present: there is no more time than that for an answer."""
        self._server: RemoteBackend | None = None
        """The server, while it is used."""
        self._falls, self._steady_s, self._back_s = 0, 0.0, -math.inf
        self._changes: deque[BackendChange] = deque()
        self._warnings = RepeatedWarnings(logger)
        self._problem = f"the server has not answered within {BEGIN_S:g} s"
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._looked, self._closing = threading.Event(), threading.Event()
        self._deciding = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="remote", daemon=True)
        self._thread.start()
        self._looked.wait(BEGIN_S)
        with self._deciding:
            if self._server is None:
                self._looked.set()  # a look that ends later is a change
                self._report(backend_name(local), self._problem)

    @property
    def present(self) -> Backend:
        """What runs the model at present."""
        return self._server or self._local

    @property
    def fallbacks(self) -> int:
        """How often this device has taken over from the server, and something else on it."""
        return self._falls + fallbacks_of(self._local)

    @property
    def ready(self) -> bool:
        """Whether the server runs the model at present."""
        return self._server is not None

    def notices(self) -> Iterator[BackendChange]:
        """Yield what has changed since the last time."""
        while self._changes:
            yield self._changes.popleft()
        yield from notices_of(self._local)

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB; those that the server does not answer in time are scored here."""
        if self._server is not None:
            limit_s = min(self._timeout_s, self.hop_s())
            request = _Request(log_mel, limit_s)
            self._requests.put(request)
            request.answered.wait(limit_s)
            if request.scores is not None:
                return request.scores
            self._leave(request.problem or f"{self._server.name}: has not answered within {limit_s:g} s")
        scores = self._local.infer(log_mel)
        self._sample = log_mel.copy()  # the server is tried with what there is to do
        return scores

    def close(self) -> None:
        """Release the model and the connection."""
        self._closing.set()
        self._requests.put(None)
        self._thread.join(CLOSE_S)  # it may wait for an answer
        self._warnings.close()
        self._local.close()

    def _leave(self, reason: str) -> None:
        """Have this device score, since the server does not."""
        if self._clock() - self._back_s > FORGIVEN_S:
            self._steady_s = 0.0
        else:
            self._steady_s = min(max(2 * self._steady_s, FIRST_STEADY_S), LONGEST_STEADY_S)
        self._falls += 1
        self._report(backend_name(self._local), reason)  # first: the thread may find and report the server at once
        self._server = None
        self._requests.put(None)  # the thread may wait for another request

    def _report(self, backend: str, text: str) -> None:
        logger.warning("%s; %s runs the model from now on", text, backend)
        self._changes.append(BackendChange(backend, text))

    def _work(self) -> None:
        """Serve requests while the server is used, and look for it while it is not; the thread's work."""
        try:
            while not self._closing.is_set():
                server, took_s = self._find()
                if server is None:
                    return
                self._use(server, took_s)
                self._serve(server)
                _close(server)
        finally:
            self._looked.set()
            release_thread()

    def _use(self, server: RemoteBackend, took_s: float) -> None:
        with self._deciding:
            if self._looked.is_set():
                self._back_s = self._clock()
                self._report(server.name, f"it answers in {1000 * took_s:.0f} ms")
            self._requests = SimpleQueue()  # what is left of the last time is of no use
            self._server = server
            self._looked.set()

    def _serve(self, server: RemoteBackend) -> None:
        """Answer requests until the server is left."""
        while self._server is not None and not self._closing.is_set():
            request = self._requests.get()
            if request is None:
                continue
            server.timeout_s = request.limit_s
            try:
                request.scores = server.infer(request.log_mel)
            except Exception as error:  # whatever it is, this device can score, and leaves the server
                request.problem = in_one_line(error)
            request.answered.set()

    def _find(self) -> tuple[RemoteBackend | None, float]:
        """Return a server that has done for long enough, and the seconds of its last answer; none at the end."""
        pause_s, since_s = FIRST_PROBE_S, math.inf
        server: RemoteBackend | None = None
        while not self._closing.is_set():
            try:
                server = server or self._connect()
                took_s = self._probe(server)
                since_s, pause_s = min(since_s, self._clock()), FIRST_PROBE_S
                if self._clock() - since_s >= self._steady_s:
                    return server, took_s
            except Exception as error:  # goes on until it does
                _close(server)
                server, since_s = None, math.inf
                self._note(error)
            self._closing.wait(pause_s)
            pause_s = pause_s if server is not None else min(2 * pause_s, LONGEST_PROBE_S)
        _close(server)
        return None, 0.0

    def _probe(self, server: RemoteBackend) -> float:
        """Return the seconds that a server takes for what there is to do; raise where that is too long."""
        server.timeout_s = min(self._timeout_s, self.hop_s())
        begun = self._clock()
        server.infer(self._sample)
        if (took_s := self._clock() - begun) > server.timeout_s:
            raise HtsatEdgeError(f"{server.name}: takes {took_s:.2g} s for an answer, more than {server.timeout_s:g} s")
        return took_s

    def _note(self, error: Exception) -> None:
        """Note why the server is not used: the first reason is published, others are logged, once in a while."""
        self._problem = in_one_line(error)
        if self._looked.is_set():
            self._warnings.warn(type(error).__name__, f"{self._problem}; this device runs the model")
        self._looked.set()


def _close(server: RemoteBackend | None) -> None:
    """End a connection, whatever state it is in."""
    if server is not None:
        try:
            server.close()
        except Exception as error:
            logger.debug("a connection did not close: %s", in_one_line(error))
