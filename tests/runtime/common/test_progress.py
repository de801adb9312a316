import pytest

from htsat_edge.runtime.common.progress import Phases, with_progress


def test_without_a_terminal_there_is_no_bar(capsys):
    items = [1, 2, 3]
    assert with_progress(items, "work") is items
    with Phases("work") as phases:
        phases.start("phase", 2)
        phases.step("phase", 1)
        phases.finish("phase")
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def terminal(monkeypatch):
    """Have rich take stderr for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_has_a_bar_and_all_items(terminal, capsys):
    assert list(with_progress([1, 2, 3], "work")) == [1, 2, 3]
    assert "work" in capsys.readouterr().err


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
