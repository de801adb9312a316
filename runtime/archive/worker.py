"""One of the processes that hear recordings.

python -m htsat_edge.runtime.archive.worker DESCRIPTOR

The descriptor is one end of a connection, over which the settings come first, and then jobs; answers go back in their
order. When the connection closes, whoever started it has gone, and it ends at once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from htsat_edge.runtime.archive.records import FoundInRecording, HearingSettings, Span, SpanScores
from htsat_edge.runtime.archive.workers import (
    Answer,
    Cut,
    FinishFile,
    GivenUp,
    HearSpan,
    Job,
    Ready,
    SecondsHeard,
    Unable,
)
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError, ServerError
from htsat_edge.runtime.common.text import in_one_line

Report = Callable[[float], None]


class Hearer(Protocol):
    """What a worker needs of `SpanHearer`."""

    def plan(self, path: Path) -> list[Span]:
        """Cut a recording into spans."""

    def hear(self, span: Span, report: Report) -> SpanScores:
        """Return what the model makes of a span."""

    def finish(self, path: Path, heard: Sequence[SpanScores]) -> FoundInRecording:
        """Return what was found in a recording."""

    def write_scores(self, path: Path, heard: Sequence[SpanScores]) -> None:
        """Write the scores of a recording."""


def main() -> None:
    """Work until the connection closes that the command line names."""
    from htsat_edge.runtime.archive.hearing import SpanHearer

    serve(Connection(int(sys.argv[1])), SpanHearer)


def serve(connection: Connection, open_hearer: Callable[[HearingSettings], Hearer]) -> None:
    """Answer the jobs that come over a connection."""
    os.set_inheritable(connection.fileno(), False)  # a decoder that is started must not keep it open
    settings, jobs = connection.recv(), SimpleQueue[Job]()
    threading.Thread(target=_take, args=(connection, jobs), daemon=True).start()
    try:
        hearer = open_hearer(settings)
    except Exception as error:
        connection.send(_unable(error))
        return
    connection.send(Ready())
    while True:
        connection.send(answer(jobs.get(), hearer, lambda seconds: connection.send(SecondsHeard(seconds))))


def answer(job: Job, hearer: Hearer, report: Report) -> Answer | Unable:
    """Do a job; whatever goes wrong is an answer, too.

    Parameters
    ----------
    job
        What is to be done.
    hearer
        What does it.
    report
        Called with the seconds of audio that were heard since the last time.
    """
    try:
        if isinstance(job, HearSpan):
            return hearer.hear(job.span, report)
        if isinstance(job, FinishFile):
            return _finish(job.path, job.spans, job.scores, hearer)
        spans = hearer.plan(job.path)
        if len(spans) > 1:
            return Cut(tuple(spans))
        return _finish(job.path, [hearer.hear(spans[0], report)], job.scores, hearer)
    except ServerError as error:  # for all other recordings, too
        return _unable(error)
    except Exception as error:
        return GivenUp(_reason(error))


def _finish(path: Path, heard: Sequence[SpanScores], scores: Path | None, hearer: Hearer) -> Answer | Unable:
    found = hearer.finish(path, heard)
    if scores is not None:
        try:
            scores.parent.mkdir(parents=True, exist_ok=True)
            hearer.write_scores(scores, heard)
        except (OSError, HtsatEdgeError) as error:  # the disk is full: those of no other could be written either
            return _unable(error)
    return found


def _take(connection: Connection, jobs: SimpleQueue[Job]) -> None:
    """Take jobs as they come; end this process with the connection."""
    try:
        while True:
            jobs.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


def _unable(error: Exception) -> Unable:
    return Unable(_reason(error), isinstance(error, NotReadyError))


def _reason(error: Exception) -> str:
    """Return an error in one line, with its kind where it is none that was foreseen."""
    return str(error) if isinstance(error, HtsatEdgeError) else f"{type(error).__name__}: {in_one_line(error)}"


if __name__ == "__main__":
    main()
