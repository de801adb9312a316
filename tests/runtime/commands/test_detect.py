import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.commands.detect_config import split_labels
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import ModelInfo

ROOT = Path(__file__).parents[3]


@pytest.fixture
def detect(command):
    return lambda *arguments: command("detect", *arguments)


def test_a_table_for_people(detect, tiny_bundle, noise):
    status, out, err = detect(noise, "--bundle", tiny_bundle, "--threshold", 0.3, "--top", 2)
    assert (status, err) == (0, "")
    assert "noise.wav  0:02.00" in out
    assert "class" in out
    assert "highest" in out


def test_nothing_found_says_so(detect, tiny_bundle, noise):
    status, out, _ = detect(noise, "--bundle", tiny_bundle, "--threshold", 0.999)
    assert status == 0
    assert "no events; --top 5 shows the classes that scored highest\n" in out
    _, out, _ = detect(noise, "--bundle", tiny_bundle, "--threshold", 0.999, "--top", 2)
    assert "  no events\n" in out


def test_json_lines_for_machines(detect, tiny_bundle, noise):
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
    status, out, err = detect(noise, *options)
    assert (status, err) == (0, "")
    *events, top = [json.loads(line) for line in out.splitlines()]
    assert {event["type"] for event in events} == {"start", "end"}
    for event in events:
        keys = ["type", "source", "id", "label", "onset", "offset", "time", "score"]
        assert list(event) == [key for key in keys if key != "offset" or event["type"] == "end"]
        assert event["source"] == str(noise)
        assert event["time"].startswith("2026-05-01T21:30:0")
        assert event["time"].endswith("+05:30")
    assert [event["id"] for event in events if event["type"] == "start"] == list(range(1, len(events) // 2 + 1))
    assert list(top) == ["type", "source", "state", "time", "top"]
    assert (top["type"], top["source"], top["state"], top["time"]) == ("status", str(noise), "top_scores", None)
    assert list(top["top"][0]) == ["label", "score", "threshold", "at"]
    assert top["top"][0]["score"] == max(event["score"] for event in events if event["type"] == "end")


def test_only_these_labels(detect, tiny_bundle, noise):
    options = ["--bundle", tiny_bundle, "--threshold", 0.1, "--json", "--labels", "class 1, CLASS 7"]
    _, out, _ = detect(noise, *options)
    labels = {json.loads(line)["label"] for line in out.splitlines()}
    assert labels == {"class 1", "class 7"}
    _, out, _ = detect(noise, *options, "--top", 9)
    assert {one["label"] for one in json.loads(out.splitlines()[-1])["top"]} == labels


def test_a_broken_file_is_reported_and_the_rest_done(detect, tiny_bundle, noise, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    files = [noise, tmp_path / "broken.wav", tmp_path / "absent.wav", tmp_path, noise]
    status, out, err = detect(*files, "--bundle", tiny_bundle)
    assert status == 2
    assert out.count("noise.wav  0:02.00") == 2
    *missing, broken = err.splitlines()
    assert broken.startswith(f"htsat-edge: {tmp_path}/broken.wav: is no recording that can be read: ")
    assert missing == [
        f"htsat-edge: {tmp_path}/absent.wav: no such file",
        f"htsat-edge: {tmp_path}: is a folder; all that is in it: htsat-edge scan {tmp_path} --out RESULTS",
    ]


def test_what_is_no_file_is_said_before_the_model_is_loaded(detect, tmp_path):
    """The bundle is not there, either."""
    status, out, err = detect(tmp_path / "absent.wav", tmp_path / "absent.wav", "--bundle", tmp_path / "nowhere")
    assert (status, out, err) == (2, "", f"htsat-edge: {tmp_path}/absent.wav: no such file\n")


def test_a_recording_that_is_too_short_is_one_line(detect, tiny_bundle, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 32_000)
    status, out, err = detect(tmp_path / "short.wav", "--bundle", tiny_bundle)
    assert (status, out) == (2, "")
    assert err == f"htsat-edge: {tmp_path}/short.wav: 3.1 ms are too short for the model\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "1.5"], "1.5 is not between 0 and 1"),
        (["--threshold", "high"], "'high' is not a number"),
        (["--top", "0"], "'0' is not a whole number from 1 on"),
        (["--hop-s", "-1"], "-1 is not a positive number of seconds"),
        (["--hop-s", "99"], "hop of 99 s: want between 0.08 and 10.24 s"),
        (["--labels", "clas 1"], "--labels: 'clas 1' is no class of this model, meant class 1?"),
        (["--labels", ""], "--labels: '' is no class of this model"),
        (
            ["--labels", "clas 1,class 2,zebra"],
            "'clas 1' is no class of this model, meant class 1?; 'zebra' is no class of this model; the model knows ",
        ),
        (["--threads", "100000"], "100000 threads: this machine has "),
        (["--channel", "left"], "'left' is not mix, first, loudest, each or a number from 1 on"),
        (["--channel", "2"], "noise.wav: has only channel 1, but channel 2 is asked for"),
        (["--labels", "zebra"], "the model knows class 0; class 1"),
        (["--labels", "Big Zebra"], "`htsat-edge labels --search 'big zebra'` looks for it"),
        (["--precision", "int3"], "has no int3.onnx; precisions here: fp32"),
        (["--bundle", "/nowhere"], "/nowhere: no such bundle"),
        (["--start", "noon"], "'noon' is not a time such as"),
        (["--plot", "/nowhere/x.png"], "there is no folder /nowhere"),
        (["--tpo", "3"], "unrecognized arguments: --tpo 3, meant --top?"),
    ],
)
def test_impossible_options_are_one_line(detect, tiny_bundle, noise, arguments, message):
    options = [] if "--bundle" in arguments else ["--bundle", tiny_bundle]
    status, out, err = detect(noise, *options, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["https://me:secret@host/y.wav"], "detect: argument FILE: https://host/y.wav is a URL: download it first"),
        (["a.wav", "b.wav", "--start", "2026-05-01T21:30"], "--start: 2 recordings did not begin at one time; give"),
        (["a\x1b[31m.wav"], r"htsat-edge: a\x1b[31m.wav: no such file"),
    ],
)
def test_impossible_recordings_are_one_line(detect, tiny_bundle, arguments, message):
    status, out, err = detect(*arguments, "--bundle", tiny_bundle)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert "secret" not in err


def test_a_replay_gives_the_messages_that_are_kept(detect, monkeypatch):
    """To the byte; on another processor the last digit of a score may be another."""
    monkeypatch.chdir(ROOT)
    recording = "tests/data/recordings/farmyard.flac"
    options = ["--json", "--threshold", "0.3", "--precision", "fp32", "--backend", "onnxruntime"]
    status, out, err = detect(recording, *options)
    assert (status, err) == (0, "")
    wanted = Path("tests/data/recordings/farmyard.jsonl").read_text().splitlines()
    for line, kept in zip(out.splitlines(), wanted, strict=True):
        message, score = json.loads(line), json.loads(kept)["score"]
        assert message["score"] == pytest.approx(score, abs=1.5e-4)
        assert line.replace(f'"score": {message["score"]}', f'"score": {score}') == kept


def test_a_picture(detect, tiny_bundle, noise, tmp_path):
    status, _, _ = detect(noise, "--bundle", tiny_bundle, "--plot", tmp_path / "x.png")
    assert status == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))


def test_a_folder_of_pictures(detect, tiny_bundle, noise, tmp_path, farmyard):
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert detect(noise, farmyard, "--bundle", tiny_bundle, "--plot", folder)[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["farmyard.flac.png", "noise.wav.png"]
    status, _, err = detect(noise, farmyard, "--bundle", tiny_bundle, "--plot", tmp_path / "x.png")
    assert status == 2
    assert "is no folder, and 2 recordings need a picture each" in err


def test_a_recording_is_never_taken_for_the_picture(detect, tiny_bundle, noise, tmp_path):
    content = noise.read_bytes()
    status, _, err = detect("--bundle", tiny_bundle, "--plot", noise, noise)
    assert status == 2
    assert "want the name of a .png file, or a folder that exists" in err
    assert noise.read_bytes() == content


def test_recordings_of_one_name_are_named(detect, tiny_bundle, noise, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "pictures").mkdir()
    other = shutil.copy(noise, tmp_path / "b")
    status, out, err = detect(noise, other, "--bundle", tiny_bundle, "--plot", tmp_path / "pictures")
    assert (status, out) == (2, "")
    assert f"{noise} and {other} would both be drawn as noise.wav.png" in err
    assert detect(noise, noise, "--bundle", tiny_bundle, "--plot", tmp_path / "pictures")[0] == 0


def test_names_are_printed_as_they_are(detect, tiny_bundle, noise, tmp_path):
    (tmp_path / "[bold]song[").mkdir()
    path = noise.rename(tmp_path / "[bold]song[" / "x] :dog: $x^$.wav")
    status, out, err = detect(path, "--bundle", tiny_bundle, "--plot", tmp_path / "x.png")
    assert (status, err) == (0, "")
    assert str(path) in out


def test_a_name_whose_bytes_are_no_text_is_printed(detect, tiny_bundle, noise, tmp_path):
    path = noise.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    status, out, err = detect(path, "--bundle", tiny_bundle, "--json", "--threshold", 0.3)
    assert (status, err) == (0, "")
    assert json.loads(out.splitlines()[0])["source"] == f"{tmp_path}/\ufffd.wav"


def test_a_label_may_hold_a_comma():
    labels = ["Dog", "Gunshot, gunfire", "Walk, footsteps"]
    known = ModelInfo(name="three", front_end={}, frames=1024, steps=32, step_s=0.32, labels=labels)
    assert split_labels("gunshot, gunfire,dog", known, known.labels) == ["Gunshot, gunfire", "Dog"]
    assert split_labels("Dog", known, known.labels) == ["Dog"]
    with pytest.raises(HtsatEdgeError, match="'gunshot' is no class of this model"):
        split_labels("gunshot,Dog", known, known.labels)


def test_labels_in_groups(detect, tiny_bundle, noise, tmp_path):
    """A group takes the place of its labels, in events, in --top, in --labels and in pictures."""
    groups, picture = tmp_path / "groups.yaml", tmp_path / "noise.png"
    groups.write_text('"Even, odd": [class 0, class 1]\nRest: {labels: [class 2, class 3], threshold: 0.95}\n')
    options = [noise, "--bundle", tiny_bundle, "--json", "--groups", groups]
    status, out, err = detect(*options, "--top", 10, "--threshold", 0.3, "--plot", picture)
    assert (status, err) == (0, "")
    *events, top = [json.loads(line) for line in out.splitlines()]
    classes = {"Even, odd", "Rest", *(f"class {i}" for i in range(4, 10))}
    assert {one["label"] for one in top["top"]} == classes
    assert {event["label"] for event in events} <= classes
    assert picture.exists()
    best = {one["label"]: one["score"] for one in top["top"]}
    _, out, _ = detect(noise, "--bundle", tiny_bundle, "--json", "--top", 10, "--threshold", 0.3)
    single = {one["label"]: one["score"] for one in json.loads(out.splitlines()[-1])["top"]}
    assert best["Even, odd"] == max(single["class 0"], single["class 1"])
    assert best["class 7"] == single["class 7"]
    _, out, _ = detect(*options, "--top", 10, "--labels", "rest,even, odd")
    (top,) = [json.loads(line)["top"] for line in out.splitlines() if '"top"' in line]
    assert {one["label"]: one["threshold"] for one in top} == {"Even, odd": 0.5, "Rest": 0.95}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--groups", "absent.yaml"], "groups: absent.yaml: no such file; audioset ship with this"),
        (["--groups", "audioset"], "groups: audioset: the model has none of these labels"),
        (["--labels", "clas 0"], "--labels: 'clas 0' is no class of this model, meant class 0?"),
    ],
)
def test_groups_and_labels_that_the_model_has_not(options, message, detect, tiny_bundle, noise):
    assert detect(noise, "--bundle", tiny_bundle, *options) == (2, "", f"htsat-edge: {message}\n")


def test_the_backend_can_be_named(detect, tiny_bundle, noise, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.MODULES", {"tensorrt": ("no_such_module",)})
    options = [noise, "--bundle", tiny_bundle, "--json", "--threshold", 0.3]
    wanted = detect(*options)
    assert wanted[0] == 0
    assert detect(*options, "--backend", "onnxruntime") == wanted
    status, out, err = detect(*options, "--backend", "tensorrt")
    assert (status, out) == (2, "")
    assert err.startswith("htsat-edge: TensorRT for Python is not installed; on a Jetson: sudo apt install")
    assert "without it, htsat-edge runs on onnxruntime" in err


def test_an_engine_is_used_where_one_was_built(
    detect, tiny_bundle, noise, fake_tensorrt, quick_validation, tmp_path, capsys
):
    from htsat_edge.export.build_trt import main as build

    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    wanted = detect(noise, "--bundle", bundle, "--json", "--threshold", 0.3)
    fake = fake_tensorrt("10.3.0")
    assert build([str(bundle), "--precision", "fp32"]) == 0
    capsys.readouterr()
    fake.LOG.clear()
    assert detect(noise, "--bundle", bundle, "--json", "--threshold", 0.3) == wanted
    assert fake.LOG[-5:] == ["free", "free", "free", "free", "stream"]
