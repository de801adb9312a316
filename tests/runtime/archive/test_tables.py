"""Tables say what the journal has, of every recording, and nothing of others is touched."""

import csv
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from htsat_edge.runtime.archive import tables
from htsat_edge.runtime.archive.formats import FORMATS
from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import ArchiveFile, FoundEvent, FoundInRecording, Origin, Quality
from htsat_edge.runtime.archive.tables import name_beside, write_tables
from htsat_edge.runtime.archive.walk import Unreadable
from htsat_edge.runtime.common.errors import HtsatEdgeError

BASE, DAWN = Path("/archive"), datetime(2026, 5, 1, 4, 59, tzinfo=timezone(timedelta(hours=2)))
ODD = os.fsdecode(b'new\nline "caf\xe9".wav')
DOG = FoundEvent(1, "Dog", 58.25, 60.0, 0.123456789)
MORE = FoundEvent(1, "Dog", 0.0, 2.5, 0.75)


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "results", {}, BASE) as journal:
        names = ["a/1.wav", "a/2.wav", ODD, "broken.wav", "quiet.wav", "todo.wav"]
        files = [ArchiveFile(BASE / name, 1, 1) for name in names]
        journal.add_found([*files, Unreadable(BASE / "dark", "cannot be read")])
        one = Origin(DAWN, "guano", 52.5, -13.25, "AudioMoth 24F319055FDF2A5B")
        next_one = Origin(DAWN + timedelta(seconds=60), "guano", recorder="AudioMoth 24F319055FDF2A5B")
        quality = Quality(samples=1000, power=10.0, peak=0.5, clipped=25, silent_s=1.5, dropouts=3)
        journal.finish(BASE / "a/1.wav", FoundInRecording(60.0, 48000, 2, quality, (DOG,), one))
        journal.finish(BASE / "a/2.wav", FoundInRecording(60.0, 48000, 2, quality, (MORE,), next_one))
        journal.finish(BASE / ODD, FoundInRecording(1.23456, 8000, 1, Quality(), (), failure="is truncated"))
        journal.finish(BASE / "quiet.wav", FoundInRecording(5.0, 8000, 1, Quality(samples=10), ()))
        journal.fail(BASE / "broken.wav", "has no samples")
        yield journal


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def content(folder):
    """Files but those of the journal, and folders."""
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*") if "journal" not in path.name}


def test_events_with_their_times(journal):
    write_tables(journal, ["csv"])
    rows = read(journal.folder / "events.csv")
    assert list(rows[0]) == ["file", "channel", "label", "onset", "offset", "score", "time"]
    assert [tuple(row.values()) for row in rows] == [
        ("/archive/a/1.wav", "1", "Dog", "58.25", "60.0", "0.1235", "2026-05-01T04:59:58.250+02:00"),
        ("/archive/a/2.wav", "1", "Dog", "0.0", "2.5", "0.75", "2026-05-01T05:00:00.000+02:00"),
    ]


def test_an_event_across_a_border_is_one_where_the_form_can_say_so(journal):
    write_tables(journal, ["csv", "desed"], 2.0)
    (row,) = read(journal.folder / "events.csv")
    assert (row["onset"], row["offset"], row["score"], row["end_file"]) == ("58.25", "62.5", "0.75", "/archive/a/2.wav")
    assert (journal.folder / "desed.tsv").read_text().count("Dog") == 2
    assert [row["events"] for row in read(journal.folder / "files.csv")] == ["1", "1", "0", "0"]  # something sounds


def test_a_row_for_each_recording_that_was_heard(journal):
    write_tables(journal, ["csv"])
    rows = read(journal.folder / "files.csv")
    assert [row["file"] for row in rows] == [
        "/archive/a/1.wav", "/archive/a/2.wav", '/archive/new\nline "caf\\xe9".wav', "/archive/quiet.wav"
    ]  # fmt: skip
    assert rows[0] == {
        "file": "/archive/a/1.wav", "duration": "60.0", "sample_rate": "48000", "channels": "2",
        "start": "2026-05-01T04:59:00.000+02:00", "start_from": "guano", "latitude": "52.5", "longitude": "-13.25",
        "recorder": "AudioMoth 24F319055FDF2A5B", "level_dbfs": "-20.0", "peak_dbfs": "-6.02",
        "clipped_percent": "2.5", "silent_s": "1.5", "dropouts": "3", "events": "1", "failure": "",
    }  # fmt: skip
    assert (rows[2]["duration"], rows[2]["failure"], rows[2]["level_dbfs"]) == ("1.235", "is truncated", "")
    assert (rows[3]["start"], rows[3]["level_dbfs"], rows[3]["clipped_percent"]) == ("", "", "0.0")


def test_what_failed_and_why(journal):
    write_tables(journal, ["csv"])
    assert [tuple(row.values()) for row in read(journal.folder / "failed.csv")] == [
        ("/archive/broken.wav", "has no samples"),
        ("/archive/dark", "cannot be read"),
        ('/archive/new\nline "caf\\xe9".wav', "is truncated"),
    ]


def test_a_file_for_each_recording_lies_as_the_recording_does(journal):
    written = write_tables(journal, ["audacity"]).written
    labels = journal.folder / "labels"
    assert sorted(str(path.relative_to(labels)) for path in labels.rglob("*") if path.is_file()) == sorted(
        ["a/1.wav.txt", "a/2.wav.txt", f"{ODD}.txt", "quiet.wav.txt"]
    )
    assert (labels / "a/1.wav.txt").read_text().split("\t")[2] == "Dog\n"
    assert (labels / "quiet.wav.txt").read_bytes() == b""
    assert written == [journal.folder / name for name in ("labels", "files.csv", "failed.csv")]


@pytest.mark.parametrize("name", FORMATS)
def test_every_form_again_and_again_and_whole(journal, name, monkeypatch):
    """What is written twice is the same; what fails half-way leaves the file as it was."""
    try:
        FORMATS[name].require()
    except HtsatEdgeError as error:
        pytest.skip(str(error))
    write_tables(journal, [name, name])
    before = content(journal.folder)
    write_tables(journal, [name])
    real, opened = Path.open, []

    def fail(path, mode="r", *args, **options):
        opened.extend([path] * ("w" in mode))
        if len(opened) > 1:  # failed.csv is the first
            raise OSError(28, "No space left on device")
        return real(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(HtsatEdgeError, match="No space left on device; what was there is as it was"):
        write_tables(journal, [name])
    monkeypatch.undo()
    assert content(journal.folder) == before


def test_files_of_others_stay(journal):
    (journal.folder / "labels" / "a").mkdir(parents=True)
    (journal.folder / "labels" / "a" / "1.txt").write_text("by hand")
    (journal.folder / "notes.txt").write_text("by hand")
    write_tables(journal, ["audacity", "csv"])
    assert (journal.folder / "labels" / "a" / "1.txt").read_text() == "by hand"
    assert (journal.folder / "notes.txt").read_text() == "by hand"


FORMS = ["csv", "audacity", "raven"]


def test_what_a_person_has_changed_stays_and_is_counted(journal):
    write_tables(journal, FORMS)
    changed = [journal.folder / "labels" / "a" / "1.wav.txt", journal.folder / "raven.txt"]
    for path in changed:
        path.write_text("by hand")
    gone = journal.folder / "labels" / "a" / "2.wav.txt"
    gone.unlink()
    journal.finish(BASE / "quiet.wav", FoundInRecording(5.0, 8000, 1, Quality(), (MORE,)))
    result = write_tables(journal, FORMS)
    assert (result.kept, result.kept_first) == (2, changed[0])
    assert [path.read_text() for path in changed] == ["by hand"] * 2
    assert gone.exists()
    assert (journal.folder / "labels" / "quiet.wav.txt").read_text().endswith("Dog\n")
    changed[0].unlink()
    assert write_tables(journal, FORMS).kept == 1
    assert changed[0].read_text().endswith("Dog\n")


def test_results_that_were_copied_are_still_ours(journal):
    write_tables(journal, FORMS)
    for path in content(journal.folder):
        os.utime(path, (1, 1))
    assert write_tables(journal, FORMS).kept == 0


@pytest.mark.parametrize("behind", [False, True])
def test_a_kill_before_or_behind_the_move_takes_nothing_for_a_persons(journal, monkeypatch, behind):
    write_tables(journal, ["csv"])
    journal.finish(BASE / "quiet.wav", FoundInRecording(5.0, 8000, 1, Quality(), (MORE,)))
    real = Path.replace

    def killed(path, target):
        if Path(target).name != "events.csv":
            return real(path, target)
        if behind:
            real(path, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_tables(journal, ["csv"])
    monkeypatch.undo()
    journal.finish(BASE / "quiet.wav", FoundInRecording(5.0, 8000, 1, Quality(), (MORE, MORE)))
    assert write_tables(journal, ["csv"]).kept == 0
    assert len(read(journal.folder / "events.csv")) == 4


def test_labels_of_what_can_no_longer_be_heard_go_but_not_a_persons(journal):
    write_tables(journal, FORMS)
    labels = journal.folder / "labels" / "a"
    (labels / "2.wav.Table.1.selections.txt").write_text("by hand")
    (labels / "1.wav.TextGrid").write_text("by hand")  # there is no such file of ours
    for name in ("a/1.wav", "a/2.wav"):
        journal.fail(BASE / name, "has no samples")
    write_tables(journal, ["csv"])
    assert {path.name for path in labels.iterdir()} == {"2.wav.Table.1.selections.txt", "1.wav.TextGrid"}
    assert (journal.folder / "labels" / "quiet.wav.txt").exists()


def test_no_format_gets_old_beside_the_others(journal):
    write_tables(journal, ["csv", "audacity"])
    (journal.folder / "labels" / "a" / "1.wav.txt").unlink()
    journal.finish(BASE / "quiet.wav", FoundInRecording(5.0, 8000, 1, Quality(), (MORE,)))
    written = write_tables(journal, ["desed"]).written
    assert {path.name for path in written} == {"events.csv", "files.csv", "labels", "desed.tsv", "failed.csv"}
    assert len(read(journal.folder / "events.csv")) == 3
    assert {path.name for path in (journal.folder / "labels").rglob("*.txt")} >= {"1.wav.txt", "quiet.wav.txt"}
    assert not (journal.folder / "raven.txt").exists()
    (journal.folder / "desed.tsv").unlink()
    assert journal.folder / "desed.tsv" not in write_tables(journal, ["csv"]).written


def test_a_zone_is_that_of_the_tables(journal):
    """It can be given later, and changes only times that name none."""
    start = datetime(2026, 5, 1, 6)
    origin = Origin(start, "name")
    journal.finish(BASE / "quiet.wav", FoundInRecording(5.0, 8000, 1, Quality(), (MORE,), origin))
    times = {}
    for zone in (None, timezone(timedelta(hours=-3))):
        write_tables(journal, ["csv"], zone=zone)
        times[zone] = [row["time"] for row in read(journal.folder / "events.csv")]
        assert read(journal.folder / "files.csv")[3]["start"] == times[zone][2]
    first, second = times.values()
    assert first[:2] == second[:2]
    assert (first[2], second[2]) == ("2026-05-01T06:00:00.000", "2026-05-01T06:00:00.000-03:00")


def test_one_table_of_raven_for_all_recordings(journal):
    write_tables(journal, ["raven"])
    with (journal.folder / "raven.txt").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    columns = ("Selection", "Begin Time (s)", "End Time (s)", "File Offset (s)", "Begin Path")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("1", "58.25", "60.0", "58.25", "/archive/a/1.wav"),
        ("2", "60.0", "62.5", "0.0", "/archive/a/2.wav"),
    ]


def test_a_file_where_a_folder_should_be(journal):
    (journal.folder / "labels").write_text("by hand")
    with pytest.raises(HtsatEdgeError, match=r"labels/a: cannot be made: Not a directory"):
        write_tables(journal, ["audacity"])


def test_names_that_would_be_too_long(tmp_path):
    suffix, long = ".Table.1.selections.txt", "é" * 124
    assert name_beside("é" * 114 + ".wav", suffix) == "é" * 114 + ".wav" + suffix
    names = {name_beside(long + end, suffix) for end in ("1.wav", "2.wav", os.fsdecode(b"\xe9.wav"))}
    assert len(names) == 3
    for name in names:
        (tmp_path / name).write_text("")
        assert name.startswith("é" * 107)
        assert name.endswith(suffix)
        assert name.encode()


def test_a_library_that_is_missing_is_said_before_anything_is_written(journal, monkeypatch):
    def missing():
        raise HtsatEdgeError("Parquet needs pyarrow")

    monkeypatch.setitem(tables.FORMATS, "parquet", tables.Format("", "events.parquet", print, require=missing))
    with pytest.raises(HtsatEdgeError, match="needs pyarrow"):
        write_tables(journal, ["csv", "parquet"])
    assert not (journal.folder / "failed.csv").exists()
