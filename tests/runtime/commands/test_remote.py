"""`scan` and `detect` with a model that a server runs: the same results, and what is the server's fault ends them."""

import csv
import json
import sqlite3
from contextlib import closing

import pytest
import soundfile

pytest.importorskip("tritonclient")

from htsat_edge.runtime.archive.journal.database import JOURNAL_FILE
from htsat_edge.runtime.archive.journal.rows import DONE, WAITING
from htsat_edge.runtime.models.bundle import load_bundle

TOKEN = "hunter2-hunter2"
COMMON = ("--threshold", 0.5, "--precision", "fp32", "--hop", 5.12)


@pytest.fixture
def archive(tmp_path, farmyard):
    """A folder with three recordings of one window each."""
    samples, rate = soundfile.read(farmyard)
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", samples[number * 5 * rate :][: 4 * rate], rate)
    return folder


@pytest.fixture
def served(tiny_bundle, serve, tmp_path):
    """A server that wants a token, with a configuration of who uses it."""
    server = serve(load_bundle(tiny_bundle))
    server.model.token = TOKEN
    (tmp_path / "token").write_text(TOKEN)
    remote = {"url": server.url, "token": {"file": str(tmp_path / "token")}}
    config = {"model": {"bundle": str(tiny_bundle), "backend": "remote", "remote": remote}}
    (tmp_path / "detector.yaml").write_text(json.dumps(config))
    return server


@pytest.fixture
def fail_after(served):
    """Have the server refuse everybody, or be gone, once it has answered so many requests for scores."""

    def begin(count, fault):
        def change(found):
            if fault == "refuses" and len(served.model.batches) == count:
                served.model.token = "another"
            if fault == "gone" and len(served.model.batches) > count:
                served.stop()
            return found

        served.model.change = change

    return begin


def rows(path):
    with path.open(encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def states(out):
    with closing(sqlite3.connect(out / JOURNAL_FILE)) as database:
        return [state for (state,) in database.execute("SELECT state FROM files ORDER BY path")]


def test_a_server_finds_what_this_device_finds_and_keeps_its_token(command, served, archive, tmp_path):
    scan = ("scan", archive, "--config", tmp_path / "detector.yaml", "--processes", 1, *COMMON)
    there = command(*scan, "--out", tmp_path / "there")
    assert (there[0], there[2]) == (0, "")
    assert served.model.batches == [1, 1, 1]
    assert command(*scan, "--out", tmp_path / "here", "--backend", "onnxruntime")[0] == 0
    found = rows(tmp_path / "there" / "events.csv")
    assert found == rows(tmp_path / "here" / "events.csv")
    assert found
    detect = ("detect", archive / "0.wav", "--json", "--config", tmp_path / "detector.yaml", *COMMON)
    events = command(*detect)
    assert events[0] == 0
    assert events[1]
    assert events == command(*detect, "--backend", "onnxruntime")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "there").rglob("*") if path.is_file())
    assert TOKEN not in f"{kept}{there}{events}"


@pytest.mark.parametrize(
    ("fault", "status", "said"), [("refuses", 2, "refuses this device"), ("gone", 1, "cannot be reached")]
)
def test_a_scan_ends_with_its_server_and_goes_on_with_it(
    fault, status, said, command, served, fail_after, archive, tmp_path
):
    scan = ("scan", archive, "--config", tmp_path / "detector.yaml", "--processes", 1, *COMMON)
    again = "; what was done is kept, and the same command goes on" if fault == "gone" else ""
    fail_after(1, fault)
    ended = command(*scan, "--out", tmp_path / "out")
    assert ended[:2] == (status, "")
    assert ended[2].count("\n") == 1
    assert f"htsat-edge: {served.url}: " in ended[2]
    assert said in ended[2]
    assert ended[2].endswith(f"{again}\n")
    assert states(tmp_path / "out") == [DONE, WAITING, WAITING]
    served.model.token, served.model.change = TOKEN, dict
    if fault == "gone":
        served.start()
    assert command(*scan, "--out", tmp_path / "out")[0] == 0
    assert states(tmp_path / "out") == [DONE] * 3


@pytest.mark.parametrize(("fault", "status"), [("refuses", 2), ("gone", 1)])
def test_detect_ends_with_its_server(fault, status, command, served, fail_after, archive, farmyard, tmp_path):
    """In the middle of the first recording; neither its end nor the second one is tried."""
    fail_after(1, fault)
    ended = command("detect", farmyard, archive / "0.wav", "--json", "--config", tmp_path / "detector.yaml", *COMMON)
    assert len(served.model.tokens) == 2 + 2  # two questions about the model, two for scores
    assert ended[0] == status
    assert ended[2].count("\n") == 1
    assert f"htsat-edge: {served.url}: " in ended[2]


def test_a_scan_is_not_gone_on_with_in_another_precision(command, served, archive, tmp_path):
    scan = ("scan", archive / "0.wav", "--config", tmp_path / "detector.yaml", "--out", tmp_path / "out", *COMMON)
    served.model.parameters["precision"] = "fp32"
    assert command(*scan)[0] == 0
    served.model.parameters["precision"] = "int8"
    status, _, err = command(*scan)
    assert status == 2
    assert 'was begun with another precision that the server runs ("fp32", now "int8")' in err
