"""Hear what a journal lists on all machines of a cluster, by Ray Data; the driver writes it into the journal.

A pass is one data set: groups of jobs -> `RayHearer`, an actor for each CPU or share of a GPU -> parts, with Ray's
checkpoints. Long recordings come back cut, and the next pass hears their spans. The answers are those of one machine's
processes, and so the results are the same.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from htsat_edge.runtime.archive.cluster.hearer import RayHearer, pack
from htsat_edge.runtime.archive.cluster.nodes import check_nodes, connected
from htsat_edge.runtime.archive.cluster.parts import ID, AnswerParts, FileAnswer
from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.archive.scan import Agenda
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.workers import HearFile, Job
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.common.text import in_one_line, plural

GROUP_BYTES, GROUP_JOBS = 64_000_000, 64
"""Of recordings that a worker gets together; a longer one is alone."""
PASS_GROUPS = 5000
"""More would be much to hold in memory, and make a folder of parts that is slow to list."""
GROUPS = 4
"""For each worker at least, where there is so much to do: none waits for long for the last one."""
GLANCE_S = 1.0
"""How often it is looked for new parts."""


def hear_on_ray(
    journal: Journal,
    settings: HearingSettings,
    address: str | None,
    progress: ScanProgress,
    newest_first: bool = False,
    folders: Sequence[Path] = (),
    gpus: float | None = None,
) -> None:
    """Hear all that a journal has to do, and write it into the journal; `take_left` goes first.

    Parameters
    ----------
    journal
        It, the recordings and the model must lie where all machines see them, at the same path.
    settings
        What is heard, and how.
    address
        HOST:PORT of the cluster; None: that of RAY_ADDRESS, or the cluster that this machine is in.
    progress
        Shows how far it is.
    newest_first
        Hear the recordings first that were changed last.
    folders
        Where the recordings lie, so that each machine can be asked whether it sees them.
    gpus
        Share of a GPU that each worker gets; None: a whole one for an engine of TensorRT, else a CPU.

    Raises
    ------
    NotReadyError
        The server is gone that runs the model. What is done is kept.
    HtsatEdgeError
        There is no such cluster, one of its machines cannot do the work, or Ray gives up. What is done is kept.
    """
    parts = AnswerParts(journal.folder)
    share = gpus or (1.0 if settings.backend == "tensorrt" else 0.0)
    with connected(address):
        paths = [journal.folder, settings.bundle, *([settings.sounds] if settings.sounds else []), *folders]
        workers = check_nodes(paths, share)
        agenda, heard_s = Agenda(journal, settings, progress, newest_first), 0.0
        while jobs := _upcoming(agenda):
            lost = len(jobs)
            for said in _Pass(parts, settings, jobs, workers, share).answers():
                if said is not None:
                    lost, heard_s = lost - 1, heard_s + said.heard_s
                    agenda.settle(said.file.path, said.answer, said.file)
                progress.hear(heard_s)
            if lost:
                raise HtsatEdgeError(f"--ray: {plural(lost, 'answer')} got lost; the same command goes on")


def grouped(jobs: Iterable[Job], most: int) -> Iterator[list[Job]]:
    """Yield jobs in the groups that workers get: at most so many, and not so much that the last is waited for."""
    group: list[Job] = []
    share = 0.0
    for job in jobs:
        if group and (share + share_of(job) > 1 or len(group) >= most):
            yield group
            group, share = [], 0.0
        group.append(job)
        share += share_of(job)
    if group:
        yield group


def share_of(job: Job) -> float:
    """Return how much of a group a job is; a large one is more than 1."""
    return max(job.size / GROUP_BYTES, 1 / GROUP_JOBS) if isinstance(job, HearFile) else 1.0


class _Pass:
    """Jobs that Ray Data does in a thread, while the main thread keeps the answers."""

    def __init__(
        self, parts: AnswerParts, settings: HearingSettings, jobs: list[Job], workers: int, gpus: float
    ) -> None:
        self._parts, self._settings, self._workers, self._gpus = parts, settings, workers, gpus
        self._groups = [pack(group) for group in grouped(jobs, len(jobs) // (GROUPS * workers) + 1)]
        self._failure: Exception | None = None

    def answers(self) -> Iterator[FileAnswer | None]:
        """Yield answers as they come, and None about once a second. Raise an HtsatEdgeError where Ray gives up."""
        self._parts.clear()
        working = threading.Thread(target=self._work, name="ray", daemon=True)
        working.start()
        while working.is_alive():
            working.join(GLANCE_S)
            yield from self._parts.take()
            yield None
        yield from self._parts.take()
        if self._failure is not None:
            raise _explained(self._failure)
        self._parts.clear()

    def _work(self) -> None:
        try:
            self._run()
        except Exception as error:  # of any kind; it is raised in the main thread
            self._failure = error

    def _run(self) -> None:
        import ray.data
        from ray.data.checkpoint import CheckpointConfig

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        checkpoints = str(self._parts.checkpoints)
        # What was done is in the journal: the checkpoints tell which parts are whole.
        context.checkpoint_config = CheckpointConfig(ID, checkpoints, delete_checkpoint_on_success=False)
        count = len(self._groups)
        pool = ray.data.ActorPoolStrategy(min_size=min(self._workers, count), max_size=count)
        share = {"num_gpus": self._gpus} if self._gpus else {"num_cpus": 1}
        try:
            data = ray.data.from_items([{"jobs": group} for group in self._groups], override_num_blocks=count)
            heard = data.map_batches(
                RayHearer, fn_constructor_args=[self._settings], batch_size=1, compute=pool, **share
            )
            heard.write_parquet(str(self._parts.answers), ray_remote_args={"num_cpus": 0})
        finally:
            context.checkpoint_config = None


def _upcoming(agenda: Agenda) -> list[Job]:
    """Return what can be done now, for one pass: the spans of a long recording come up once it is cut."""
    jobs: list[Job] = []
    groups = 0.0
    while groups < PASS_GROUPS and (job := agenda.next_job()) is not None:
        jobs.append(job)
        groups += min(share_of(job), 1.0)
    return jobs


def _explained(error: Exception) -> HtsatEdgeError:
    """Return what a worker said, or Ray did, in one line; Ray puts the first into a traceback, as text."""
    kinds = {kind.__name__: kind for kind in (HtsatEdgeError, NotReadyError)}
    said = re.findall(rf"({'|'.join(kinds)}): (.+)", str(error))
    kind, text = said[-1] if said else (HtsatEdgeError.__name__, in_one_line(error))
    return kinds[kind](f"--ray: {text}; what is done is kept, and the same command goes on")
