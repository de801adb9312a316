"""What the store knows of a source around a moment, and why it knows no scores of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import Stage, StoredEvent, StoredGap, StoredStatus
from htsat_edge.runtime.store.runs import Edge, ScoreRun
from htsat_edge.runtime.store.sentences import clock
from htsat_edge.runtime.store.stages import NEAR_S, ROUNDED_S, Course, follow

MOST_STATUSES = 200
FRESH_S = 150.0
"""Scores are stored once a minute, and after an event."""
CHANGES = ("input_fault", "input_ok", "listening", "source_lost", "source_back")


@dataclass
class Evidence:
    """What is known of a class of a source around a moment."""

    reader: StoreReader
    source: str
    label: str
    courses: Sequence[Course]
    events: Sequence[StoredEvent]
    """Of the class, the nearest to the moment first."""
    gaps: Sequence[StoredGap]
    statuses: Sequence[StoredStatus]
    """Those of CHANGES, the newest first."""
    now: float
    _edges: list[tuple[Edge | None, Edge | None]] = field(default_factory=list)

    @classmethod
    def read(cls, reader: StoreReader, source: str, label: str, from_at: float, to_at: float, now: float) -> Evidence:
        """Return what is known of a span."""
        events = [event for event in reader.events_within(source, from_at, to_at) if event.label == label]
        events.sort(key=lambda event: abs(event.at - (from_at + to_at) / 2))
        left_out = [one for one in reader.left_out(source, from_at, to_at) if one.label == label]
        courses = [
            follow(
                _dated(run, events),
                label,
                [event for event in events if event.session == run.session],
                [(one.onset, one.rule) for one in left_out if one.session == run.session],
            )
            for run in reader.score_runs(source, from_at, to_at)
        ]
        statuses = reader.statuses(0, to_at, CHANGES, source, MOST_STATUSES)
        return cls(reader, source, label, courses, events, reader.gaps(from_at, to_at, source), statuses, now)

    def course(self, at: float) -> tuple[Course, int] | None:
        """Return the scores that hold a moment, and its step in them; None where there are none."""
        found = ((course, step) for course in self.courses if (step := course.step(at)) is not None)
        return next(found, None)

    def stage(self, at: float) -> tuple[Stage, float | None]:
        """Return what became of a moment, and its score; None where nothing was scored."""
        if (found := self.course(at)) is None:
            return self.absence(at)[0], None
        course, step = found
        stage, scores = course.stages[step], course.scores
        if stage in ("below_release", "below_threshold") and self.faults(at):
            stage = "input_fault"
        return stage, None if scores is None else float(scores[step])

    def event(self, at: float) -> StoredEvent | None:
        """Return the event that was reported at a moment: one that holds it, else one that it is a part of."""
        if direct := next((event for event in self.events if self._holds(event, at)), None):
            return direct
        if (found := self.course(at)) is None or found[0].stages[found[1]] != "reported":
            return None
        session = found[0].run.session
        return min((e for e in self.events if e.session == session), key=lambda e: abs(e.at - at), default=None)

    def _holds(self, event: StoredEvent, at: float) -> bool:
        if event.offset is not None:
            return event.at - ROUNDED_S <= at < event.at + event.offset - event.onset
        if not event.at - ROUNDED_S <= at <= self.now or self.course(at) is not None:
            return False
        # It goes on, as far as is known; not where the daemon has ended without a word of it.
        return at < event.at + NEAR_S or self._is_fresh(at)

    def faults(self, at: float) -> dict[str, str]:
        """Return the input faults at a moment, each with what to do about it."""
        faults: dict[str, str] = {}
        over: set[str] = set()
        for status in self.statuses:
            if status.at > at:
                continue
            if status.state == "listening":  # what was known before no longer counts
                break
            problem = str(status.message.get("problem"))
            if status.state == "input_fault" and problem not in over:
                faults[problem] = str(status.message.get("advice"))
            if status.state in ("input_fault", "input_ok"):
                over.add(problem)
        return faults

    def absence(self, at: float) -> tuple[Stage, str]:
        """Return why there are no scores of a moment, also as a sentence without its stop."""
        source, moment = self.source, clock(at)
        if self.event(at) is not None:
            yet = " yet" if self._is_fresh(at) else ""
            return "reported", f"{self.label} was reported; its scores are not stored{yet}"
        for gap in self.gaps:
            if gap.at <= at < (end := gap.at + gap.offset - gap.onset):
                return (
                    "gap",
                    f"Nothing was heard of {source} from {clock(gap.at, at)} to {clock(end, at)}: {gap.reason}",
                )
        if lost := self._lost(at):
            return "gap", f"Nothing was heard of {source} from {clock(lost.at, at)} on: {lost.message.get('text')}"
        before, after = self.edges(at)
        if at > self.now:
            return "not_stored", f"{moment} has not come yet"
        if before and after and before.session != after.session:
            span = f"between {clock(before.at, at)} and {clock(after.at, at)}"
            return "not_listening", f"htsat-edge did not listen to {source} {span}"
        if before and after:
            return "not_stored", f"No scores of {source} are stored at {moment}, though it was heard before and after"
        if self._is_fresh(at):
            return "not_stored", f"The scores of {moment} are not stored yet; ask again in a minute"
        if before is None:
            known = f"the first are those of {clock(after.at, at)}" if after else "there are none at all"
            why = "nothing was heard yet, `outputs.store.scores` was off, or they were deleted for their age"
            return "not_stored", f"No scores of {source} are stored at {moment}; {known}: {why}"
        newest = next((one.last_at for one in self.reader.sources() if one.name == source), None)
        if newest is not None and newest > at:
            return "not_stored", f"No scores of {source} are stored after {clock(before.at, at)}, though it was heard"
        return "not_listening", f"Nothing of {source} is stored after {clock(before.at, at)}: htsat-edge did not listen"

    def _is_fresh(self, at: float) -> bool:
        """Return whether scores of a moment that has none may yet be stored."""
        before, after = self.edges(at)
        if after is not None:
            return False
        if before is not None:
            return self.now - before.at < FRESH_S
        # The first minute of a source, of which there is a setup where its scores are stored at all.
        return self.now - at < FRESH_S and self.reader.setup(self.source, at) is not None

    def _lost(self, at: float) -> StoredStatus | None:
        """Return the status of a source that was lost at a moment."""
        states = (s for s in self.statuses if s.at <= at and s.state in ("source_lost", "source_back", "listening"))
        newest = next(states, None)
        return newest if newest is not None and newest.state == "source_lost" else None

    def edges(self, at: float) -> tuple[Edge | None, Edge | None]:
        """Return where scores end before a moment that has none, and where they begin after it."""
        for before, after in self._edges:
            if (before is None or before.at <= at) and (after is None or at < after.at):
                return before, after
        self._edges.append(self.reader.edges(self.source, at))
        return self._edges[-1]


def _dated(run: ScoreRun, events: Sequence[StoredEvent]) -> ScoreRun:
    """Return a run on the clock of the first event of its session, where that is only known by when it was stored.

    A recording is heard faster than it was made: when its scores and its events were stored does not fit together.
    """
    event = next((event for event in events if event.session == run.session), None)
    if event is None or event.time is not None:
        return run
    return replace(run, at=event.at + run.onset - event.onset)
