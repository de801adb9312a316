"""What emulate.py can be asked without a root of another processor; `make aarch64` runs the rest."""

import fcntl
import importlib.util
import json
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("emulate.py")


@pytest.fixture
def emulate():
    spec = importlib.util.spec_from_file_location("emulate", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(*scores, label="Dog"):
    events = [{"type": "start", "label": label, "onset": 1.28, "score": score} for score in scores]
    return b"".join(json.dumps(message).encode() + b"\n" for message in [*events, {"type": "status", "top": []}])


def test_says_how_far_messages_are_apart(emulate):
    assert emulate.judge(lines(0.9, 0.8), lines(0.9, 0.8)) == "the same 3 messages to the byte"
    assert emulate.judge(lines(0.9, 0.8), lines(0.9, 0.75)).endswith("whose scores are within 0.0500")
    for others in (lines(0.9, 0.8, label="Cattle"), lines(0.9)):
        assert emulate.judge(lines(0.9, 0.8), others).startswith("OTHER EVENTS")


def test_makes_a_part_again_where_it_is_made_of_something_else(emulate, tmp_path, monkeypatch):
    monkeypatch.setattr(emulate, "BUILD", tmp_path)
    made = []
    for depends in ("a", "a", "b"):
        emulate.once("part", "a part", lambda depends=depends: made.append(depends), depends)
    assert made == ["a", "b"]


def test_makes_a_part_again_that_was_broken_off(emulate, tmp_path, monkeypatch):
    monkeypatch.setattr(emulate, "BUILD", tmp_path)

    def fail():
        raise KeyboardInterrupt

    emulate.once("part", "a part", lambda: None, "a")
    with pytest.raises(KeyboardInterrupt):
        emulate.once("part", "a part", fail, "b")
    made = []
    emulate.once("part", "a part", lambda: made.append("a"), "a")
    assert made == ["a"]


def test_refuses_to_run_beside_another(emulate, tmp_path, monkeypatch):
    monkeypatch.setattr(emulate, "BUILD", tmp_path)
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(emulate.CannotRun, match="another run is at work"):
        emulate.refuse_second()
    os.close(other)
    emulate.refuse_second()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("os.geteuid", lambda: 1000, "needs root"),
        ("platform.machine", lambda: "aarch64", "run make test-device"),
    ],
)
def test_says_in_one_line_what_a_machine_lacks(name, value, said, emulate, monkeypatch, capsys):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(name, value)
    assert emulate.main([]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
