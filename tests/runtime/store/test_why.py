"""Why a class was reported or not: an afternoon in a yard, in which everything happens that may hold a sound back."""

import re
from contextlib import closing
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter
from htsat_edge.runtime.store.sentences import clock, setting
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.why import explain, explain_event, span
from htsat_edge.runtime.store.writes import LeftOut, ScoreRow, SourceSetup

BEGAN = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
T0 = BEGAN.timestamp()
LABELS = ["Animal", "Dog", "Fowl", "Cat"]
SETUP = Setup(
    model="tiny", step_s=0.5, labels=LABELS, thresholds=[0.5, 0.5, 0.5, None], releases=[0.3, 0.3, 0.3, None],
    min_length=2, confirm=[0, 0, 6, 0], merge_gap=0, below=[(1, 0)],
)  # fmt: skip
SOUNDS = [
    ("Dog", 20, 22, 0.31),
    ("Dog", 30, 31, 0.31),
    ("Dog", 40, 43, 0.8),
    ("Animal", 40, 43, 0.9),
    ("Dog", 60, 60.5, 0.9),
    ("Fowl", 80, 82, 0.7),
    ("Dog", 100, 103, 0.8),
    ("Cat", 120, 122, 0.6),
    ("Dog", 140, 142, 0.8),
    ("Dog", 165, 166, 0.2),
    ("Dog", 175, 176, 0.05),
]
"""Label, onset, offset, score; lost from 150 to 160 s, and the input is faulty from 170 to 180 s."""
SECOND_S = 500
"""When the second session begins."""


def time_of(seconds):
    return (BEGAN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def rows(begin, end, origin=0):
    """Minutes of scores; `origin` is when the session began."""
    scores = np.full((400, len(LABELS)), 0.02, np.float32)
    for label, onset, offset, score in SOUNDS:
        scores[round(2 * onset) : round(2 * offset), LABELS.index(label)] = score
    if origin:
        scores[:] = 0.02
    for at in range(begin, end, 60):
        part = scores[2 * at : 2 * min(at + 60, end)]
        yield ScoreRow("yard", at, 0.5, time_of(origin + at), part)


def put_statuses(database, session, *states):
    message = '{"problem": "hum", "advice": "look at the cable"}'
    for state, at in states:
        database.add_status(session, at + 2, T0 + at, source="yard", state=state, time=time_of(at), message=message)


def put_first_session(database):
    with database:
        session = database.session("one", T0 - 5)
        database.put(session, SourceSetup("yard", SETUP), T0)
        for row in (*rows(0, 150), *rows(160, 200)):
            database.put(session, row, T0 + row.onset + 60)
        reported = [(1, "Dog", 40.0, 43.0, 0.8), (3, "Dog", 165.0, 165.5, 0.2), (4, "Loud", 10.0, 11.0, 1.0)]
        for number, label, onset, offset, score in reported:
            event = EventEnd(
                source="yard", id=number, label=label, onset=onset, offset=offset, time=time_of(onset), score=score
            )
            database.put_event(session, event, T0 + onset)
        for number, label, onset in ((2, "Dog", 100.0), (5, "Fowl", 140.0)):
            event = EventStart(source="yard", id=number, label=label, onset=onset, time=time_of(onset), score=0.7)
            database.put(session, LeftOut(event, "cooldown"), T0 + onset)
        lost = {"source": "yard", "onset": 150.0, "offset": 160.0, "time": time_of(150), "reason": "unplugged"}
        database.add_gap(session, 1, T0 + 160, **lost)
        put_statuses(database, session, ("listening", 0), ("input_fault", 170), ("input_ok", 180), ("input_fault", 199))


def put_second_session(database):
    """With an event that goes on where scores are not stored yet, and one of which only the start was stored."""
    with database:
        session = database.session("two", T0 + SECOND_S)
        database.put(session, SourceSetup("yard", SETUP), T0 + SECOND_S)
        for row in rows(0, 60, SECOND_S):
            database.put(session, row, T0 + SECOND_S + 60)
        put_statuses(database, session, ("listening", SECOND_S))
        for number, label, onset in ((1, "Dog", 65.0), (2, "Fowl", 10.0)):
            time = time_of(SECOND_S + onset)
            event = EventStart(source="yard", id=number, label=label, onset=onset, time=time, score=0.8)
            database.put_event(session, event, T0 + SECOND_S + onset)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    path = tmp_path_factory.mktemp("why") / "store.db"
    with closing(Database(path)) as database:
        put_first_session(database)
        put_second_session(database)
    with StoreReader(path) as opened:
        yield opened


@pytest.fixture
def why(reader):
    """The explanation of a moment in seconds since the first session began, half a minute after the last score."""
    return lambda label, at, now=SECOND_S + 90: explain(reader, "yard", label, T0 + at, T0 + now)


@pytest.mark.parametrize(
    ("label", "at", "stage", "text"),
    [
        ("Dog", 41, "reported", "was reported .* for 3 s, with 0.80 at most; its threshold is 0.50, and .*{Dog: 0.81}"),
        ("Dog", 165.2, "reported", "early, from scores that were not final"),
        (
            "Dog",
            26,
            "below_release",
            "scored 0.020 here, and is reported from 0.5 on: .*{Dog: 0.033}` would have reported it as a part of",
        ),
        ("Dog", 23, "below_release", r"scored 0.020 here \(0.31 at most within 3 s\)"),
        (
            "Dog",
            20.6,
            "below_threshold",
            "0.31 here.*: `detection.thresholds: {Dog: 0.31}` would have reported it, and 1 more within a minute",
        ),
        ("Dog", 60.2, "too_short", r"for 0.5 s only, and it needs 1 s \(`detection.min_length_s`\)"),
        ("Fowl", 81, "confirming", r"for 2 s only, and it needs 3 s \(`detection.confirm_s`\)"),
        ("Animal", 41, "more_specific", "counts as nothing while there is Dog, which is more specific"),
        ("Dog", 101, "cooldown", "it had been reported shortly before: `rules.cooldown_s`"),
        ("Cat", 121, "not_reported", "scored 0.60 here, but is not reported: `detection.labels`.*up to 0.6 "),
        ("Dog", 141, "not_stored", "should have been: no event of it is stored"),
        ("Dog", 155, "gap", "Nothing was heard of yard from .*: unplugged"),
        ("Dog", 175.2, "input_fault", r"something was wrong with the sound \(hum: look at the cable\)"),
        ("Dog", 185, "below_release", "scored 0.020"),
        ("Dog", 300, "not_listening", "did not listen to yard between"),
        ("Dog", -100, "not_stored", "the first are those of"),
        ("Dog", 562, "not_stored", "not stored yet"),
        ("Dog", 580, "reported", "its scores are not stored yet"),
        ("Dog", 39.996, "reported", "from .* for 3 s"),
        ("Dog", 510, "below_release", "scored 0.020"),
        ("Fowl", 510.2, "reported", "its end is not known"),
        ("Fowl", 530, "below_release", "scored 0.020"),
        ("Dog", 1e6, "not_stored", "has not come yet"),
        ("Loud", 10.5, "reported", "none of the classes that were scored"),
        ("Loud", 20, "not_reported", "none of the classes that were scored"),
    ],
)
def test_what_decided_at_a_moment(why, label, at, stage, text):
    explanation = why(label, at)
    assert explanation.stage == stage
    assert re.search(text, explanation.text), explanation.text
    assert explanation.text.endswith(".")
    assert explanation.text.count("\n") == 0
    # the step that holds the moment says the same
    step = next(step for step in reversed(explanation.steps) if step.at <= explanation.at + 5e-3)
    assert step.stage == stage


def test_an_explanation_has_the_figures(why):
    """Of what was in force; with a low threshold, a step belongs to what is heard beside it."""
    dog = why("Dog", 20.6)
    assert (dog.threshold, dog.release, dog.min_length_s) == (0.5, pytest.approx(0.3), 1.0)
    assert dog.would_report_at == pytest.approx(0.31, rel=0.03)
    assert dog.top[0].label == "Dog"
    assert (len(dog.steps), {step.score for step in dog.steps} >= {dog.top[0].score}) == (61, True)
    assert why("Dog", 23).would_report_at == pytest.approx(0.02 / 0.6, rel=0.03)
    assert why("Fowl", 81).min_length_s == 3.0
    assert why("Dog", 41).event.id == 1
    assert why("Animal", 41).would_report_at is None
    absent = why("Dog", 300)
    assert (absent.would_report_at, absent.top, absent.threshold) == (None, [], 0.5)
    assert {step.score for step in absent.steps} == {None}


def test_the_steps_around_a_moment_go_over_its_end(why):
    stages = [step.stage for step in why("Dog", 148).steps]
    assert [stages.index("not_stored"), stages.index("gap")] == [14, 34]
    assert stages.count("gap") == 20
    assert stages[-1] == "below_release"


def test_an_event_that_goes_on_does_so_until_now(why):
    """While scores come in: later, nobody knows."""
    reported = {step.stage for step in why("Dog", 580, now=585).steps if T0 + 566 < step.at < T0 + 584}
    after = {step.stage for step in why("Dog", 580, now=585).steps if step.at > T0 + 586}
    assert (reported, after) == ({"reported"}, {"not_stored"})
    assert why("Dog", 565.2, now=5000).text == "Dog was reported; its scores are not stored."
    assert why("Dog", 580, now=5000).event is None


@pytest.mark.parametrize(("scored", "now", "yet"), [(True, 50, " yet"), (False, 50, ""), (True, 5000, "")])
def test_scores_of_the_first_minute_are_not_stored_yet(scored, now, yet, tmp_path):
    with closing(Database(tmp_path / "new.db")) as database, database:
        session = database.session("one", T0)
        if scored:
            database.put(session, SourceSetup("yard", SETUP), T0)
        event = EventStart(source="yard", id=1, label="Dog", onset=20.0, time=time_of(20), score=0.8)
        database.put_event(session, event, T0 + 20)
    with StoreReader(tmp_path / "new.db") as opened:
        assert (
            explain(opened, "yard", "Dog", T0 + 21, T0 + now).text
            == f"Dog was reported; its scores are not stored{yet}."
        )


def test_long_after_the_last_score_nobody_listens(why):
    assert why("Dog", 900, now=5000).stage == "not_listening"
    assert why("Animal", 900, now=5000).stage == "not_listening"


def test_what_does_not_exist(reader):
    with pytest.raises(HtsatEdgeError, match="'yrad' is none of the store's, meant yard"):
        explain(reader, "yrad", "Dog", T0)
    with pytest.raises(HtsatEdgeError, match="yard has no class 'Dgo', meant Dog"):
        explain(reader, "yard", "Dgo", T0 + 20)
    with pytest.raises(HtsatEdgeError, match="yard has no class"):
        explain(reader, "yard", "x" * 1000, T0 + 300)
    with pytest.raises(HtsatEdgeError, match="no class 'Dgo'"):
        span(reader, "yard", T0, T0 + 10, ["Dgo"])
    with pytest.raises(HtsatEdgeError, match="is before from_at"):
        span(reader, "yard", T0, T0 - 10)


def test_a_recording_that_was_heard_faster_than_it_was_made(tmp_path):
    """Nothing of it has a time: its scores and events are dated by when they were stored, which does not fit."""
    path, scores = tmp_path / "store.db", np.full((120, len(LABELS)), 0.02, np.float32)
    scores[80:84, 1] = 0.8
    scores[82, 1] = 0.9
    with closing(Database(path)) as database, database:
        session = database.session("one", T0)
        database.put(session, SourceSetup("yard", SETUP), T0)
        database.put(session, ScoreRow("yard", 0.0, 0.5, None, scores), T0 + 5)
        event = EventEnd(source="yard", id=1, label="Dog", onset=40.0, offset=42.0, time=None, score=0.8)
        database.put_event(session, event, T0 + 4)
    with StoreReader(path) as opened:
        found = explain(opened, "yard", "Dog", T0 + 5, T0 + 10)
        (event,) = opened.events(EventFilter(), 1).events
        peak = explain_event(opened, event, T0 + 10)
    assert found.stage == peak.stage == "reported"
    assert (peak.at, peak.top[0].score) == (T0 + 5.25, pytest.approx(0.9, abs=0.01))
    assert [round(step.score, 1) for step in found.steps[26:34]] == [0.0] * 2 + [0.8, 0.8, 0.9, 0.8] + [0.0] * 2


def test_names_and_times_as_a_person_writes_them():
    assert setting("detection.thresholds", "Dog", 0.3) == "`detection.thresholds: {Dog: 0.3}`"
    assert setting("detection.thresholds", "Cattle, bovinae", 0.3) == '`detection.thresholds: {"Cattle, bovinae": 0.3}`'
    noon = datetime(2026, 5, 1, 12).timestamp()
    assert [clock(noon, noon), clock(noon, noon + 86_400)] == ["12:00:00", "2026-05-01 12:00:00"]


# Scores of a span


def test_a_span_has_the_classes_that_score_highest_there(reader):
    found = span(reader, "yard", T0 + 35, T0 + 62, most=2)
    assert found.labels == ["Animal", "Dog"]
    (part,) = found.parts
    assert (part.at, part.onset, part.step_s) == (T0 + 35, 35.0, 0.5)
    assert [len(scores) for scores in part.scores.values()] == [54, 54]
    assert part.scores["Dog"][10:17] == pytest.approx([0.8] * 6 + [0.02], abs=0.01)
    assert [event.id for event in found.events] == [1]
    assert found.thresholds == {"Animal": 0.5, "Dog": 0.5}


def test_a_span_over_a_gap_has_two_parts(reader):
    found = span(reader, "yard", T0 + 140, T0 + 170, ["Cat", "Dog"])
    assert [(part.at - T0, len(part.scores["Cat"])) for part in found.parts] == [(140, 20), (160, 20)]
    assert (found.labels, [gap.reason for gap in found.gaps]) == (["Dog", "Cat"], ["unplugged"])
    assert found.thresholds == {"Dog": 0.5, "Cat": None}


def test_a_span_without_scores_is_empty(reader):
    found = span(reader, "yard", T0 + 300, T0 + 310)
    assert (found.labels, found.parts, found.events) == ([], [], [])
