"""`htsat-edge detect --format`: what stands there are the events themselves; and when recordings say they were made."""

import csv
import io
import json
import shutil
import sys
from datetime import datetime

import pytest
import soundfile

from htsat_edge.runtime.archive.formats import FORMATS
from htsat_edge.runtime.commands import options_recordings

HOP = ("--hop-s", 1.28, "--backend", "onnxruntime")


@pytest.fixture
def detect(command):
    return lambda *arguments: command("detect", *arguments, *HOP)


@pytest.fixture
def final(detect, tmp_path):
    """The ends of events of recordings as messages, where nothing starts early."""
    config = tmp_path / "final.yaml"
    config.write_text("detection: {early_margin: null}")

    def run(*arguments):
        out = detect(*arguments, "--config", config, "--json")[1]
        ends = [one for one in map(json.loads, out.splitlines()) if one["type"] == "end"]
        return sorted(ends, key=lambda one: (one["source"], one["onset"], one["label"]))

    return run


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_names_of_the_options_are_those_of_the_formats():
    assert tuple(FORMATS) == options_recordings.FORMATS


def test_a_table_of_all_recordings_has_the_final_events(detect, final, farmyard, tmp_path):
    short = tmp_path / "short.flac"
    samples, rate = soundfile.read(farmyard)
    soundfile.write(short, samples[: 12 * rate], rate)
    options = (farmyard, short, "--threshold", 0.3)  # an engine is heard early there, and not in the end
    status, out, err = detect(*options, "--format", "csv")
    assert (status, err) == (0, "")
    found = [
        (row["file"], row["label"], *(float(row[key]) for key in ("onset", "offset", "score"))) for row in rows_of(out)
    ]
    wanted = [tuple(one[key] for key in ("source", "label", "onset", "offset", "score")) for one in final(*options)]
    assert sorted(found) == sorted(wanted)
    assert [row["channel"] for row in rows_of(out)] == ["0"] * len(found)
    assert len(found) > 4


def test_a_file_takes_the_place_of_an_older_one(detect, farmyard, tmp_path):
    out = tmp_path / "found.jsonl"
    out.write_text("old")
    assert detect(farmyard, "--format", "jsonl", "--out", out) == (0, "", "")
    first, *_ = map(json.loads, out.read_text().splitlines())
    assert (first["file"], first["label"], first["time"]) == (str(farmyard), "Speech", None)
    assert [path.name for path in tmp_path.iterdir()] == ["found.jsonl"]


def test_one_recording_in_a_format_of_one_goes_to_stdout(detect, farmyard):
    status, out, err = detect(farmyard, "--format", "audacity", "--labels", "Speech")
    assert (status, err) == (0, "")
    ((onset, offset, label),) = [line.split("\t") for line in out.splitlines()]
    assert (0 < float(onset) < float(offset) < 10, label) == (True, "Speech")


def test_each_recording_has_a_file_in_a_folder(detect, farmyard, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    (tmp_path / "quiet.wav").write_bytes(b"")
    soundfile.write(tmp_path / "quiet.wav", [0.0] * 64_000, 32_000)
    folder = tmp_path / "made" / "labels"
    files = [farmyard, tmp_path / "broken.wav", tmp_path / "quiet.wav"]
    status, out, err = detect(*files, "--format", "audacity", "--out", folder)
    assert (status, out) == (2, "")
    assert err.startswith(f"htsat-edge: {tmp_path}/broken.wav: is no recording")
    assert sorted(path.name for path in folder.iterdir()) == ["farmyard.flac.txt", "quiet.wav.txt"]
    assert (folder / "quiet.wav.txt").read_text() == ""
    assert "\tThunder\n" in (folder / "farmyard.flac.txt").read_text()


def test_a_recording_that_cannot_be_read_leaves_what_was_there(detect, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    (tmp_path / "labels.txt").write_text("mine")
    assert detect(tmp_path / "broken.wav", "--format", "raven", "--out", tmp_path / "labels.txt")[0] == 2
    assert (tmp_path / "labels.txt").read_text() == "mine"


def test_channels_have_numbers(detect, farmyard, tmp_path):
    samples, rate = soundfile.read(farmyard)
    both = tmp_path / "both.flac"
    soundfile.write(both, [[one / 2, one] for one in samples[: 8 * rate]], rate)
    for channel, wanted in (("each", {"1", "2"}), ("2", {"2"}), ("first", {"1"}), ("mix", {"0"})):
        status, out, _ = detect(both, "--format", "csv", "--channel", channel)
        assert (status, {row["channel"] for row in rows_of(out)}) == (0, wanted)
    assert {row["file"] for row in rows_of(out)} == {str(both)}


def test_what_was_read_of_a_damaged_recording_is_written(detect, farmyard, tmp_path):
    path = tmp_path / "x.flac"
    path.write_bytes(farmyard.read_bytes()[: farmyard.stat().st_size // 2])
    status, out, err = detect(path, "--format", "csv")
    assert status == 2
    assert "is truncated or damaged after" in err
    assert {"Speech"} <= {row["label"] for row in rows_of(out)}


def test_what_cannot_be_is_said_before_any_work(command, farmyard, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setattr("htsat_edge.runtime.commands.detect.load_model", lambda *_: pytest.fail("the model was loaded"))
    (tmp_path / "farmyard.flac.txt").write_text("mine")
    (tmp_path / "events.csv").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(farmyard)
    shutil.copy(farmyard, tmp_path / "other")
    for options, message in (
        (["--out", "x.csv"], "--out x.csv: in which format? give --format, too: csv, parquet,"),
        (["--format", "csv", "--json"], "--format csv: not together with --json"),
        (["--format", "csv", "--top", "3"], "--format csv: not together with --top"),
        (["--format", "parquet"], "--format parquet: is no text; give --out FILE, such as events.parquet"),
        ([tmp_path / "x.wav", "--format", "audacity"], "--format audacity: has a file for each recording; give"),
        (["--format", "parquet", "--out", tmp_path / "x"], 'Parquet needs pyarrow: pip install "htsat-edge[archive]"'),
        (["--format", "audacity", "--out", tmp_path], f"--out: {tmp_path}/farmyard.flac.txt is there already; give"),
        (["--format", "csv", "--out", tmp_path], f"--out: {tmp_path}/events.csv is there already; give"),
        (["--format", "csv", "--out", tmp_path / "no" / "x"], f"{tmp_path}/no/x: cannot be written: No such file"),
        (
            [tmp_path / "other/farmyard.flac", "--format", "audacity", "--out", tmp_path / "new"],
            f"{tmp_path}/new: {farmyard} and {tmp_path}/other/farmyard.flac would both be written as farmyard.flac.txt",
        ),
        (
            ["--format", "csv", "--out", tmp_path / "link"],
            f"--out {tmp_path}/link: is the recording itself; give another",
        ),
        (["--sounds", tmp_path / "no"], f"--sounds {tmp_path}/no: no such folder"),
        (["--timezone", "Mars"], "--timezone: 'Mars' is no time zone; want a name such as Europe/Berlin"),
    ):
        status, out, err = command("detect", farmyard, *options)
        assert (status, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    assert {path.read_text() for path in (tmp_path / "farmyard.flac.txt", tmp_path / "events.csv")} == {"mine"}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "time", "shown"),
    [
        ((), "2026-05-01T21:30:", "2026-05-01 21:30:00\n"),
        (("--timezone", "Asia/Kolkata"), "2026-05-01T21:30:..+05:30", "2026-05-01 21:30:00+0530\n"),
        (("--timezone", "local"), "2026-05-01T21:30:..+02:00", "2026-05-01 21:30:00\n"),
        (("--start", "2026-01-01T12:00"), "2026-01-01T12:00:..+01:00", "2026-01-01 12:00:00\n"),
        (
            ("--start", "2026-01-01T12:00", "--timezone", "UTC-5"),
            "2026-01-01T12:00:..-05:00",
            "2026-01-01 12:00:00-0500\n",
        ),
        (
            ("--start", "2026-01-01T12:00Z", "--timezone", "UTC-5"),
            "2026-01-01T12:00:..+00:00",
            "2026-01-01 12:00:00+0000\n",
        ),
    ],
)
def test_the_time_of_a_recording_is_the_one_it_says(options, time, shown, detect, farmyard, tmp_path, in_zone):
    in_zone("Europe/Berlin")
    path = tmp_path / "SITE_20260501_213000.flac"
    shutil.copy(farmyard, path)
    first, *_ = rows_of(detect(path, "--format", "csv", *options)[1])
    begun, _, zone = time.partition("..")
    assert first["time"].startswith(begun)
    assert datetime.fromisoformat(first["time"]).second == int(float(first["onset"]))
    assert first["time"][len("2026-05-01T21:30:00.000") :] == zone
    assert shown in detect(path, *options)[1]
    first, *_ = map(json.loads, detect(path, "--json", *options)[1].splitlines())
    # A message has a time of day with its offset from UTC, or none.
    assert first["time"].startswith(begun) if zone else first["time"] is None
