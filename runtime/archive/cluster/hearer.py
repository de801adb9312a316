"""One of the workers of a cluster: an actor of Ray that hands recordings to a process of its own, and answers back."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from htsat_edge.runtime.archive.cluster.parts import FileAnswer, table_of
from htsat_edge.runtime.archive.cluster.storage import local_copy, look_at_url
from htsat_edge.runtime.archive.records import ArchiveFile, HearingSettings, SpanScores
from htsat_edge.runtime.archive.walk import look_at
from htsat_edge.runtime.archive.workers import Answer, Cut, FinishFile, GivenUp, HearFile, HearSpan, Job, Workers
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.common.urls import is_url

if TYPE_CHECKING:
    import pyarrow


class RayHearer:
    """Hears recordings as `Workers` do: what crashes or hangs costs one recording, and the actor goes on."""

    def __init__(self, settings: HearingSettings) -> None:
        self._workers = Workers(settings, 1)

    def __call__(self, batch: dict[str, Sequence[bytes]]) -> pyarrow.Table:
        """Return the answers to jobs, a row for each."""
        return table_of([self._answer(job) for packed in batch["jobs"] for job in unpack(packed)])

    def _answer(self, job: Job) -> FileAnswer:
        before, heard_s = ArchiveFile(job.path, 0, 0), self._workers.heard_s
        try:
            if is_url(job.path):
                before, answer = look_at_url(job.path), self._hear_copy(job)
                after = look_at_url(job.path)
            else:
                before, answer = look_at(job.path), self._do(job)
                after = look_at(job.path)
        except OSError as error:
            return FileAnswer(before, GivenUp(in_one_line(error)), 0.0)
        if before != after:
            answer = GivenUp("was changed while it was heard")
        return FileAnswer(before, answer, self._workers.heard_s - heard_s)

    def _hear_copy(self, job: Job) -> Answer:
        """Hear a recording at a URL as a whole, from a copy: one for each of its spans would cost too much."""
        scores = None if isinstance(job, HearSpan) else job.scores
        with local_copy(job.path) as copy:
            answer = self._do(HearFile(copy, copy.stat().st_size, scores))
            if isinstance(answer, Cut):
                answer = self._do(HearSpan(replace(answer.spans[0], count=1)))
            if isinstance(answer, SpanScores):
                answer = self._do(FinishFile(copy, (answer,), scores))
        return answer

    def _do(self, job: Job) -> Answer:
        """Have the process do a job. Raise an HtsatEdgeError where none can hear anything, as without the model."""
        jobs = deque([job])
        # To the end of the run: what is left in the middle is gone on with by the next one.
        answers = [said[1] for said in self._workers.run(lambda: jobs.popleft() if jobs else None) if said]
        return answers[0]


def pack(jobs: Sequence[Job]) -> bytes:
    """Return jobs as bytes, for a row of a data set of Ray."""
    return pickle.dumps(list(jobs))


def unpack(packed: bytes) -> list[Job]:
    """Return what `pack` was given."""
    jobs: list[Job] = pickle.loads(packed)
    return jobs
