"""How far a scan is, in one line."""

from pathlib import Path

import pytest

from htsat_edge.runtime.archive.journal import JournalTotals
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.common.half_minutes import counting_half_minutes

H = 3600.0


class FakeClock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def no_progress_lines():
    """Have lines be printed, unlike in all other tests."""


@pytest.fixture
def clock():
    return FakeClock()


def totals(**changes):
    return JournalTotals(*(0 for _ in JournalTotals._fields))._replace(**changes)


def test_a_new_scan_does_not_know_how_much_there_is(clock):
    progress = ScanProgress(totals(files_todo=2, bytes_todo=200), clock)
    clock.now += 100
    progress.hear(1 * H)
    assert progress.line == "scan: 1.0 h, 36 × real time"


def test_what_is_left_is_judged_by_bytes(clock):
    progress = ScanProgress(totals(files_todo=4, bytes_todo=400), clock)
    clock.now += 100
    progress.hear(2 * H)
    progress.finish(Path("a.wav"), 100, 2 * H)
    assert progress.line == "scan: 2.0 of about 8.0 h, 72 × real time, about 5 min left"


def test_earlier_runs_count_but_not_for_the_speed(clock):
    progress = ScanProgress(totals(files_done=1, bytes_done=100, seconds_done=2 * H, bytes_todo=100), clock)
    assert progress.line == "scan: 2.0 of about 4.0 h"
    clock.now += 100
    progress.hear(1 * H)
    assert progress.line == "scan: 3.0 of about 4.0 h, 36 × real time, about 2 min left"


def test_what_failed_is_not_waited_for(clock):
    progress = ScanProgress(totals(bytes_done=100, seconds_done=2 * H, bytes_todo=200), clock)
    progress.give_up(Path("bad.wav"), 100)
    assert progress.line == "scan: 2.0 of about 4.0 h, 1 failed"


def test_a_long_recording_is_known_when_it_is_cut_and_counts_once(clock):
    progress = ScanProgress(totals(bytes_todo=200), clock)
    progress.expect(Path("long.wav"), 100, 24 * H)
    assert progress.line == "scan: 0.0 of about 48.0 h"
    progress.hear(23 * H)
    progress.finish(Path("long.wav"), 100, 24 * H)
    assert progress.line == "scan: 23.0 of about 48.0 h"


def test_spans_of_an_earlier_run_are_done(clock):
    progress = ScanProgress(totals(bytes_todo=100), clock)
    progress.expect(Path("long.wav"), 100, 24 * H, 0.5)
    assert progress.line == "scan: 12.0 of about 24.0 h"


def test_a_cut_recording_that_fails_is_no_longer_counted(clock):
    progress = ScanProgress(totals(bytes_done=100, seconds_done=2 * H, bytes_todo=200), clock)
    progress.expect(Path("long.wav"), 100, 24 * H)
    progress.give_up(Path("long.wav"), 100)
    assert progress.line == "scan: 2.0 of about 4.0 h, 1 failed"


def test_no_more_is_heard_than_there_is(clock):
    progress = ScanProgress(totals(bytes_done=100, seconds_done=1 * H, bytes_todo=10), clock)
    progress.hear(1 * H)
    assert progress.line == "scan: 2.0 of about 2.0 h"


def test_elsewhere_than_on_a_terminal_there_is_a_line_each_half_minute(clock, capsys):
    with counting_half_minutes(clock), ScanProgress(totals(bytes_todo=100), clock) as progress:
        for second in range(61):
            clock.now = 1000.0 + second
            progress.hear(second * 36.0)
    assert capsys.readouterr().err == "scan: 0.3 h, 36 × real time\nscan: 0.6 h, 36 × real time\n"
