"""`htsat-edge scan`, as a user meets it."""

import csv
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.archive.journal import JournalTotals
from htsat_edge.runtime.archive.tables import WrittenTables
from htsat_edge.runtime.commands import scan as module
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of

FARMYARD = Path(__file__).parents[2] / "data" / "recordings" / "farmyard.flac"


def rows(path):
    with path.open(encoding="utf-8") as file:
        return [*csv.DictReader(file)]


@pytest.fixture
def archive(tmp_path):
    """A folder with a recording, one that is none, and one that holds nothing to be heard."""
    folder = tmp_path / "archive"
    (folder / "site").mkdir(parents=True)
    shutil.copy(FARMYARD, folder / "site" / "20260501_053000.flac")
    (folder / "bad.wav").write_text("no audio")
    return folder


def test_the_events_are_those_of_detect(command, archive, tmp_path):
    status, out, err = command("scan", archive, "--out", tmp_path / "out", "--processes", 1, "--format", "csv,jsonl")
    assert (status, err) == (2, f"htsat-edge: 1 of 2 recordings failed: {tmp_path / 'out' / 'failed.csv'}\n")
    assert out.startswith("1 recording, 0.5 min, 4 events, ")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        *("events.csv", "events.jsonl", "failed.csv", "files.csv", "files.jsonl", "journal.sqlite", "summary.html"),
    }
    recording = archive / "site" / "20260501_053000.flac"
    assert command("detect", recording, "--format", "csv", "--out", tmp_path / "detected.csv")[0] == 0
    found = rows(tmp_path / "out" / "events.csv")
    assert found == rows(tmp_path / "detected.csv")
    assert found[0]["time"].startswith("2026-05-01T05:30:01.28")
    assert [row["file"] for row in rows(tmp_path / "out" / "files.csv")] == [str(recording)]
    assert [row["file"] for row in rows(tmp_path / "out" / "failed.csv")] == [str(archive / "bad.wav")]


def test_the_same_command_goes_on(command, archive, tmp_path):
    common = ("--out", tmp_path / "out", "--processes", 1, "--exclude", "bad*")
    status, out, err = command("scan", archive, *common)
    assert (status, err) == (0, "")
    assert "real time" in out
    status, out, err = command("scan", archive, *common, "--labels", "Bird")
    assert (status, out) == (2, "")
    assert "was begun with another --labels; give these as before" in err
    common += ("--hop", 0.32)  # what it is by default
    status, out, err = command("scan", archive, *common, "--format", "desed", "--timezone", "UTC")
    assert (status, err) == (0, "")
    assert "real time" not in out  # nothing was to be heard
    events = rows(tmp_path / "out" / "events.csv")
    assert len(events) == 4
    assert all(event["time"].startswith("2026-05-01T05:30") for event in events)
    assert all(event["time"].endswith("+00:00") for event in events)  # a zone that was forgotten costs nothing
    assert len((tmp_path / "out" / "desed.tsv").read_text().splitlines()) == 5


def test_a_table_that_a_person_has_changed_is_named_and_stays(command, archive, tmp_path):
    common = ("--out", tmp_path / "out", "--processes", 1, "--exclude", "bad*", "--format", "csv,audacity")
    assert command("scan", archive, *common)[0] == 0
    labels = tmp_path / "out" / "labels" / "site" / "20260501_053000.flac.txt"
    labels.write_text("0.5\t1.5\tmy rooster\n")
    kept = "changed since we wrote there, and left as is; move away what is to be written anew\n"
    status, _, err = command("scan", archive, *common)
    assert (status, err) == (0, f"htsat-edge: labels/site/20260501_053000.flac.txt was {kept}")
    (tmp_path / "out" / "events.csv").write_text("")
    status, _, err = command("scan", archive, *common)
    assert (status, err) == (0, f"htsat-edge: events.csv and 1 other file were {kept}")
    assert labels.read_text() == "0.5\t1.5\tmy rooster\n"


def test_a_start_without_a_zone_is_local_time(command, archive, tmp_path, in_zone):
    in_zone("UTC-3")
    common = ("--out", tmp_path / "out", "--processes", 1, "--exclude", "bad*", "--start", "2026-05-01T05:30")
    for options, offset in ([], "+03:00"), (["--timezone", "UTC"], "+00:00"):
        assert command("scan", archive, *common, *options)[0] == 0
        assert rows(tmp_path / "out" / "files.csv")[0]["start"] == f"2026-05-01T05:30:00.000{offset}"


def test_after_ctrl_c_a_table_that_cannot_be_written_is_still_said(command, archive, tmp_path, monkeypatch):
    def stop(*_):
        signal.raise_signal(signal.SIGINT)

    def fail(*_, **__):
        raise HtsatEdgeError("events.csv: cannot be written: No space left on device")

    monkeypatch.setattr(module, "scan", stop)
    monkeypatch.setattr(module, "write_tables", fail)
    status, out, err = command("scan", archive, "--out", tmp_path / "out", "--processes", 1)
    assert (status, out) == (130, "")
    assert err == "htsat-edge: events.csv: cannot be written: No space left on device\n"


def test_the_events_are_counted_as_the_tables_have_them(tmp_path, capsys):
    totals = JournalTotals(0, 0, 2, 10, 7200.0, 0, 0, 1, 5)
    tables = WrittenTables([tmp_path / "events.csv"], 0, None)
    assert module.tell(tmp_path, totals, (tables, 4), 0.0, is_stopped=False) == 2
    printed = capsys.readouterr()
    assert printed.out == f"2 recordings, 2.0 h, 4 events; in {tmp_path}: events.csv\n"
    assert printed.err == f"htsat-edge: 1 folder or link cannot be read: {tmp_path / 'failed.csv'}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["several", ""], "FOLDER: an empty name"),
        (["several", "--out", ""], "argument --out: has an empty name; write . for the current folder"),
        (["out"], "--out out: is a folder of recordings; give another one"),
        (["s3://bucket/folder"], "s3://bucket/folder: is a URL: hear it on a cluster (--ray), or copy"),
        (["empty"], "empty: no recordings are there"),
        (["empty", "--format", "ravn"], "'ravn' is none of"),
        (["empty", "--timezone", "Europe/Nowhere"], "--timezone: "),
        (["several", "--start", "2026-05-01T05:30"], "--start: these are several recordings"),
        (["several", "--source", "garden"], "--source garden: is a source of a configuration"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(command, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "several", "out"):
        Path(name).mkdir()
    for name in ("1.wav", "2.wav"):
        soundfile.write(Path("several") / name, np.zeros(320), 32_000)
    status, out, err = command("scan", *arguments, "--out", "out")
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_ctrl_c_writes_what_is_done_and_says_how_to_go_on(archive, tmp_path, wait_for):
    soundfile.write(archive / "z.flac", np.zeros(2400 * 8000), 8000)  # far more than is heard before the interrupt
    out = tmp_path / "out"
    scan = command_of("htsat_edge", "scan", str(archive), "--out", str(out), "--processes", "1")
    restore = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # as on a terminal, not under nohup
    with subprocess.Popen(
        scan, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=restore, start_new_session=True
    ) as process:
        wait_for(lambda: done_in(out) == 1 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        printed, errors = process.communicate()
    assert process.returncode == 130
    assert printed.startswith("1 recording, 0.5 min, 4 events, ")
    assert errors.splitlines() == [
        f"htsat-edge: 1 of 3 recordings failed: {out / 'failed.csv'}",
        "htsat-edge: stopped; 1 recording to go: the same command goes on",
    ]
    assert len(rows(out / "events.csv")) == 4
    assert "1 recording still to be heard" in (out / "summary.html").read_text(encoding="utf-8")


def done_in(out):
    """How many recordings a run has done that goes on: its journal is copied, since it keeps that to itself."""
    copy = out.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in out.glob("journal.sqlite*") if out.exists() else ():
        shutil.copy(path, copy)
    with closing(sqlite3.connect(copy / "journal.sqlite")) as database, suppress(sqlite3.Error):
        return database.execute("SELECT count(*) FROM files WHERE state = 1").fetchone()[0]
