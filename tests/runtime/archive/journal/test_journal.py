"""A journal keeps what is done, whatever ends the process, and never more of a recording than all of it."""

import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.archive.journal import Journal, JournalTotals, KeptEvent
from htsat_edge.runtime.archive.journal import journal as module
from htsat_edge.runtime.archive.records import (
    ArchiveFile,
    FoundEvent,
    FoundInRecording,
    Origin,
    Quality,
    Span,
    SpanScores,
)
from htsat_edge.runtime.archive.walk import Unreadable
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError

KEY, BASE = {"hop_s": "1.28"}, Path("/archive")


def file_named(name, size=10, mtime_ns=0):
    return ArchiveFile(BASE / name, size, mtime_ns)


def found_of(file, **changed):
    """What anybody would find in a file: it depends on its name and size alone."""
    event = FoundEvent(0, file.path.stem, 1.0, 2.0 + file.size, 0.5)
    return FoundInRecording(**{"duration_s": 60.0, "sample_rate": 8000, "channels": 1, "quality": Quality(1, 0.25, 0.5),
                               "events": (event,) * 2, **changed})  # fmt: skip


def span_of(file, number, count=2):
    span, packed = Span(file.path, number, count, 32768.0), (b"one", b"", bytes([number]))
    return SpanScores(span, packed, Quality(5, 0.1), 8000, 2, 30.5)


def content(journal):
    return list(journal.recordings()), list(journal.failures())


@pytest.fixture
def begin(tmp_path):
    journals = []

    def begin(files=(), name="results", key=KEY, base=BASE):
        journals.append(Journal.open(tmp_path / name, key, base))
        journals[-1].add_found(files)
        return journals[-1]

    yield begin
    for journal in journals:
        journal.close()


def test_what_was_found_comes_back_to_the_bit(begin):
    file = file_named("a/b.wav")
    journal = begin([file])
    events = (FoundEvent(0, "Rain, heavy", 0.1 + 0.2, 1 / 3, 1e-300), FoundEvent(8, "Dog", 0.0, 1e9, 1.0))
    found = found_of(file, events=events, origin=Origin(datetime(2026, 5, 1), "name", 0.1, -0.2, "S1"))
    journal.finish(file.path, found)
    (kept,) = journal.recordings()
    assert kept == (file.path, PurePath("a/b.wav"), 10, found, tuple(KeptEvent(*event) for event in events))


def test_spans_come_back_and_go_with_the_whole(begin):
    one, other = file_named("1.wav"), file_named("2.wav")
    journal = begin([one, other])
    spans = [span_of(one, 1), span_of(one, 0)]
    for span in spans:
        journal.keep_span(one.path, span)
    journal.keep_span(one.path, spans[0])  # a worker that was taken for dead may say it again
    assert journal.spans(one.path) == spans[::-1]
    assert journal.spans(other.path) == []
    journal.finish(one.path, found_of(one))
    journal.keep_span(one.path, spans[0])  # or even later
    assert journal.spans(one.path) == []
    journal.keep_span(other.path, span_of(other, 0))
    journal.fail(other.path, "is broken")
    assert journal.spans(other.path) == []


def test_the_next_run_hears_what_is_new_failed_or_has_changed(begin):
    files = [file_named(f"{number}.wav") for number in range(6)]
    journal = begin(files)
    for file in files[:4]:
        journal.finish(file.path, found_of(file))
    journal.fail(files[4].path, "is broken")
    journal.keep_span(files[5].path, span_of(files[5], 0))
    larger, later = files[1]._replace(size=11), files[2]._replace(mtime_ns=-5)
    new = file_named("new.wav")
    journal.add_found([files[0], larger, later, files[4], files[5], new])
    assert list(journal.todo()) == [larger, later, files[4], files[5], new]
    assert [kept.path for kept in journal.recordings()] == [files[0].path, files[3].path]  # 3 is not mounted today
    assert list(journal.failures()) == []
    assert journal.spans(files[5].path) == [span_of(files[5], 0)]
    assert journal.totals().events == 4


def test_spans_of_a_file_that_has_changed_are_worth_nothing(begin):
    file = file_named("a.wav")
    journal = begin([file])
    journal.keep_span(file.path, span_of(file, 0))
    journal.add_found([file._replace(size=11)])
    assert journal.spans(file.path) == []


def test_what_was_not_heard_and_is_gone_is_forgotten_but_only_after_a_whole_walk(begin):
    files = [file_named(f"{number}.wav") for number in range(3)]
    journal = begin([*files, Unreadable(BASE / "dark", "cannot be read")])
    journal.fail(files[1].path, "is broken")

    def cut_off():
        yield files[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.add_found(cut_off())
    assert [file.path for file in journal.todo()] == [files[0].path, files[2].path]
    assert [path for path, _ in journal.failures()] == [files[1].path, BASE / "dark"]
    journal.add_found([files[2]])
    assert list(journal.todo()) == [files[2]]
    assert list(journal.failures()) == []


def test_what_was_heard_in_part_waits_until_it_is_found_again(begin):
    """A drive that is not mounted today must not cost hours."""
    file, other = file_named("a.wav"), file_named("b.wav")
    journal = begin([file, other])
    journal.keep_span(file.path, span_of(file, 0))
    journal.add_found([other, Unreadable(BASE / "dark", "cannot be read")])
    assert list(journal.todo()) == [other]
    assert journal.totals()[:2] == (1, 10)
    journal.add_found([file])
    assert list(journal.todo()) == [file]
    assert journal.spans(file.path) == [span_of(file, 0)]


def test_failures_in_the_order_of_paths_damaged_ones_too(begin):
    files = [file_named(name) for name in ("d.wav", "b.wav", "c.wav", "a.wav")]
    journal = begin([*files, Unreadable(BASE / "bb", "cannot be read")])
    journal.fail(files[0].path, "is no\nsound")
    journal.finish(files[1].path, found_of(files[1], failure="is truncated after 3 s"))
    journal.finish(files[2].path, found_of(files[2]))
    assert list(journal.failures()) == [
        Unreadable(BASE / "b.wav", "is truncated after 3 s"),
        Unreadable(BASE / "bb", "cannot be read"),
        Unreadable(BASE / "d.wav", "is no\\nsound"),
    ]
    assert journal.totals() == JournalTotals(1, 10, 2, 20, 120.0, 1, 1, 1, 4)


@pytest.mark.parametrize("newest_first", [False, True])
def test_each_is_to_be_heard_once_whatever_is_written_meanwhile(begin, monkeypatch, newest_first):
    monkeypatch.setattr(module, "AT_ONCE", 3)
    files = [file_named(f"{number:02}.wav", mtime_ns=number // 4) for number in range(20)]
    journal = begin(files[::-1])
    seen = []
    for number, file in enumerate(journal.todo(newest_first)):
        seen.append(file)
        if number % 3 == 0:
            journal.finish(file.path, found_of(file))
        elif number % 3 == 1:
            journal.fail(file.path, "is broken")
    assert seen == sorted(files, key=lambda file: (-file.mtime_ns * newest_first, file.path))
    assert len(list(journal.todo())) == 6
    assert [kept.path for kept in journal.recordings()] == sorted(file.path for file in seen[::3])


def test_an_empty_journal_has_nothing_to_say(begin):
    journal = begin()
    assert content(journal) == ([], [])
    assert journal.totals() == JournalTotals(0, 0, 0, 0, 0.0, 0, 0, 0, 0)
    with pytest.raises(HtsatEdgeError, match=r"a\.wav: is not in .*journal\.sqlite"):
        journal.fail(BASE / "a.wav", "is broken")


def test_names_that_are_no_text(begin):
    odd = Path(os.fsdecode(b"/archive/caf\xe9\n.wav"))
    journal = begin([ArchiveFile(odd, 1, 2)])
    assert list(journal.todo()) == [ArchiveFile(odd, 1, 2)]
    origin = Origin(recorder="Recorder \udce9")
    journal.finish(odd, found_of(file_named("a.wav"), failure=f"{odd}: is damaged", origin=origin))
    (kept,) = journal.recordings()
    assert kept.path == odd
    said = kept.found.origin.recorder, kept.found.failure
    assert said == ("Recorder \\udce9", "/archive/caf\\udce9\\n.wav: is damaged")
    journal.fail(odd, f"{odd}: is broken")
    assert list(journal.failures()) == [Unreadable(odd, "/archive/caf\\udce9\\n.wav: is broken")]


def test_files_of_recordings_lie_as_the_recordings_do(begin):
    journal = begin()
    assert journal.relative(BASE / "site" / "a.wav") == PurePath("site/a.wav")
    assert journal.relative(Path("/archives/a.wav")) == PurePath("_outside/archives/a.wav")
    journal.close()
    assert begin(base=Path("/other")).base == BASE  # that of the first run


def test_a_second_run_is_kept_out(begin, tmp_path):
    journal = begin()
    with pytest.raises(NotReadyError, match=rf"another scan writes there, process {os.getpid()} "):
        Journal.open(tmp_path / "results", KEY, BASE)
    journal.close()
    begin()


OPERATIONS = st.sampled_from(["walk", "finish", "fail", "span", "kill", "grow", "damage"])


@settings(max_examples=25, deadline=None)
@given(operations=st.lists(st.tuples(OPERATIONS, st.integers(0, 4)), max_size=25))
def test_any_way_to_the_end_ends_in_the_same(tmp_path_factory, operations):
    """A kill leaves what lies on the disk: the database and its log, of which a copy is gone on with."""
    folder = tmp_path_factory.mktemp("archive")
    sizes = [10] * 5
    journal = Journal.open(folder / "0", KEY, BASE)

    def walk():
        return [file_named(f"{number}.wav", size) for number, size in enumerate(sizes)]

    journal.add_found(walk())
    for run, (operation, number) in enumerate(operations, 1):
        file = file_named(f"{number}.wav", sizes[number])
        if operation == "kill":
            shutil.copytree(folder / str(journal.folder.name), folder / str(run))
            journal.close()
            journal = Journal.open(folder / str(run), KEY, BASE)
        elif operation == "walk":
            journal.add_found(walk())
        elif operation == "grow":
            sizes[number] += 1
            journal.add_found(walk())
        elif operation == "finish":
            journal.finish(file.path, found_of(file))
        elif operation == "damage":
            journal.finish(file.path, found_of(file, failure="is truncated", events=()))
            sizes[number] += 1  # it is copied again, whole
        elif operation == "fail":
            journal.fail(file.path, "is broken")
        else:
            journal.keep_span(file.path, span_of(file, number))
    journal.add_found(walk())
    for file in journal.todo():
        journal.finish(file.path, found_of(file))
    with journal, Journal.open(folder / "undisturbed", KEY, BASE) as other:
        other.add_found(walk())
        for file in other.todo():
            other.finish(file.path, found_of(file))
        assert content(journal) == content(other)
        assert journal.totals() == other.totals()
        assert all(journal.spans(file.path) == [] for file in walk())


WORKER = """
import sys
from pathlib import Path
from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import FoundEvent, FoundInRecording, Quality
with Journal.open(Path(sys.argv[1]), {"hop_s": "1.28"}, Path("/archive")) as journal:
    for file in journal.todo():
        events = tuple(FoundEvent(0, file.path.stem, float(n), n + 1.0, 0.5) for n in range(50))
        journal.finish(file.path, FoundInRecording(60.0, 8000, 1, Quality(), events))
        print(file.path, flush=True)
"""


def test_a_process_that_is_killed_loses_nothing_that_it_has_said(begin, tmp_path):
    files = [file_named(f"{number:04}.wav") for number in range(2000)]
    begin(files).close()
    told = []
    for most in (1, 40, 333):
        arguments = [sys.executable, "-c", WORKER, str(tmp_path / "results")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as worker:
            told += [Path(line.rstrip("\n")) for line, _ in zip(worker.stdout, range(most), strict=False)]
            worker.send_signal(signal.SIGKILL)
            told += [Path(line.rstrip("\n")) for line in worker.stdout if line.endswith("\n")]
        journal = begin(files)
        kept = list(journal.recordings())
        assert {one.path for one in kept} >= set(told)
        assert all(len(one.events) == 50 for one in kept)
        assert [file.path for file in journal.todo()] == [file.path for file in files[len(kept) :]]
        journal.close()
    assert 374 <= len(told) < 2000


def full(journal):
    """Let SQLite have few more pages, as on a disk with little room."""
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages + 20}")


def test_a_full_disk_is_said_and_what_was_done_is_kept(begin):
    files = [file_named(f"{number:05}.wav") for number in range(5000)]
    journal = begin(files)
    full(journal)
    done = []
    said = r"journal\.sqlite: the disk is full; what was done is kept: make room"
    with pytest.raises(HtsatEdgeError, match=said):  # noqa: PT012
        for file in files:
            journal.finish(file.path, found_of(file))
            done.append(file.path)
    with pytest.raises(HtsatEdgeError, match="the disk is full"):
        journal.keep_span(files[-1].path, SpanScores(Span(files[-1].path, 0, 2), (bytes(10**6),), Quality(), 1, 1, 1.0))
    with pytest.raises(HtsatEdgeError, match="the disk is full"):
        journal.add_found(file_named(f"new {number}.wav") for number in range(5000))
    assert 0 < len(done) < len(files)
    assert [kept.path for kept in journal.recordings()] == done
    journal.close()
    journal = begin(files)  # there is room again
    for file in journal.todo():
        journal.finish(file.path, found_of(file))
    assert journal.totals().files_done == len(files)


def test_no_row_waits_for_all_others(begin):
    """Else memory, or a temporary file, would grow with the archive."""
    journal, plans = begin([file_named(f"{number}.wav") for number in range(3)]), []
    for file in journal.todo():
        journal.finish(file.path, found_of(file))
    asked = []
    journal._database.set_trace_callback(asked.append)
    for newest_first in (False, True):
        list(journal.todo(newest_first))
    list(journal.recordings())
    journal._database.set_trace_callback(None)
    assert len(asked) >= 7
    for query in asked:
        plans += [row[3] for row in journal._database.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert not any("TEMP B-TREE" in plan or (plan.startswith("SCAN") and "INDEX" not in plan) for plan in plans)
