"""A scan of many recordings: real processes and a real journal, and a fake in place of the model."""

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from htsat_edge.runtime.archive import scan as scan_module
from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.archive.scan import Agenda, scan
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.tables import write_tables
from htsat_edge.runtime.archive.walk import walk
from htsat_edge.runtime.archive.workers import Cut, HearFile, HearSpan, Workers
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.settings import Settings

FAKE = Path(__file__).with_name("fake_worker.py")
SETTINGS = HearingSettings(Path("bundle"), Settings(), (), span_s=10.0)


def fake(descriptor):
    return [sys.executable, str(FAKE), str(descriptor)]


@pytest.fixture
def folder(tmp_path):
    """Recordings by name, which the fake makes something of."""

    def make(*names):
        for name in names:
            path = tmp_path / "recordings" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"0" * 100)
        return tmp_path / "recordings"

    return make


def run(root, out, settings=SETTINGS, processes=2):
    """Scan; return the events, and the failures, of the tables."""
    with Journal.open(out, {}, root) as journal:
        journal.add_found(walk([root]))
        with ScanProgress(journal.totals()) as progress, Workers(settings, processes, fake) as workers:
            scan(journal, settings, workers, progress)
        write_tables(journal, ["csv"])
    return tables(out)


def tables(out):
    """Rows by the name of the recording; rates are the numbers of processes, and so left out."""
    with (out / "events.csv").open() as events, (out / "failed.csv").open() as failed:
        found = [(Path(row["file"]).name, float(row["onset"])) for row in csv.DictReader(events)]
        return found, {Path(row["file"]).name: row["reason"] for row in csv.DictReader(failed)}


def test_all_recordings_are_heard_and_long_ones_in_spans(folder, tmp_path):
    events, failed = run(folder("a.wav", "long.wav", "sub/b.wav"), tmp_path / "out")
    assert events == [("a.wav", 0), ("long.wav", 0), ("long.wav", 1), ("long.wav", 2), ("b.wav", 0)]
    assert failed == {}


def test_bad_recordings_are_listed_and_stop_no_other(folder, tmp_path):
    root = folder("1.wav", "2-bad.wav", "3-crash.wav", "4-bug.wav", "5.wav", "long-killed.wav", "long-bad.wav")
    events, failed = run(root, tmp_path / "out")
    assert events == [("1.wav", 0), ("5.wav", 0)]
    assert {name: reason.split()[0] for name, reason in failed.items()} == {
        "2-bad.wav": "is",
        "3-crash.wav": "the",
        "4-bug.wav": "ZeroDivisionError:",
        "long-killed.wav": "the",
        "long-bad.wav": "is",
    }


def test_the_next_run_hears_only_what_is_not_done(folder, tmp_path):
    root, out = folder("1.wav", "2-bad.wav"), tmp_path / "out"
    run(root, out)
    folder("3.wav")
    with Journal.open(out, {}, root) as journal:
        journal.add_found(walk([root]))
        assert [file.path.name for file in journal.todo()] == ["2-bad.wav", "3.wav"]
    events, failed = run(root, out)
    assert [name for name, _ in events] == ["1.wav", "3.wav"]
    assert [*failed] == ["2-bad.wav"]


def agenda_of(root, out, journal, **changes):
    journal.add_found(walk([root]))
    return Agenda(journal, replace(SETTINGS, **changes), ScanProgress(journal.totals()))


def test_spans_that_were_heard_are_not_heard_again(folder, tmp_path):
    root, out = folder("long.wav"), tmp_path / "out"
    with Journal.open(out, {}, root) as journal:
        agenda = agenda_of(root, out, journal)
        with Workers(SETTINGS, 1, fake) as workers:
            for answered in workers.run(agenda.next_job):
                if answered is not None:
                    agenda.settle(answered[0].path, answered[1])
                    if isinstance(answered[0], HearSpan) and answered[0].span.number == 1:
                        break
    with Journal.open(out, {}, root) as journal:
        agenda = agenda_of(root, out, journal)
        assert agenda.next_job().span.number == 2
        assert agenda.next_job() is None
    assert run(root, out)[0] == [("long.wav", 0), ("long.wav", 1), ("long.wav", 2)]


def test_spans_of_a_recording_come_before_the_next_recordings(folder, tmp_path):
    root, out = folder("a-long.wav", "b.wav"), tmp_path / "out"
    with Journal.open(out, {}, root) as journal:
        agenda = agenda_of(root, out, journal)
        first = agenda.next_job()
        assert isinstance(first, HearFile)
        spans = scan_module._spans_like(scan_module.Span(first.path, 0, 3))
        agenda.settle(first.path, Cut(tuple(spans)))
        assert [agenda.next_job() for _ in range(3)] == [HearSpan(span) for span in spans]
        assert agenda.next_job().path.name == "b.wav"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b"1" * 101), "was changed while it was heard"),
        (lambda path: path.unlink(), "was deleted, or became unreadable, while it was heard"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "long.wav"])
def test_what_changes_while_it_is_heard_is_not_kept(folder, tmp_path, change, reason, name):
    root, out = folder(name), tmp_path / "out"
    with Journal.open(out, {}, root) as journal:
        agenda = agenda_of(root, out, journal)
        with Workers(SETTINGS, 2, fake) as workers:
            for answered in workers.run(agenda.next_job):
                if answered is not None:
                    if (root / name).exists():
                        change(root / name)
                    agenda.settle(answered[0].path, answered[1])
        assert [(one.path.name, one.reason) for one in journal.failures()] == [(name, reason)]
        assert journal.totals().files_todo == 0


def test_scores_are_kept_beside_the_tables(folder, tmp_path):
    root, out = folder("a.wav", "sub/long.wav"), tmp_path / "out"
    run(root, out, replace(SETTINGS, scores=True))
    assert (out / "scores" / "a.wav.npz").read_text() == "1"
    assert (out / "scores" / "sub" / "long.wav.npz").read_text() == "3"


def test_where_scores_cannot_be_written_the_scan_stops(folder, tmp_path):
    root, out = folder("a.wav", "b.wav"), tmp_path / "out"
    with Journal.open(out, {}, root):
        (out / "scores").write_text("in the way")
    with pytest.raises(HtsatEdgeError, match="scores"):
        run(root, out, replace(SETTINGS, scores=True))
    with Journal.open(out, {}, root) as journal:
        assert journal.totals().failed == 0


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_scan import run
print("begun", flush=True)
run(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def written(out):
    """How many bytes a run has added to its journal."""
    log = out / "journal.sqlite-wal"
    return log.stat().st_size if log.exists() else 0


def test_three_kills_change_nothing(folder, tmp_path, wait_for):
    root = folder(*(f"{number:02}-{'bad' if number % 9 == 4 else 'slow'}.wav" for number in range(40)), "long-slow.wav")
    driver = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(root), str(tmp_path / "killed")]
    done = []
    for _ in range(3):
        with subprocess.Popen(driver, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begun\n"
            wait_for(lambda: written(tmp_path / "killed") > 60_000)
            process.kill()
        with Journal.open(tmp_path / "killed", {}, root) as opened:
            done.append(opened.totals().files_done)
    assert 0 < done[0] <= done[1] <= done[2]
    assert done[0] < 36
    assert run(root, tmp_path / "killed") == run(root, tmp_path / "whole")
