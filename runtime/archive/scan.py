"""Hear all recordings of a journal that are to be heard, on all cores of this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import ArchiveFile, FoundInRecording, HearingSettings, Span, SpanScores
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.tables import name_beside
from htsat_edge.runtime.archive.walk import look_at
from htsat_edge.runtime.archive.workers import Answer, Cut, FinishFile, GivenUp, HearFile, HearSpan, Job, Workers
from htsat_edge.runtime.common.errors import NotReadyError

SCORES_FOLDER = "scores"
"""In the results."""


def scan(
    journal: Journal, settings: HearingSettings, workers: Workers, progress: ScanProgress, newest_first: bool = False
) -> None:
    """Hear what is to be heard, and keep in the journal what is found, recording by recording.

    Parameters
    ----------
    journal
        Of the recordings.
    settings
        What the workers hear with.
    workers
        Who hears.
    progress
        Shows how far it is.
    newest_first
        Whether the recordings that were changed last come first; else they come in the order of their paths.

    Raises
    ------
    NotReadyError
        No worker can hear anything at present. What was done is kept.
    HtsatEdgeError
        The journal cannot be written to, or no worker can hear anything. What was done is kept.
    """
    agenda = Agenda(journal, settings, progress, newest_first)
    try:
        for answered in workers.run(agenda.next_job):
            progress.hear(workers.heard_s)
            if answered is not None:
                job, answer = answered
                agenda.settle(job.path, answer)
    except NotReadyError as error:
        raise NotReadyError(f"{error}; what was done is kept, and the same command goes on") from None


class Agenda:
    """What is to be done next: the spans of a recording that was begun come before the next recordings."""

    def __init__(
        self,
        journal: Journal,
        settings: HearingSettings,
        progress: ScanProgress,
        newest_first: bool = False,
    ) -> None:
        self._journal, self._settings, self._progress = journal, settings, progress
        self._files = journal.todo(newest_first)
        self._next = deque[Job]()
        self._begun: dict[Path, ArchiveFile] = {}
        self._left: dict[Path, int] = {}
        """Spans that are still to be heard of recordings that were cut."""

    def next_job(self) -> Job | None:
        """Return what is to be done next; None while there is nothing."""
        while not self._next:
            file = next(self._files, None)
            if file is None:
                return None
            self._begun[file.path] = file
            if heard := self._journal.spans(file.path):
                self._cut(file, _spans_like(heard[0].span), heard)
            else:
                self._next.append(HearFile(file.path, file.size, self._scores_of(file.path)))
        return self._next.popleft()

    def settle(self, path: Path, answer: Answer, seen: ArchiveFile | None = None) -> None:
        """Keep what a worker has answered about a recording.

        Parameters
        ----------
        path
            Of the recording.
        answer
            What came of a job.
        seen
            The recording as the worker saw it before and after; None: it is looked at here.
        """
        file = self._begun.get(path)
        if file is None:  # another span of it has failed
            return
        if (reason := self._why_not_kept(file, answer, seen)) is not None:
            self._journal.fail(file.path, reason)
            self._next = deque(one for one in self._next if one.path != file.path)
            self._end(file)
            self._progress.give_up(file.path, file.size)
        elif isinstance(answer, Cut):
            self._cut(file, answer.spans, [])
        elif isinstance(answer, SpanScores):
            self._journal.keep_span(file.path, answer)
            self._left[file.path] -= 1
            self._finish_if_whole(file)
        elif isinstance(answer, FoundInRecording):
            self._journal.finish(file.path, answer)
            self._end(file)
            self._progress.finish(file.path, file.size, answer.duration_s)

    def _why_not_kept(self, file: ArchiveFile, answer: Answer, seen: ArchiveFile | None) -> str | None:
        """Return why an answer is of no use; None where it is."""
        if isinstance(answer, GivenUp):
            return answer.reason
        try:
            return None if (seen or look_at(file.path)) == file else "was changed while it was heard"
        except OSError:
            return "was deleted, or became unreadable, while it was heard"

    def _cut(self, file: ArchiveFile, spans: Sequence[Span], heard: Sequence[SpanScores]) -> None:
        """Have those spans of a recording heard that have not been."""
        done = {one.span.number for one in heard}
        self._next.extendleft(HearSpan(span) for span in reversed(spans) if span.number not in done)
        self._left[file.path] = len(spans) - len(done)
        self._progress.expect(file.path, file.size, len(spans) * self._settings.span_s, len(done) / len(spans))
        self._finish_if_whole(file)

    def _finish_if_whole(self, file: ArchiveFile) -> None:
        if self._left[file.path] == 0:
            heard = tuple(self._journal.spans(file.path))
            self._next.appendleft(FinishFile(file.path, heard, self._scores_of(file.path)))

    def _end(self, file: ArchiveFile) -> None:
        del self._begun[file.path]
        self._left.pop(file.path, None)

    def _scores_of(self, path: Path) -> Path | None:
        """Return where the scores of a recording are kept, where that is wanted."""
        if not self._settings.scores:
            return None
        relative = self._journal.relative(path)
        return self._journal.folder / SCORES_FOLDER / relative.parent / name_beside(relative.name, ".npz")


def _spans_like(span: Span) -> list[Span]:
    """Return all spans of the recording that one is of."""
    return [Span(span.path, number, span.count, span.scale) for number in range(span.count)]
