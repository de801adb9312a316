"""What others ask of the daemon: to pause a source, and for thresholds."""

import threading
from queue import SimpleQueue

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon import commander as commanders
from htsat_edge.runtime.daemon.commander import PAUSE_S, Commander, ThresholdWriter
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.control import InvalidCommand, SetListening, SetThreshold
from htsat_edge.runtime.daemon.messages import (
    BackendChanged,
    CommandRejected,
    ConfigLoaded,
    GapMessage,
    SourcePaused,
    SourceResumed,
)
from htsat_edge.runtime.models.backends.changing import BackendChange

QUIET = np.zeros(32_000, np.float32)
OFF, ON = (SetListening("yard 0", listening, "MQTT") for listening in (False, True))


def states(messages):
    return [message for message in messages if isinstance(message, SourcePaused | SourceResumed | GapMessage)]


def test_a_source_is_paused_and_listened_to_again_while_the_other_goes_on(
    make_parts, run_daemon, wait_for, monkeypatch
):
    monkeypatch.setattr(commanders, "PAUSE_S", 0)
    parts = make_parts(2)
    first, second = parts.sources
    run_daemon(parts)
    parts.commands.put(OFF)
    wait_for(lambda: parts.sessions[0].paused)
    for source in (first, second):
        source.feed.open(32_000)
        source.write(QUIET)
    wait_for(lambda: parts.sessions[0].end_s == parts.sessions[1].end_s == 1)
    assert (first.feed.behind_s, parts.sessions[0].active, parts.sessions[1].active) == (0, False, True)
    parts.commands.put(ON)
    wait_for(lambda: not parts.sessions[0].paused)
    first.write(QUIET)
    wait_for(lambda: parts.sessions[0].end_s == 2)
    for source in (first, second):
        source.feed.end()
    paused, gap, resumed = states(parts.kept)
    assert (paused.state, paused.source, paused.text) == ("source_paused", "yard 0", "paused by MQTT")
    assert (gap.onset, gap.offset, gap.reason) == (0, 1, "paused")
    assert (resumed.state, resumed.text) == ("source_resumed", "resumed by MQTT")


def test_one_that_is_paused_at_the_end_has_its_gap(make_parts, run_daemon, wait_for):
    parts = make_parts()
    (source,) = parts.sources
    _, thread = run_daemon(parts)
    parts.commands.put(OFF)
    source.feed.open(32_000)
    wait_for(lambda: parts.sessions[0].paused)
    source.write(QUIET)
    source.feed.end()
    thread.join(60)
    paused, gap = states(parts.kept)
    assert isinstance(paused, SourcePaused)
    assert (gap.onset, gap.offset, gap.reason) == (0, 1, "paused")


@pytest.fixture
def command(make_parts):
    """Carries a command out, with thresholds in memory; returns the messages of it."""

    def carry_out(*commands, writer=None, config=None):
        parts = make_parts()
        if config is not None:
            parts.config = config
        finished = []
        commander = Commander(parts, finished.append, writer)
        for one in commands:
            parts.commands.put(one)
        commander.update()
        carry_out.parts, carry_out.finished = parts, finished
        return parts.kept

    return carry_out


def test_what_is_so_already_changes_nothing(command):
    assert command(ON) == []
    assert [message.state for message in command(OFF, OFF)] == ["source_paused"]
    assert command.finished == list(command.parts.sessions)  # what was heard before is ended, once


def test_what_cannot_be_carried_out_is_rejected_once_in_a_while(command, monkeypatch):
    (message,) = command(SetListening("attic", False, "MQTT"), InvalidCommand("want ON or OFF"))
    assert isinstance(message, CommandRejected)
    assert message.text == "attic: there is no such source; there are yard 0"
    monkeypatch.setattr(commanders, "REJECTED_S", 0)
    wanted = ["want ON or OFF", "again"]
    assert [message.text for message in command(*map(InvalidCommand, wanted))] == wanted


def test_of_a_flood_of_commands_the_last_counts_and_a_pause_lasts_a_while(make_parts):
    """Each change goes to every output: a button that is stuck would make them lose events."""
    parts, now = make_parts(), 0.0
    commander = Commander(parts, lambda _: None, clock=lambda: now)

    def ask(*commands):
        for one in commands:
            parts.commands.put(one)
        commander.update()
        return [message.state for message in parts.kept if not isinstance(message, GapMessage)]

    assert ask(*[OFF, ON] * 1000) == []
    for _ in range(50):
        assert ask(OFF) == ask(ON) == ["source_paused"]
    now = PAUSE_S
    assert ask() == ["source_paused", "source_resumed"]
    ask(OFF)
    assert len(ask(ON)) == 3
    commander.close()  # the next daemon must not find it paused
    assert len(ask()) == 4


def test_what_waits_is_carried_out_before_the_configuration_changes(make_parts, run_daemon, wait_for):
    parts = make_parts()
    daemon, thread = run_daemon(parts)
    parts.commands.put(OFF)
    wait_for(lambda: parts.sessions[0].paused)
    parts.commands.put(ON)
    wait_for(parts.commands.empty)
    daemon.stop()
    thread.join(60)
    assert isinstance(parts.kept[-1], SourceResumed)


def test_a_new_session_says_that_a_source_was_paused_before(make_parts, run_daemon, wait_for):
    parts = make_parts()
    parts.sessions[0].progress.begin_pause()
    run_daemon(parts)
    wait_for(lambda: parts.kept)
    (paused,) = parts.kept
    assert (paused.state, paused.text) == ("source_paused", "still paused, as before")


@pytest.fixture
def config():
    source = {"name": "yard 0", "stdin": {"sample_rate": 32_000}}
    return DaemonConfig.model_validate({"sources": [source], "detection": {"hop_s": 1.28}})


def test_without_a_file_a_threshold_is_in_force_at_once(command, config):
    (message,) = command(SetThreshold("yard 0", "Dog", 0.25, "MQTT"), config=config)
    assert isinstance(message, ConfigLoaded)
    assert message.text.startswith("thresholds: Dog ")
    assert message.text.endswith(" -> 0.25")
    (session,) = command.parts.sessions
    classes = session.settings.classes(session.info)
    assert classes.thresholds[classes.labels.index("Dog")] == 0.25
    assert command.parts.config.sources[0].detection.thresholds == {"Dog": 0.25}


def test_a_threshold_of_an_unknown_class_or_source_is_rejected(command, config):
    (message,) = command(SetThreshold("yard 0", "Hound", 0.25, "MQTT"), config=config)
    assert isinstance(message, CommandRejected)
    assert "Hound" in message.text
    assert command.parts.config == config
    (message,) = command(SetThreshold("attic", "Dog", 0.25, "MQTT"), config=config)
    assert message.text == "attic: the configuration has no such source"


class Written:
    """Takes thresholds as a configuration file would."""

    def __init__(self):
        self.got, self.begun, self.go_on = [], threading.Event(), threading.Event()

    def __call__(self, source, label, threshold):
        self.begun.set()
        assert self.go_on.wait(20)
        if label == "Hound":
            raise HtsatEdgeError("detector.yaml: Hound: no such class")
        self.got.append((source, label, threshold))


@pytest.fixture
def writer():
    """A writer of thresholds, and what it has written."""
    commands, news, written = SimpleQueue(), threading.Event(), Written()
    made = ThresholdWriter(written, commands, news)
    made.start()
    yield made, written, commands, news
    written.go_on.set()
    made.close()
    assert not made._thread.is_alive()


def test_of_many_thresholds_of_a_class_the_last_is_written(writer, wait_for):
    made, written, _, _ = writer
    made.put(SetThreshold("yard", "Dog", 0.1, "MQTT"))
    assert written.begun.wait(20)  # what comes while a file is written waits
    for threshold in (0.2, 0.3, 0.4):
        made.put(SetThreshold("yard", "Dog", threshold, "MQTT"))
    made.put(SetThreshold("gate", "Dog", 0.5, "MQTT"))
    written.go_on.set()
    wait_for(lambda: len(written.got) == 3)
    assert written.got == [("yard", "Dog", 0.1), ("yard", "Dog", 0.4), ("gate", "Dog", 0.5)]


def test_what_cannot_be_written_comes_back_as_a_command_that_is_rejected(writer, command, wait_for):
    made, written, commands, news = writer
    written.go_on.set()
    wanted = [SetThreshold("yard", "Hound", 0.1, "MQTT"), SetThreshold("yard", "Cat", 0.2, "MQTT")]
    assert command(*wanted, writer=made) == []
    wait_for(lambda: written.got == [("yard", "Cat", 0.2)])
    assert news.is_set()
    (message,) = command(commands.get_nowait())
    assert message.text == "detector.yaml: Hound: no such class"


def test_what_else_runs_the_model_is_published(make_parts, run_daemon, wait_for):
    parts, changes = make_parts(), [BackendChange("onnxruntime", "the server is gone")]
    inner = parts.scorer.backend

    class Changing:
        present, fallbacks = inner, 1

        def infer(self, log_mel):
            return inner.infer(log_mel)

        def notices(self):
            while changes:
                yield changes.pop()

    parts.scorer.backend = Changing()
    run_daemon(parts)
    wait_for(lambda: parts.kept)
    (message,) = parts.kept
    assert isinstance(message, BackendChanged)
    assert (message.backend, message.text) == ("onnxruntime", "the server is gone")
