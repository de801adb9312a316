import threading

import pytest

from htsat_edge.runtime.common.half_minutes import counting_half_minutes
from htsat_edge.runtime.common.progress import EVERY_S, Phases, in_words, progress, waiting, with_progress


@pytest.fixture
def no_progress_lines():
    """Have lines be printed, unlike in all other tests."""


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self):
        return self.now


class Ended(threading.Event):
    """An event that counts waits as half minutes that have passed, and is set after so many."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def wait(self, timeout=None):
        assert timeout == EVERY_S
        self.waits -= 1
        return self.waits < 0


def test_work_of_less_than_half_a_minute_prints_nothing(capsys):
    with waiting("loading"):
        pass
    assert list(with_progress([1, 2, 3], "work")) == [1, 2, 3]
    with Phases("work") as phases:
        phases.start("phase", 2)
        phases.step("phase", 1)
        phases.finish("phase")
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_there_is_a_line_each_half_minute(capsys):
    """Ten items of 20 s each; none at the end, where results follow."""
    clock = Clock()
    for _ in with_progress(range(10), "training", clock):
        clock.now += 20
    assert capsys.readouterr().err.splitlines() == [
        "training: 2 of 10, 40 s, about 3 min left",
        "training: 4 of 10, 1 min, about 2 min left",
        "training: 6 of 10, 2 min, about 1 min left",
        "training: 8 of 10, 3 min, about 40 s left",
    ]


def test_what_is_left_is_not_known_when_work_has_just_begun(capsys):
    clock = Clock()
    with counting_half_minutes(clock):
        clock.now += EVERY_S
        with progress("rounding weights", 51, clock=clock) as show:
            clock.now += 0.02
            show(1)
    assert capsys.readouterr().err == "rounding weights: 1 of 51\n"


def test_short_pieces_of_one_command_are_told_of_as_well(capsys):
    """Five of 20 s each: half minutes are those of the command, and each line is about its own piece."""
    clock = Clock()
    with counting_half_minutes(clock):
        for piece in range(5):
            for _ in with_progress(range(2), f"piece {piece}", clock):
                clock.now += 10
    assert capsys.readouterr().err.splitlines() == [f"piece {piece}: 1 of 2, 10 s, about 10 s left" for piece in (1, 3)]


def test_what_is_no_number_of_items_is_told_in_percent(capsys):
    clock = Clock()
    with progress("yard.flac", 36000.0, in_percent=True, clock=clock) as show:
        show(0)
        clock.now += 600
        show(0)  # how long it takes is not known yet
        show(7200.5)
    assert capsys.readouterr().err == "yard.flac: 20 %, 10 min, about 40 min left\n"


def test_a_phase_without_steps_is_told_of_as_well(capsys):
    with Phases("building fp16", ended=Ended(1)):
        pass
    with Phases("building fp16", ended=Ended(0)):
        pass
    assert capsys.readouterr().err == "building fp16, 30 s\n"


def test_the_innermost_phase_is_told_of(capsys):
    phases = Phases("building fp16", ended=Ended(3))
    phases.start("timing", 40)
    phases.start("layer", 4)
    phases.step("layer", 3)
    with phases:
        pass
    phases.finish("layer")
    assert capsys.readouterr().err.splitlines() == [
        f"building fp16, {spent}: layer, 3 of 4" for spent in ("30 s", "1 min", "2 min")
    ]


def test_quiet_phases_say_nothing(capsys):
    with Phases("building fp16", quiet=True, ended=Ended(3)) as phases:
        phases.start("timing", 40)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (3540, "59 min"), (9000, "2 h 30 min")]
)
def test_durations_as_one_says_them(seconds, text):
    assert in_words(seconds) == text


@pytest.fixture
def terminal(monkeypatch):
    """Have rich take stderr for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_has_a_bar_and_all_items(terminal, capsys):
    assert list(with_progress([1, 2, 3], "work [1]")) == [1, 2, 3]
    assert "work [1]" in capsys.readouterr().err


def test_what_is_waited_for_stands_on_a_terminal_until_it_is_there(terminal, capsys):
    with waiting("loading [1] …"):
        pass
    err = capsys.readouterr().err
    assert "loading [1] …" in err
    assert err.endswith("\x1b[1A\x1b[2K")  # the line is gone


def test_phases_within_phases(terminal, capsys):
    """Two may have one name, and a builder may report what never began."""
    with Phases("engine") as phases:
        phases.start("timing", 10)
        phases.start("timing", 4)
        phases.step("timing", 3)
        phases.step("absent", 3)
        phases.finish("absent")
        phases.finish("timing")
        phases.finish("timing")
    assert "engine: timing" in capsys.readouterr().err
