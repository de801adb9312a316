"""Processes that hear recordings; what they hear with is a fake that does what the name of a recording says."""

import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from htsat_edge.runtime.archive import workers
from htsat_edge.runtime.archive.records import FoundInRecording, HearingSettings, Quality, Span, SpanScores
from htsat_edge.runtime.archive.workers import Cut, FinishFile, GivenUp, HearFile, HearSpan, Workers
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.settings import Settings

FAKE = Path(__file__).with_name("fake_worker.py")


def fake(descriptor):
    return [sys.executable, str(FAKE), str(descriptor)]


def settings(source=""):
    return HearingSettings(Path("bundle"), Settings(), (), source=source)


def hear(jobs, count=2, source=""):
    """The answers by path, once all jobs are done."""
    left = deque(jobs)
    with Workers(settings(source), count, fake) as crew:
        done = [one for one in crew.run(lambda: left.popleft() if left else None) if one is not None]
    assert not any(alive(pid) for pid in crew.pids)
    assert len(done) == len(jobs)
    return {job.path.name: answer for job, answer in done}


def files(*names, size=1):
    return [HearFile(Path(name), size) for name in names]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_every_recording_is_heard_by_processes_of_their_own():
    answers = hear(files(*(f"{number}.wav" for number in range(20))))
    assert len(answers) == 20
    assert all(isinstance(answer, FoundInRecording) for answer in answers.values())
    heard_in = {answer.sample_rate for answer in answers.values()}
    assert len(heard_in) == 2
    assert os.getpid() not in heard_in


def test_a_long_recording_is_cut_and_its_spans_are_heard():
    assert hear(files("long.wav")) == {"long.wav": Cut(tuple(Span(Path("long.wav"), number, 3) for number in range(3)))}
    span = Span(Path("long.wav"), 1, 3)
    heard = SpanScores(span, (), Quality(), 32_000, 1, 10.0)
    assert hear([HearSpan(span)]) == {"long.wav": heard}
    assert hear([FinishFile(span.path, (heard, heard))])["long.wav"].duration_s == 20.0


@pytest.mark.parametrize("size", [1, workers.SMALL])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a-bad.wav", "is no audio"),
        ("a-bug.wav", "ZeroDivisionError: division by zero"),
        ("a-crash.wav", "the process that read it crashed (SIGSEGV)"),
        ("a-killed.wav", "the process that read it was killed; where memory is short, give fewer --processes"),
    ],
)
def test_a_recording_that_cannot_be_heard_stops_no_other(name, reason, size):
    answers = hear(files("1.wav", name, "2.wav", "3.wav", name.replace("a", "b", 1), "4.wav", size=size), count=1)
    assert [answers.pop(key) for key in (name, name.replace("a", "b", 1))] == [GivenUp(reason)] * 2
    assert {*answers} == {"1.wav", "2.wav", "3.wav", "4.wav"}
    assert all(isinstance(answer, FoundInRecording) for answer in answers.values())


def test_many_crashes_in_a_row_stop_nothing_either():
    answers = hear(files(*(f"{number}-crash.wav" for number in range(5)), "good.wav"), count=1)
    assert isinstance(answers["good.wav"], FoundInRecording)


def test_a_worker_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE_S", 3.0)
    monkeypatch.setattr(workers, "GLANCE_S", 0.1)
    monkeypatch.setattr(workers, "END_S", 0.1)
    answers = hear(files("1.wav", "a-hang.wav", "2.wav"), count=1)
    assert "hangs" in answers["a-hang.wav"].reason
    assert isinstance(answers["2.wav"], FoundInRecording)


def test_a_worker_that_is_killed_from_outside_is_replaced(wait_for):
    left, crew = deque(files("a-hang.wav", "2.wav", size=workers.SMALL)), Workers(settings(), 1, fake)
    with crew:
        done = []
        for one in crew.run(lambda: left.popleft() if left else None):
            if one is None and crew.heard_s == 10.0 and not done:
                os.kill(crew.pids[0], signal.SIGKILL)
            done += [] if one is None else [one]
    assert [type(answer) for _, answer in done] == [GivenUp, FoundInRecording]


def test_heard_seconds_add_up():
    left = deque(files("1.wav", "2.wav", "long.wav"))
    with Workers(settings(), 2, fake) as crew:
        assert len([one for one in crew.run(lambda: left.popleft() if left else None) if one]) == 3
    assert crew.heard_s == 20.0


def test_jobs_may_come_of_answers():
    left, found = deque(files("long.wav")), []
    with Workers(settings(), 2, fake) as crew:
        for one in crew.run(lambda: left.popleft() if left else None):
            match one:
                case (_, Cut(spans)):
                    left.extend(map(HearSpan, spans))
                case (_, SpanScores() as scores):
                    found.append(scores.span.number)
    assert sorted(found) == [0, 1, 2]


def test_where_no_model_can_be_loaded_the_reason_is_said_once():
    with pytest.raises(HtsatEdgeError, match=r"^the model cannot be loaded$"):
        hear(files("1.wav", "2.wav"), source="unable")


def test_workers_that_die_at_once_are_not_started_for_ever():
    with pytest.raises(HtsatEdgeError, match=r"no process can be kept that hears recordings: .* was killed"):
        hear(files("1.wav"), source="stillborn")


STARTER = f"""
import sys
from pathlib import Path
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.archive.workers import HearFile, Workers
from htsat_edge.runtime.models.settings import Settings
command = lambda descriptor: [sys.executable, {str(FAKE)!r}, str(descriptor)]
jobs = [HearFile(Path("a-hang.wav"), 1), HearFile(Path("b-hang.wav"), 1)]
with Workers(HearingSettings(Path("bundle"), Settings(), ()), 2, command) as crew:
    for _ in crew.run(lambda: jobs.pop() if jobs else None):
        if crew.heard_s == 20.0:
            print(*crew.pids, flush=True)
"""


def test_workers_end_when_whoever_started_them_is_killed(wait_for):
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert [alive(pid) for pid in pids] == [True, True]
        starter.kill()
    wait_for(lambda: not any(map(alive, pids)), 20)
