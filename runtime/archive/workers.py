"""Processes that hear recordings, seen from the one that shares the work out among them.

A decoder may crash, and the system may kill what takes too much memory: then one recording is given up, a new process
takes the place of the old one, and the others go on. A worker ends when the process that started it has ended, however.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.archive.records import FoundInRecording, HearingSettings, Span, SpanScores
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.common.programs import command_of, signal_of

PATIENCE_S = 600.0
"""A worker that has heard nothing for so long hangs."""
GLANCE_S = 1.0
"""How often it is looked whether one hangs, and shown how far the work is."""
END_S = 5.0
"""For a worker to end by itself."""
SMALL = 4_000_000
"""Bytes. While a worker is at a smaller recording, it has the next job already, so that it need not wait for it."""
MOST_STILLBORN = 3
"""Workers in a row that end before they can hear anything; then there is no use in a further one."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment: each core has a process, and no library may start threads beside it."""


class HearFile(NamedTuple):
    """Hear a recording; one that is long is cut instead."""

    path: Path
    size: int
    """Bytes."""
    scores: Path | None = None
    """Where to write its scores, once it is heard."""


class HearSpan(NamedTuple):
    """Hear a part of a recording."""

    span: Span

    @property
    def path(self) -> Path:
        """Return the recording."""
        return self.span.path


class FinishFile(NamedTuple):
    """Find the events in what was heard of a recording's spans."""

    path: Path
    spans: tuple[SpanScores, ...]
    scores: Path | None = None
    """Where to write them."""


class Cut(NamedTuple):
    """A recording is long, and has these spans, which are to be heard."""

    spans: tuple[Span, ...]


class GivenUp(NamedTuple):
    """A recording could not be heard."""

    reason: str


class Ready(NamedTuple):
    """A worker has the model."""


class Unable(NamedTuple):
    """A worker cannot hear anything, and neither could another one."""

    reason: str
    later: bool = False
    """Whether one may be able to later."""


class SecondsHeard(NamedTuple):
    """A worker has heard so much since it last said so."""

    seconds: float


Job = HearFile | HearSpan | FinishFile
Answer = FoundInRecording | SpanScores | Cut | GivenUp
Message = Ready | Unable | SecondsHeard | Answer
Command = Callable[[int], Sequence[str]]
"""Return what to run for a descriptor, the worker's end of a connection."""


class Workers:
    """Hears recordings in several processes; a context manager, with whose end they end."""

    def __init__(self, settings: HearingSettings, count: int, command: Command | None = None) -> None:
        """Prepare; a worker is started, and loads the model, when there is a job for it.

        Parameters
        ----------
        settings
            What they hear with.
        count
            Of processes at most, each with one thread.
        command
            What runs a worker; by default the program of runtime/archive/worker.py.
        """
        self.heard_s = 0.0
        """Seconds of audio that are heard so far."""
        self._settings, self._count, self._command = settings, count, command or _command
        self._workers: list[_Worker] = []
        self._waiting: deque[Job] = deque()
        """Jobs of workers that have died before they came to them."""
        self._stillborn = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Return the numbers of the processes."""
        return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        """End the workers, whatever they are at."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.end()

    def run(self, next_job: Callable[[], Job | None]) -> Iterator[tuple[Job, Answer] | None]:
        """Yield jobs with their answers as they come, and None once a second or more often; end when all are answered.

        Parameters
        ----------
        next_job
            Return a job, or None while there is none: there may be further ones once an answer has come.

        Raises
        ------
        NotReadyError
            No worker can hear anything at present, as where a server that runs the model is gone.
        HtsatEdgeError
            No worker can hear anything, as where the model cannot be loaded.
        """
        while True:
            self._share_out(lambda: self._waiting.popleft() if self._waiting else next_job())
            if not any(worker.jobs for worker in self._workers):
                return
            spoken = wait([worker.connection for worker in self._workers], GLANCE_S)
            for place, worker in enumerate(self._workers):
                said = worker.hear() if worker.connection in spoken else worker.find_hung()
                if isinstance(said, SecondsHeard):
                    self.heard_s += said.seconds
                elif isinstance(said, Ready):
                    self._stillborn = 0
                elif isinstance(said, Unable):
                    raise (NotReadyError if said.later else HtsatEdgeError)(said.reason)
                elif isinstance(said, _Dead):
                    self._workers[place] = self._replace(worker, said)
                    if worker.is_ready and worker.jobs:
                        yield worker.jobs.popleft(), GivenUp(said.reason)
                    self._waiting.extend(worker.jobs)
                elif said is not None:
                    yield worker.jobs.popleft(), said
            yield None

    def _share_out(self, next_job: Callable[[], Job | None]) -> None:
        """Give jobs to workers; none gets a second one while another has none."""
        for worker in filter(_Worker.is_idle, self._workers):
            if (job := next_job()) is not None:
                worker.give(job)
        while len(self._workers) < self._count and (job := next_job()) is not None:
            self._workers.append(_Worker(self._settings, self._command))
            self._workers[-1].give(job)
        for worker in filter(_Worker.is_soon_idle, self._workers):
            if (job := next_job()) is not None:
                worker.give(job)

    def _replace(self, worker: _Worker, dead: _Dead) -> _Worker:
        """Return a worker in place of one that has died; raise where they die before they have done anything."""
        self._stillborn += not worker.is_ready
        if self._stillborn >= MOST_STILLBORN:
            raise HtsatEdgeError(f"no process can be kept that hears recordings: {dead.reason}")
        return _Worker(self._settings, self._command)


class _Dead(NamedTuple):
    """A worker is no more."""

    reason: str


class _Worker:
    """One process, and what it was given to do."""

    def __init__(self, settings: HearingSettings, command: Command) -> None:
        self.connection, theirs = Pipe()
        self.is_ready, self._spoke = False, time.monotonic()
        self.jobs: deque[Job] = deque()
        """Those that are not answered yet; it is at the first."""
        with theirs:
            # In a session of its own: Ctrl-C in a terminal is the business of whoever shares out the work.
            self.process = subprocess.Popen(
                command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # of decoders in C, which complain of every damaged recording
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=os.environ | ONE_THREAD,
            )
        self._send(settings)

    def is_idle(self) -> bool:
        """Return whether it has nothing to do."""
        return not self.jobs

    def is_soon_idle(self) -> bool:
        """Return whether it is to have a job beside the one that it is at."""
        return len(self.jobs) == 1 and isinstance(one := self.jobs[0], HearFile) and one.size < SMALL

    def give(self, job: Job) -> None:
        """Give it a job."""
        if not self.jobs:
            self._spoke = time.monotonic()
        self.jobs.append(job)
        self._send(job)

    def hear(self) -> Message | _Dead | None:
        """Return what it says, which must be there already."""
        self._spoke = time.monotonic()
        try:
            said: Message = self.connection.recv()
        except (EOFError, OSError):
            return self._bury()
        self.is_ready = self.is_ready or isinstance(said, Ready)
        return said

    def find_hung(self) -> _Dead | None:
        """Kill it where it has said nothing for too long."""
        if not self.jobs or time.monotonic() - self._spoke < PATIENCE_S:
            return None
        self._bury()
        return _Dead(f"nothing more was heard of it for {PATIENCE_S / 60:.0f} minutes: what reads it hangs")

    def end(self) -> None:
        """Wait for its end, or make one; its connection is closed."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        self.process.kill()
        self.process.wait()

    def _send(self, what: object) -> None:
        with suppress(OSError):  # it is dead, which the next look at it tells
            self.connection.send(what)

    def _bury(self) -> _Dead:
        self.connection.close()
        self.end()
        return _Dead(f"the process that read it {_how_it_ended(self.process.returncode)}")


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    if -status == signal.SIGKILL:
        return "was killed; where memory is short, give fewer --processes"
    return f"crashed ({signal_of(status)})"


def _command(descriptor: int) -> list[str]:
    return command_of("htsat_edge.runtime.archive.worker", str(descriptor))
