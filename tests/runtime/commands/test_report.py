from dataclasses import replace
from datetime import datetime

import pytest
from rich.console import Console

from htsat_edge.runtime.commands.report import Detections, bar, print_events, print_top
from htsat_edge.runtime.daemon.messages import TopScore
from htsat_edge.runtime.dsp.events import EventEnd, EventStart


def events(label, onset, offset, score, id=1):
    common = {"source": "yard", "id": id, "label": label, "onset": onset, "time": None}
    return [EventStart(**common, score=score / 2), EventEnd(**common, offset=offset, score=score)]


def test_events_are_in_the_order_of_their_onsets():
    duck, dog = events("Fowl", 1.0, 9.0, 0.5), events("Dog", 2.0, 3.0, 0.5)
    found = Detections("x", 10.0, [duck[0], *dog, duck[1]], None)
    assert found.ended == [duck[1], dog[1]]


@pytest.mark.parametrize(("score", "width"), [(0.0, 1), (0.04, 1), (0.5, 5), (1.0, 10)])
def test_a_bar_of_a_score(score, width):
    assert bar(score) == "▇" * width


def test_a_table_of_events(capsys):
    print_events(Console(width=80), Detections("[yard]", 3723.45, events("Fowl [a]", 1.28, 61.0, 0.5), None))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["[yard]", "1:02:03.45"],
        ["from", "to", "sound", "score"],
        ["0:01.28", "1:01.00", "Fowl", "[a]", "0.50", "▇▇▇▇▇"],
        [],
    ]


def test_an_event_that_stays_below_its_threshold_is_marked(capsys):
    begun = datetime(2026, 5, 1, 21, 30).astimezone()
    found = Detections("x", 9.0, [*events("Dog", 1.0, 2.0, 0.5), *events("Fowl", 1.0, 2.0, 0.5, 2)], None)
    print_events(Console(width=80), replace(found, heard_as="yard", start=begun), {"Dog": 0.50001, "Fowl": 0.6})
    title, _, dog, fowl, note, _ = capsys.readouterr().out.splitlines()
    assert title == "x  0:09.00  2026-05-01 21:30:00  yard"
    assert (dog.split()[-1], fowl.split()[-1]) == ("▇▇▇▇▇", "*")
    assert note == "  * reported early; its final scores stay below the threshold"


def test_no_events(capsys):
    print_events(Console(width=80), Detections("yard", 2.0, [], None))
    assert capsys.readouterr().out == "yard  0:02.00\n  no events; --top 5 shows the classes that scored highest\n\n"


def test_a_table_of_the_highest_scores(capsys):
    print_top(Console(width=80), [TopScore(label="Fowl", score=0.254, threshold=0.5, at=61.5)])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["highest", "needs", "at", "sound"],
        ["0.25", "0.50", "1:01.50", "Fowl"],
        [],
    ]
