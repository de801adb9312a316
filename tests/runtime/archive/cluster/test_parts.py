"""What workers answer, as rows of Parquet files beside Ray's checkpoints."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from htsat_edge.runtime.archive.cluster.parts import AnswerParts, FileAnswer, table_of, take_left
from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import (
    ArchiveFile,
    FoundEvent,
    FoundInRecording,
    Origin,
    Quality,
    Span,
    SpanScores,
)
from htsat_edge.runtime.archive.workers import Cut, GivenUp

parquet = pytest.importorskip("pyarrow.parquet")
PATH = Path("/archive/odd\nname \udcff.wav")
FILE = ArchiveFile(PATH, 5, -(10**18))
START = datetime(2026, 5, 1, 4, 30, tzinfo=timezone(timedelta(hours=2)))
EVENTS = FoundEvent(0, "Dog", 0.1 + 0.2, 1 / 3, 0.9), FoundEvent(2, "Cat, or not", 3.0, 4.0, 1e-9)
ANSWERS = [
    FileAnswer(FILE, FoundInRecording(1 / 3, 48_000, 2, Quality(3, 0.1, 0.5), EVENTS, Origin(START, "guano")), 0.25),
    FileAnswer(FILE, FoundInRecording(0.0, 32_000, 1, Quality(), (), failure="breaks off")),
    FileAnswer(FILE, SpanScores(Span(PATH, 1, 3, 32768.0), (b"\x00\xff", b""), Quality(1), 32_000, 2, 7.5), 7.5),
    FileAnswer(FILE, Cut((Span(PATH, 0, 2, 0.1), Span(PATH, 1, 2, 0.1)))),
    FileAnswer(FILE, GivenUp("is no audio")),
]


@pytest.fixture
def parts(tmp_path):
    parts = AnswerParts(tmp_path)
    parts.answers.mkdir(parents=True)
    parts.checkpoints.mkdir()
    return parts


def write(parts, name, answers, is_whole=True):
    parquet.write_table(table_of(answers), parts.answers / f"{name}-0.parquet")
    suffix = ".parquet" if is_whole else ".pending.parquet"
    (parts.checkpoints / f"{name}{suffix}").touch()


def test_answers_come_back_as_they_were(parts):
    write(parts, "a_000", ANSWERS[:2])
    write(parts, "a_001", ANSWERS[2:])
    assert list(parts.take()) == ANSWERS


def test_each_part_is_taken_once_and_only_when_it_is_whole(parts):
    write(parts, "a_000", ANSWERS[:1])
    write(parts, "a_001", ANSWERS[1:2], is_whole=False)
    assert list(parts.take()) == ANSWERS[:1]
    assert list(parts.take()) == []
    (parts.checkpoints / "a_001.pending.parquet").rename(parts.checkpoints / "a_001.parquet")
    assert list(parts.take()) == ANSWERS[1:2]


def test_a_part_that_is_being_written_anew_is_left_for_later(parts):
    write(parts, "a_000", ANSWERS)
    part = parts.answers / "a_000-0.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-20])
    assert list(parts.take()) == []
    part.write_bytes(content)
    assert list(parts.take()) == ANSWERS


def test_what_a_killed_run_has_left_is_taken_over_if_it_is_still_wanted(tmp_path):
    """Also by a run without Ray."""
    files = [ArchiveFile(Path(f"/archive/{name}.wav"), 5, 1) for name in ("done", "changed", "failed", "long")]
    found = FoundInRecording(3.0, 32_000, 1, Quality(), ())
    parts = AnswerParts(tmp_path)
    with Journal.open(tmp_path, {}, Path("/archive")) as journal:
        journal.add_found([files[0], files[1]._replace(size=6), *files[2:]])
        parts.answers.mkdir(parents=True)
        parts.checkpoints.mkdir()
        span = SpanScores(Span(files[3].path, 1, 3), (b"x",), Quality(1), 32_000, 1, 7.5)
        answers = [found, found, GivenUp("is no audio"), span]
        write(parts, "a_000", [FileAnswer(file, answer) for file, answer in zip(files, answers, strict=True)])
        take_left(journal)
        assert [one.path for one in journal.recordings()] == [files[0].path]
        assert [one.path for one in journal.todo()] == [files[1].path, files[2].path, files[3].path]
        assert journal.spans(files[3].path) == [span]
        assert not parts.folder.exists()
        take_left(journal)


def test_clearing_leaves_nothing(parts, tmp_path):
    write(parts, "a_000", ANSWERS)
    parts.clear()
    parts.clear()
    assert list(parts.take()) == []
    assert list(tmp_path.iterdir()) == []


def test_ids_tell_answers_apart():
    """Ray keeps them in its checkpoints."""
    assert len(set(table_of(ANSWERS[1:])["id"].to_pylist())) == 4
