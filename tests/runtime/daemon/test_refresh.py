"""Sounds of another graph: a process learns them again, once, and its output is in the log."""

import json
import sys

import pytest

from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.daemon import service
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.refresh import SoundsRefresh, refresh_command
from htsat_edge.runtime.daemon.service import Service, describe_sounds
from htsat_edge.runtime.models.sounds import EnrolledSound, SoundInfo, Sounds


def info_of(label, make_report, head="0"):
    content = {"label": label, "graph_sha256": "a" * 64, "channels": 4, "threshold": 0.5, "head_sha256": head * 64}
    return SoundInfo(**content, enrolled_at="2026-05-01T21:30:00+00:00", recordings=[], report=make_report())


def program(text):
    return lambda _: [sys.executable, "-c", text]


def test_the_command_is_that_of_the_shell():
    command = refresh_command(7)
    assert command == command_of(
        "htsat_edge.runtime.common.lifeline", "7", "htsat_edge", "enroll", "--refresh", "--config", "/dev/stdin"
    )


def test_it_gets_the_configuration_and_what_it_prints_is_logged(caplog, wait_for):
    caplog.set_level("INFO")
    text = "import sys, json, os; print(json.load(sys.stdin)['model']['threads'], os.nice(0)); sys.exit('no such')"
    refresh = SoundsRefresh(DaemonConfig.model_validate({"model": {"threads": 3}}), program(text))
    refresh.start()
    wait_for(lambda: not refresh._thread.is_alive(), 30)
    assert caplog.messages == [
        "enroll --refresh: 3 10",
        "enroll --refresh: no such",
        "enroll --refresh: has ended with status 1",
    ]
    refresh.close()


def test_it_ends_with_the_daemon(wait_for, caplog):
    caplog.set_level("INFO")
    refresh = SoundsRefresh(DaemonConfig(), program("import time; print('here', flush=True); time.sleep(1000)"))
    refresh.start()
    wait_for(lambda: "here" in caplog.text, 30)
    refresh.close()
    assert not refresh._thread.is_alive()
    assert refresh._process.poll() is not None


def test_one_that_cannot_be_started_is_logged(caplog, wait_for):
    refresh = SoundsRefresh(DaemonConfig(), lambda _: ["/absent/python"])
    refresh.start()
    wait_for(lambda: not refresh._thread.is_alive(), 30)
    refresh.close()
    assert "enroll --refresh: cannot be started: " in caplog.text


@pytest.fixture
def refreshes(monkeypatch):
    """The configurations for which a refresh was started, and ended."""
    calls = []

    class Refresh:
        def __init__(self, config):
            calls.append(config)

        def start(self):
            calls.append("start")

        def close(self):
            calls.append("close")

    monkeypatch.setattr(service, "SoundsRefresh", Refresh)
    return calls


def test_stale_sounds_are_reported_and_learned_again_once_at_a_start(
    make_parts, make_report, monkeypatch, refreshes, tmp_path
):
    """Not again at each reload: one that is refused stays stale."""
    made, config = [], DaemonConfig()
    stale = Sounds(tmp_path, stale=[("doorbell", info_of("Our doorbell", make_report))])

    def assemble(*_, **__):
        parts = make_parts()
        parts.sounds = stale
        made.append(parts)
        if len(made) == 2:
            parts.sources[0].feed.end()
        return parts

    monkeypatch.setattr(service, "assemble", assemble)
    run = Service(config, lambda: config)
    run._control.reload = True
    run.run()
    first, second = (json.loads(message.encoded) for parts in made for message in parts.kept)
    assert (first["state"], first["labels"]) == ("enrolled", [])
    assert first["text"].startswith("Our doorbell: learned for another graph; not heard until")
    assert second["state"] == "config_loaded"
    assert refreshes == [config, "start", "close"]


def test_which_sounds_have_changed(make_parts, make_report, tmp_path):
    def parts_of(**heads):
        parts = make_parts()
        sounds = [EnrolledSound(name, info_of(name, make_report, head), None, 0.0) for name, head in heads.items()]
        parts.sounds = Sounds(tmp_path, usable=sounds)
        return parts

    before = parts_of(Bell="0", Gate="0", Cat="0")
    assert describe_sounds(before, before) == "the same as before"
    assert (
        describe_sounds(before, parts_of(Bell="1", Gate="0", Door="0"))
        == "new: Door; learned again: Bell; no longer heard: Cat"
    )
    assert describe_sounds(make_parts(), before) == "new: Bell, Gate, Cat"
