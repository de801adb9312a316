"""`accuracy.py --latency` as a user meets it."""

import json

import pytest

from htsat_edge.calibration.accuracy import main
from htsat_edge.evaluation.latency_figures import LatencyFigures
from htsat_edge.runtime.common.config import read_json


@pytest.fixture(scope="module")
def bundle(tiny_bundle, tmp_path_factory):
    """The tiny network, with thresholds at which it has events."""
    folder = tmp_path_factory.mktemp("latency")
    info = json.loads((tiny_bundle / "model.json").read_text())
    info["thresholds"] = dict.fromkeys(info["labels"], 0.35)
    (folder / "model.json").write_text(json.dumps(info))
    (folder / "fp32.onnx").symlink_to(tiny_bundle / "fp32.onnx")
    return folder


@pytest.fixture(scope="module")
def clips(recordings):
    """A manifest of two recordings."""
    path = recordings / "timed.csv"
    path.write_text("file,class,onset,offset\n0.flac,class 0,1,4\n1.flac,class 1,2,9\n")
    return path


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def latency(bundle, clips, *arguments):
    try:
        return main([str(argument) for argument in (bundle, "--clips", clips, "--latency", *arguments)])
    except SystemExit as error:
        return error.code


FEW = ("--hops", "1.28,2.56", "--look-aheads", "0", "--early-margins", "none")


def test_it_writes_figures_and_a_picture_and_does_so_again(bundle, clips, tmp_path, capsys):
    for _ in range(2):
        assert latency(bundle, clips, *FEW) == 0
    out = capsys.readouterr().out
    assert "fp32 of tiny: 2 sounds in 2 recordings of timed.csv" in out
    assert "latency.json, and to look at: latency.png" in out
    found = read_json(tmp_path / "latency.json", LatencyFigures)
    assert [(p.hop_s, p.look_ahead_s) for p in found.points] == [(1.28, 0), (2.56, 0)]
    assert found.hours == pytest.approx(24 / 3600)
    assert found.points[0].recall.sounds == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latency.json", "latency.png"]


@pytest.mark.parametrize("name", ["mine.json", "mine.png"])
def test_what_is_not_ours_is_left_alone(name, bundle, clips, tmp_path, capsys):
    (tmp_path / name).write_text('{"figures": "mine"}')
    assert latency(bundle, clips, *FEW, "--out", "mine.json") == 2
    assert f"--out: {name}: was not written by htsat-edge" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, '{"figures": "mine"}')]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "mine.txt"], "--out mine.txt: want the name of a .json file"),
        (["--out", "nowhere/mine.json"], "nowhere/mine.json: cannot be written: No such file or directory"),
        (["--page", "mine.html"], "--page: has no use with --latency"),
        (["--precisions", "fp32,int8"], "--precisions fp32,int8: --latency measures one graph"),
        (["--precisions", "int8"], "int8"),
        (["--hops", "soon"], "'soon' is no list of numbers such as 0.32,0.64"),
        (["--early-margins", "none,no"], "'no' is no list of numbers"),
        (["--look-aheads", "20"], "shorter than a window, 10.24 s"),
    ],
)
def test_bad_usage_is_refused_in_one_line(arguments, message, bundle, clips, tmp_path, capsys):
    assert latency(bundle, clips, *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--hops", "--look-aheads", "--early-margins"])
def test_without_latency_its_options_are_refused(option, bundle, clips, capsys):
    assert main([str(bundle), "--clips", str(clips), option, "0.32"]) == 2
    assert f"{option}: has no use without --latency" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["file,class\n0.flac,class 0\n", "file,class,onset,offset\n0.flac,background,,\n"])
def test_labels_must_say_when_sounds_begin(text, bundle, recordings, capsys):
    (recordings / "untimed.csv").write_text(text)
    assert latency(bundle, recordings / "untimed.csv") == 2
    assert "--clips: --latency needs labels that say when sounds begin and end" in capsys.readouterr().err
