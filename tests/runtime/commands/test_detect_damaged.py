"""What can be heard of a damaged recording is reported; then it is one line, and exit status 2."""

import json
import re
import subprocess

import pytest

DAMAGED = r"is truncated or damaged after (\d+\.\d{3}) s; copy it again, or convert what is left of it"


@pytest.fixture
def broken_off(farmyard, tmp_path):
    """Write the farmyard with ffmpeg, but for the last of its bytes."""

    def make(name, *options):
        path = tmp_path / name
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", farmyard, *options, path], check=True)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        return path

    return make


def events_of(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_wav_that_broke_off_is_heard_with_one_warning(command, broken_off, farmyard, caplog):
    path = broken_off("x.wav")
    status, out, _ = command("detect", path, "--json")
    assert status == 0
    (line,) = caplog.messages
    assert "its header claims 1728000 bytes of samples (27.000 s), but 10367" in line
    found, wanted = events_of(out), events_of(command("detect", farmyard, "--json")[1])
    assert [one["label"] for one in found if one["type"] == "start"] == [
        one["label"] for one in wanted if one["type"] == "start" and one["onset"] < 16.2
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [("x.flac", ()), ("x.mp3", ("-b:a", "128k")), ("x.ogg", ("-c:a", "libvorbis")), ("x.mkv", ("-c:a", "flac"))],
)
def test_events_before_the_damage_are_reported(name, options, command, broken_off, farmyard):
    path = broken_off(name, *options)
    status, out, err = command("detect", path, farmyard, "--json", "--hop-s", 1.28)
    (line,) = err.splitlines()
    assert status == 2
    end_s = float(re.fullmatch(f"htsat-edge: {path}: {DAMAGED}", line)[1])
    assert 15 < end_s < 18
    messages = events_of(out)
    found = [one for one in messages if one["source"] == str(path)]
    others = [one for one in messages if one["source"] == str(farmyard)]
    assert {one["label"] for one in others if one["onset"] > end_s} >= {"Fowl"}
    starts = [one["id"] for one in found if one["type"] == "start"]
    assert sorted(starts) == sorted(one["id"] for one in found if one["type"] == "end")
    assert len(starts) == len([one for one in others if one["type"] == "start" and one["onset"] < end_s])
    assert all(one["offset"] <= end_s + 0.001 for one in found if one["type"] == "end")


def test_the_table_ends_where_the_recording_does(command, broken_off):
    path = broken_off("x.flac")
    status, out, err = command("detect", path, "--threshold", 0.3)
    assert status == 2
    assert re.search(r"x\.flac  0:1[567]\.\d\d", out)
    assert "Dog" in out
    assert re.fullmatch(f"htsat-edge: {path}: {DAMAGED}\n", err)


def test_what_cannot_be_read_at_all_is_refused(command, broken_off):
    path = broken_off("x.flac")
    path.write_bytes(path.read_bytes()[:100])
    status, out, err = command("detect", path)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
