"""`htsat-edge detect` of recordings with several channels, and of standard input."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile


@pytest.fixture
def write(farmyard, tmp_path):
    """Write the farmyard recording with a channel for each gain."""

    def run(name, *gains):
        mono, rate = soundfile.read(farmyard, dtype="float32")
        soundfile.write(tmp_path / name, np.stack([mono * gain for gain in gains], axis=1), rate, "FLOAT")
        return tmp_path / name

    return run


@pytest.fixture
def events(command):
    """The messages of a recording but for their source, and all of them, at a threshold that the barks are above.

    The hop is long: channels know none.
    """

    def run(path, *arguments):
        status, out, err = command("detect", path, "--json", "--hop-s", 1.28, "--threshold", 0.3, *arguments)
        assert status == 0, err
        messages = [json.loads(line) for line in out.splitlines()]
        return [{k: v for k, v in message.items() if k != "source"} for message in messages], messages

    return run


@pytest.mark.parametrize("gains", [(1, -1), (0, 0, 0, 1, 0, 0), (1, 1), (1, 0)])
def test_a_recording_is_heard_whatever_its_channels(gains, write, events, farmyard, caplog):
    """Two that cancel each other, and one that is live of six, give the events of the recording itself."""
    wanted, _ = events(farmyard)
    assert {event["label"] for event in wanted if event["type"] == "end"} >= {"Speech", "Dog", "Thunder", "Fowl"}
    assert events(write("a.wav", *gains))[0] == wanted
    assert len(caplog.records) == (gains != (1, 1))


@pytest.mark.parametrize(("channel", "gains"), [("first", (1, 0.2)), ("2", (0.2, 1)), ("loudest", (0.1, 1, 0.2))])
def test_one_channel_is_chosen(channel, gains, write, events, farmyard):
    assert events(write("a.wav", *gains), "--channel", channel)[0] == events(farmyard)[0]


def test_each_channel_has_events_of_its_own(write, events, farmyard, command, tmp_path):
    path = write("a.wav", 1, 0, -1)
    wanted, _ = events(farmyard)
    found, messages = events(path, "--channel", "each")
    assert found == wanted * 2
    assert [message["source"] for message in messages] == [f"{path}/1"] * len(wanted) + [f"{path}/3"] * len(wanted)
    status, out, err = command("detect", path, "--channel", "each", "--hop-s", 1.28, "--plot", tmp_path / "x.png")
    assert (status, err) == (0, "")
    assert f"{path}/2  0:27.00\n  no events" in out
    assert sorted(file.name for file in tmp_path.glob("*.png")) == ["x-1.png", "x-2.png", "x-3.png"]


def test_a_picture_never_takes_the_place_of_a_file_that_nobody_named(tiny_bundle, noise, command, tmp_path):
    mono, rate = soundfile.read(noise, dtype="float32")
    path, folder = tmp_path / "a.wav", tmp_path / "pictures"
    soundfile.write(path, np.stack([mono, mono], axis=1), rate)
    folder.mkdir()
    each = ("detect", path, "--bundle", tiny_bundle, "--channel", "each", "--plot")
    whole = ("detect", path, "--bundle", tiny_bundle, "--plot")
    for options, place, name in ((each, "x.png", "x-2.png"), (each, "", "a.wav-2.png"), (whole, "", "a.wav.png")):
        assert command(*options, folder / place)[0] == 0
        assert command(*options, folder / place)[0] == 0  # over its own
        for picture in folder.iterdir():
            picture.unlink()
        (folder / name).write_bytes(b"\x89PNG of mine")
        status, out, err = command(*options, folder / place)
        assert (status, out) == (2, "")
        assert f"--plot: {folder / name}: was not written by htsat-edge, and is left as it is" in err
        assert [file.read_bytes() for file in folder.iterdir()] == [b"\x89PNG of mine"]
        (folder / name).unlink()


def test_standard_input_is_a_recording(tiny_bundle, noise, command, tmp_path):
    options = ["--bundle", tiny_bundle, "--threshold", "0.3", "--json", "--plot", tmp_path]
    run = [sys.executable, "-m", "htsat_edge", "detect", "-", *options]
    done = subprocess.run(run, input=noise.read_bytes(), capture_output=True, check=True)
    wanted = command("detect", noise, *options)[1]
    assert wanted
    assert done.stdout.decode() == wanted.replace(f'"source": "{noise}"', '"source": "stdin"')
    assert (tmp_path / "stdin.png").is_file()
    status, _, err = command("detect", os.devnull, "--bundle", tiny_bundle)
    assert (status, len(err.splitlines())) == (2, 1)
