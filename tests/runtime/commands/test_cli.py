"""The command line as a user meets it: what it prints, where, and with which exit status."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from htsat_edge.runtime.commands.cli import main
from htsat_edge.runtime.commands.detect import pick_labels
from htsat_edge.runtime.common.errors import HtsatEdgeError


def detect(capsys, *arguments):
    """Run `htsat-edge detect`; return its exit status, stdout and stderr."""
    try:
        status = main(["detect", *map(str, arguments)])
    except SystemExit as error:  # argparse
        status = error.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def noise(tmp_path):
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 64_000), 32_000)
    return path


def test_it_tells_its_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("htsat-edge 0.")


def test_a_table_for_people(capsys, tiny_bundle, noise):
    status, out, err = detect(capsys, noise, "--bundle", tiny_bundle, "--threshold", 0.3, "--top", 2)
    assert (status, err) == (0, "")
    assert "noise.wav  0:02.00" in out
    assert "class" in out
    assert "highest" in out


def test_nothing_found_says_so(capsys, tiny_bundle, noise):
    status, out, _ = detect(capsys, noise, "--bundle", tiny_bundle, "--threshold", 0.999)
    assert status == 0
    assert "no events" in out


def test_json_lines_for_machines(capsys, tiny_bundle, noise):
    options = [
        "--bundle",
        tiny_bundle,
        "--threshold",
        0.3,
        "--json",
        "--start",
        "2026-05-01T21:30:00+05:30",
        "--top",
        1,
    ]
    status, out, err = detect(capsys, noise, *options)
    assert (status, err) == (0, "")
    *events, top = [json.loads(line) for line in out.splitlines()]
    assert {event["type"] for event in events} == {"start", "end"}
    for event in events:
        assert set(event) == {"type", "source", "label", "onset", "time", "score"} | ({"offset"} & set(event))
        assert ("offset" in event) == (event["type"] == "end")
        assert event["source"] == str(noise)
        assert event["time"].startswith("2026-05-01T21:30:0")
        assert event["time"].endswith("+05:30")
    assert top["type"] == "status"
    assert top["top"][0]["score"] == max(event["score"] for event in events)


def test_only_these_labels(capsys, tiny_bundle, noise):
    options = ["--bundle", tiny_bundle, "--threshold", 0.1, "--json", "--labels", "class 1, CLASS 7"]
    _, out, _ = detect(capsys, noise, *options)
    labels = {json.loads(line)["label"] for line in out.splitlines()}
    assert labels == {"class 1", "class 7"}


def test_a_broken_file_is_reported_and_the_rest_done(capsys, tiny_bundle, noise, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    files = [noise, tmp_path / "broken.wav", tmp_path / "absent.wav", tmp_path, noise]
    status, out, err = detect(capsys, *files, "--bundle", tiny_bundle)
    assert status == 2
    assert out.count("noise.wav  0:02.00") == 2
    assert len(err.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "1.5"], "1.5 is not between 0 and 1"),
        (["--threshold", "high"], "'high' is not a number"),
        (["--top", "0"], "'0' is not a whole number from 1 on"),
        (["--hop-s", "-1"], "-1 is not a positive number of seconds"),
        (["--hop-s", "99"], "hop of 99 s: want between 0.32 and 10.24 s"),
        (["--labels", "clas 1"], "'clas 1' is no class of this model, meant class 1?"),
        (["--labels", ""], "'' is no class of this model"),
        (["--labels", "zebra"], "the model knows class 0; class 1"),
        (["--precision", "int3"], "has no int3.onnx; precisions here: fp32"),
        (["--bundle", "/nowhere"], "/nowhere: no such bundle"),
        (["--start", "noon"], "'noon' is not a time such as"),
        (["--plot", "/nowhere/x.png"], "there is no folder /nowhere"),
        (["--tpo", "3"], "unrecognized arguments: --tpo 3"),
    ],
)
def test_impossible_options_are_one_line(capsys, tiny_bundle, noise, arguments, message):
    options = [] if "--bundle" in arguments else ["--bundle", tiny_bundle]
    status, out, err = detect(capsys, noise, *options, *arguments)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_no_command_and_no_file_are_one_line(capsys):
    for arguments in ([], ["detect"], ["detcet"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_picture(capsys, tiny_bundle, noise, tmp_path):
    status, _, _ = detect(capsys, noise, "--bundle", tiny_bundle, "--plot", tmp_path / "x.png")
    assert status == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))


def test_a_folder_of_pictures(capsys, tiny_bundle, noise, tmp_path, farmyard):
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert detect(capsys, noise, farmyard, "--bundle", tiny_bundle, "--plot", folder)[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["farmyard.flac.png", "noise.wav.png"]
    status, _, err = detect(capsys, noise, farmyard, "--bundle", tiny_bundle, "--plot", tmp_path / "x.png")
    assert status == 2
    assert "is no folder, and 2 recordings need a picture each" in err


def test_a_recording_is_never_taken_for_the_picture(capsys, tiny_bundle, noise, tmp_path):
    content = noise.read_bytes()
    status, _, err = detect(capsys, "--bundle", tiny_bundle, "--plot", noise, noise)
    assert status == 2
    assert "want the name of a .png file, or a folder that exists" in err
    assert noise.read_bytes() == content
    (tmp_path / "b").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "b" / "noise.wav").write_bytes(content)
    status, _, err = detect(capsys, noise, tmp_path / "b" / "noise.wav", "--plot", tmp_path / "pictures")
    assert status == 2
    assert "two recordings have the same name" in err


def test_names_are_printed_as_they_are(capsys, tiny_bundle, noise, tmp_path):
    (tmp_path / "[bold]song[").mkdir()
    path = noise.rename(tmp_path / "[bold]song[" / "x] :dog: $x^$.wav")
    status, out, err = detect(capsys, path, "--bundle", tiny_bundle, "--plot", tmp_path / "x.png")
    assert (status, err) == (0, "")
    assert str(path) in out


def shell(command, **environment):
    environment = {**{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **environment}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False, env=environment
    )


def test_a_reader_that_leaves_is_no_error(tiny_bundle, noise):
    """The reader is gone before the first line is written."""
    command = f"{sys.executable} -m runtime detect {noise} --bundle {tiny_bundle} --threshold 0.3 --json"
    result = shell(f"{command} | true")
    assert (result.returncode, result.stderr) == (0, "")
    result = shell(f"{command} > /dev/full")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def test_a_terminal_that_knows_only_ascii(tiny_bundle, noise):
    command = f"{sys.executable} -m runtime detect {noise} --bundle {tiny_bundle} --threshold 0.3"
    result = shell(command, PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_label_may_hold_a_comma():
    known = ["Dog", "Gunshot, gunfire", "Walk, footsteps"]
    assert pick_labels("gunshot, gunfire,dog", known) == ["Gunshot, gunfire", "Dog"]
    assert pick_labels("Dog", known) == ["Dog"]
    with pytest.raises(HtsatEdgeError, match="'gunshot' is no class of this model"):
        pick_labels("gunshot,Dog", known)


def test_the_backend_can_be_named(capsys, tiny_bundle, noise, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.MODULES", {"tensorrt": ("no_such_module",)})
    options = [noise, "--bundle", tiny_bundle, "--json", "--threshold", 0.3]
    wanted = detect(capsys, *options)
    assert wanted[0] == 0
    assert detect(capsys, *options, "--backend", "onnxruntime") == wanted
    status, out, err = detect(capsys, *options, "--backend", "tensorrt")
    assert (status, out) == (2, "")
    assert err.startswith("htsat-edge: TensorRT for Python is not there; on a Jetson: sudo apt install")
    assert "without it htsat-edge runs on onnxruntime" in err


def test_an_engine_is_used_where_one_was_built(capsys, tiny_bundle, noise, fake_tensorrt, tmp_path, monkeypatch):
    import shutil

    from htsat_edge.export.build_trt import main as build

    monkeypatch.setattr("htsat_edge.export.validate.RUNS", 3)
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    wanted = detect(capsys, noise, "--bundle", bundle, "--json", "--threshold", 0.3)
    fake = fake_tensorrt("10.3.0")
    assert build([str(bundle), "--precision", "fp32"]) == 0
    capsys.readouterr()
    fake.LOG.clear()
    assert detect(capsys, noise, "--bundle", bundle, "--json", "--threshold", 0.3) == wanted
    assert fake.LOG[-5:] == ["free", "free", "free", "free", "stream"]
