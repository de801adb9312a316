"""Time candidates in processes that take turns.

Every candidate runs in a process of its own, so that none has another's memory, threads or processor state. The
processes take turns: one run each, then the next round in the opposite order, so that other load on the machine meets
all of them alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from htsat_edge.runtime.commands.bench.results import Candidate, Observation
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.common.progress import with_progress


class Worker:
    """The process of one candidate."""

    def __init__(self, candidate: Candidate) -> None:
        """Start the process, and wait for its first scores; an HtsatEdgeError says why there are none."""
        self.candidate = candidate
        # numpy gets as many threads as the model.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(candidate.threads)}
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            command_of("htsat_edge.runtime.commands.bench.worker", candidate.model_dump_json(), candidate.path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the bench alone, which then ends its processes
        )
        try:
            self._read_answer()
            self._startup_s = time.perf_counter() - begun
            self._about = self._read_answer()
        except BaseException:
            self.close()
            raise
        self._seconds: dict[str, list[float]] = {task: [] for task in self._about["tasks"]}
        self._peak_memory_mb = 0.0

    def run(self) -> None:
        """Time each task of the candidate once; an HtsatEdgeError says why one failed."""
        assert self._process.stdin is not None
        for task, seconds in self._seconds.items():
            with suppress(BrokenPipeError):  # the process has ended, which reading its answer reports
                self._process.stdin.write(task + "\n")
            answer = self._read_answer()
            seconds.append(answer["seconds"])
            self._peak_memory_mb = answer["peak_memory_mb"]

    def observed(self) -> Observation:
        """Return what the process has reported so far."""
        return Observation(
            candidate=self.candidate,
            startup_s=self._startup_s,
            peak_memory_mb=self._peak_memory_mb,
            runs_on=self._about["runs_on"],
            seconds=self._seconds,
        )

    def kill(self) -> None:
        """Kill the process, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and close its pipes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.kill()
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _read_answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HtsatEdgeError(f"{self.candidate.name}: its process ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise HtsatEdgeError(answer["failed"])
        return answer


def time_in_turn(
    candidates: Sequence[Candidate],
    runs: int,
    after_run: Callable[[], object] = lambda: None,
    start: Callable[[Candidate], Worker] = Worker,
) -> tuple[list[Observation], dict[str, str]]:
    """Time every candidate `runs` times, each in a process of its own.

    Parameters
    ----------
    candidates
        What to time; at least one of kind `bundle`.
    runs
        Rounds, in each of which every candidate runs once.
    after_run
        Called after each run of a candidate, such as to read the processor's clock.
    start
        Starts the process of a candidate.

    Returns
    -------
    tuple
        What was observed of the candidates that ran to the end, and by title the reasons why others did not.

    Raises
    ------
    HtsatEdgeError
        No candidate of the bundle could be run; the message says why the first could not.
    """
    failed: dict[str, str] = {}
    workers: list[Worker] = []
    with ExitStack() as stack:
        for candidate in with_progress(candidates, "starting"):
            with _noting_failure(candidate, failed):
                worker = start(candidate)
                stack.callback(worker.close)
                workers.append(worker)
        _require_bundle(workers, candidates, failed)
        for turn in with_progress(range(runs), "running"):
            for worker in workers[:: -1 if turn % 2 else 1]:
                with _noting_failure(worker.candidate, failed):
                    worker.run()
                after_run()
            workers = [worker for worker in workers if worker.candidate.title not in failed]
        _require_bundle(workers, candidates, failed)
    return [worker.observed() for worker in workers], failed


@contextmanager
def _noting_failure(candidate: Candidate, failed: dict[str, str]) -> Iterator[None]:
    """Note why a candidate fails, so that the others go on."""
    try:
        yield
    except HtsatEdgeError as error:
        failed[candidate.title] = str(error)


def _require_bundle(workers: Sequence[Worker], candidates: Sequence[Candidate], failed: dict[str, str]) -> None:
    """Raise an HtsatEdgeError with the first reason where no candidate of the bundle is left."""
    if not any(worker.candidate.kind == "bundle" for worker in workers):
        raise HtsatEdgeError(next(failed[one.title] for one in candidates if one.title in failed))
