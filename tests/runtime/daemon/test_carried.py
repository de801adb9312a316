"""What goes on from one daemon to the next when its configuration is read again."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.daemon import assembly
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.control import SetListening
from htsat_edge.runtime.daemon.messages import SourceBack, SourceLost
from htsat_edge.runtime.daemon.parts import Carried, Parts, is_same
from htsat_edge.runtime.daemon.service import Service
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import load_bundle

RATE = 32_000
NOWHERE = {"host": "127.0.0.1", "port": 1, "commands": True}
"""A broker that is not there, from which commands would be taken."""
INFO = load_bundle().info


class LoudModel:
    """A backend that hears a Dog all the time."""

    def infer(self, log_mel):
        framewise = np.zeros((len(log_mel), INFO.steps, len(INFO.labels)), np.float32)
        framewise[..., INFO.labels.index("Dog")] = 0.9
        return Scores(framewise, framewise[:, 0], framewise[:, 0])

    def close(self):
        pass


@pytest.fixture
def config(tmp_path):
    """Makes a configuration of two sources, a yard that stays as it is and a gate."""

    def make(gate="one", **sections):
        return DaemonConfig.model_validate(
            {
                "detection": {"hop_s": 2.56},
                "health": {"enabled": False},
                "sources": [
                    {"name": "yard", "microphone": {"device": "yard"}},
                    {"name": "gate", "microphone": {"device": gate}},
                ],
                "outputs": {"stdout": False, "json_lines": {"path": str(tmp_path / "messages.jsonl")}},
                **sections,
            }
        )

    return make


class Changing:
    """A service in this thread, and another that writes sound and changes the configuration."""

    def __init__(self, config, path, filled_source, read_lines, wait_for, monkeypatch):
        self.config, self.made, self.calls = config, {}, []
        self._path, self._filled, self._read_lines, self._wait_for = path, filled_source, read_lines, wait_for
        monkeypatch.setattr(assembly, "make_source", self._make)
        monkeypatch.setattr(assembly, "open_model", lambda *_: LoudModel())
        self.service = Service(config, lambda: self.config)
        self.error = None

    def _make(self, config, _, news):
        source = self._filled(config.name, live=True)
        source.feed._news = news
        source.start = lambda: self.calls.append(("start", config.name))
        stop = source.stop
        source.stop = lambda: (self.calls.append(("stop", config.name)), stop())
        self.made[config.name] = source
        source.feed.open(RATE)
        return source

    @property
    def messages(self):
        return self._read_lines(self._path)

    def count(self, **wanted):
        return sum(all(m.get(key) == value for key, value in wanted.items()) for m in self.messages)

    def write(self, name, seconds):
        self.made[name].write(np.full(round(seconds * RATE), 0.1, np.float32))

    def reload(self, config):
        before = self.count(state="config_loaded")
        self.config, self.service._control.reload = config, True
        self._wait_for(lambda: self.count(state="config_loaded") > before, 60)

    def run(self, script):
        """Run the service, and a script beside it; then end both."""

        def follow():
            try:
                self._wait_for(lambda: self.calls.count(("start", "gate")) == 1, 60)
                script()
            except BaseException as error:
                self.error = error
            finally:
                self.service._control.ending = True

        thread = threading.Thread(target=follow)
        thread.start()
        self.service.run()
        thread.join()
        if self.error is not None:
            raise self.error
        return self.messages


@pytest.fixture
def changing(config, tmp_path, filled_source, read_lines, wait_for, monkeypatch):
    path = tmp_path / "messages.jsonl"
    return Changing(config(), path, filled_source, read_lines, wait_for, monkeypatch)


def test_sources_that_are_the_same_go_on_and_others_begin_anew(changing, config):
    def script():
        for name in ("yard", "gate"):
            changing.write(name, 12)
        changing._wait_for(lambda: changing.count(type="start") == 2, 60)
        changing.reload(config(gate="another", detection={"hop_s": 1.28}))
        for name in ("yard", "gate"):
            changing.write(name, 12)
        changing._wait_for(lambda: changing.count(type="start") == 4, 60)

    messages = changing.run(script)
    assert changing.calls == [
        ("start", "yard"),
        ("start", "gate"),
        ("stop", "gate"),
        ("start", "gate"),
        ("stop", "gate"),
        ("stop", "yard"),
    ]
    ends = {name: [m for m in messages if m["type"] == "end" and m["source"] == name] for name in ("yard", "gate")}
    assert [(m["id"], m["onset"], m["offset"]) for m in ends["gate"]] == [(1, 0.0, 12.0), (1, 0.0, 12.0)]
    (first, second) = ends["yard"]
    assert (first["id"], first["onset"]) == (1, 0.0)
    assert (second["id"], second["onset"], second["offset"]) == (2, first["offset"], 24.0)
    assert not any(m["type"] == "gap" for m in messages)


def test_what_is_recorded_while_the_next_daemon_is_made_waits_for_it(changing, config, monkeypatch):
    assemble = assembly.assemble

    def slow(*args, **more):
        if changing.made:
            changing.made["yard"].feed.write(np.full(round(4.9 * RATE), 0.1, np.float32))  # no room is waited for
        return assemble(*args, **more)

    monkeypatch.setattr("htsat_edge.runtime.daemon.service.assemble", slow)

    def script():
        changing.write("yard", 12)
        changing.reload(config(detection={"hop_s": 1.28}))
        changing._wait_for(lambda: changing.made["yard"].feed.behind_s == 0, 60)

    messages = changing.run(script)
    ends = [m for m in messages if m["type"] == "end" and m["source"] == "yard"]
    assert ends[0]["onset"] == 0
    assert ends[-1]["offset"] == pytest.approx(16.9)
    assert not any(m["type"] == "gap" for m in messages)


def test_a_configuration_that_cannot_be_had_costs_the_others_nothing(changing, config):
    """Found when the model is there, after the sources that go on were chosen."""

    def script():
        changing.write("yard", 12)
        changing.config = config(detection={"hop_s": 2.56, "labels": ["Nothing"]})
        changing.service._control.reload = True
        changing._wait_for(lambda: changing.count(state="config_rejected") == 1, 60)
        changing.write("yard", 12)

    messages = changing.run(script)
    assert changing.calls.count(("start", "yard")) == 1
    assert [m["offset"] for m in messages if m["type"] == "end"][-1] == 24
    assert not any(m["type"] == "gap" for m in messages)


def open_files():
    """Count them, a moment later: one that is open for a moment is none that is left behind."""
    time.sleep(0.01)
    return len([*Path("/proc/self/fd").iterdir()])


def test_thirty_reloads_leave_nothing_behind(changing, config):
    """Neither threads nor open files, and every sample is heard."""
    sizes = []

    def script():
        for number in range(30):
            changing.write("yard", 1)
            changing.reload(config(rules={"cooldown_s": number % 3}))
            changing._wait_for(lambda: changing.made["yard"].feed.behind_s == 0, 60)
            sizes.append((threading.active_count(), min(open_files() for _ in range(5))))

    messages = changing.run(script)
    assert changing.calls.count(("start", "yard")) == changing.calls.count(("stop", "yard")) == 1
    assert max(sizes[20:]) <= max(sizes[:10])
    assert not any(m["type"] == "gap" for m in messages)
    numbers = [m["id"] for m in messages if m["type"] == "start" and m["source"] == "yard"]
    assert numbers == sorted(set(numbers))
    assert max(m["offset"] for m in messages if m["type"] == "end") == 30


def parts_of(config, make_parts):
    parts: Parts = make_parts(2, live=True)
    parts.config = config
    parts.named = {"yard": parts.sources[0], "gate": parts.sources[1]}
    return parts


def test_rules_and_what_is_wrong_go_on_where_they_are_the_same(config, make_parts):
    parts = parts_of(config(), make_parts)
    session, _ = parts.sessions
    parts.carry_on(config(level={"offset_db": 120}), lost_too=False)
    assert [*parts.carried.sources] == ["yard", "gate"]
    assert parts.carried.progress["yard 0"] is session.progress
    assert parts.carried.rules["yard 0"] is session.rules
    parts.carried.clear()
    parts.carry_on(config(rules={"cooldown_s": 3}), lost_too=False)
    assert (parts.carried.rules, len(parts.carried.progress)) == ({}, 2)


def test_a_source_that_is_lost_begins_anew_at_a_signal_and_goes_on_for_a_sound(config, make_parts):
    """So a signal can mend what has failed for good."""
    parts = parts_of(config(), make_parts)
    parts.sources[0].feed.report_failed("it has ended")
    parts.carry_on(config(), lost_too=False)
    assert [*parts.carried.sources] == ["gate"]
    parts.carried.clear()
    parts.carry_on(config(), lost_too=True)
    assert [*parts.carried.sources] == ["yard", "gate"]


def test_the_page_goes_on_where_only_thresholds_have_changed(config, make_parts):
    parts = parts_of(config(), make_parts)
    parts.page = object()
    parts.carry_on(config(detection={"hop_s": 2.56, "thresholds": {"Dog": 0.2}}), lost_too=False)
    assert parts.carried.page is parts.page
    parts.carried.clear()
    parts.carry_on(config(detection={"hop_s": 1.28}), lost_too=False)
    assert parts.carried.page is None


def test_detection_that_has_failed_before_is_reported_when_it_works_again(make_parts):
    parts = make_parts()
    (session,) = parts.sessions
    session.feed.open(RATE)
    (lost,) = session.abandon(ValueError("odd"))
    assert isinstance(lost, SourceLost)
    (other,) = make_parts().sessions
    other.progress, after = session.progress, other
    after.feed.open(RATE)
    after.feed.write(np.zeros(RATE * 3, np.float32))
    windows = []
    while not windows:
        windows, _ = after.take(after.feed.read())
    (back, *_) = after.settle(windows[0], np.zeros((8, len(INFO.labels)), np.float32))
    assert isinstance(back, SourceBack)
    assert session.failure is None


def test_the_same_source_whatever_is_made_of_it(config):
    yard, gate = config().sources
    assert is_same(yard, yard.model_copy(update={"detection": gate.detection.model_copy(update={"threshold": 0.3})}))
    assert not is_same(yard, gate)


def test_a_pause_goes_on_whatever_becomes_of_its_source(changing, config):
    """As one gap where the source goes on, and as another where it begins anew: it must not listen by mistake."""

    def ask(listening):
        for name in ("yard", "gate"):
            changing.service._carried.commands.put(SetListening(name, listening, "MQTT"))
        state = "source_resumed" if listening else "source_paused"
        changing._wait_for(lambda: changing.count(state=state) == 2, 60)

    def script():
        ask(False)
        for name in ("yard", "gate"):
            changing.write(name, 3)
        pytest.importorskip("paho.mqtt.client")
        outputs = {**config().outputs.model_dump(mode="json", exclude_unset=True), "mqtt": NOWHERE}
        changing.reload(config(gate="another", outputs=outputs))
        for name in ("yard", "gate"):
            changing.write(name, 12)
        changing._wait_for(lambda: not any(source.feed.behind_s for source in changing.made.values()), 60)
        ask(True)

    messages = changing.run(script)
    gaps = [(m["source"], m["onset"], m["offset"], m["reason"]) for m in messages if m["type"] == "gap"]
    assert gaps == [("gate", 0, 3, "paused"), ("yard", 0, 15, "paused"), ("gate", 0, 12, "paused")]
    assert changing.count(type="start") == changing.count(state="listening") == 0


def test_a_pause_ends_where_nobody_may_command_any_more(changing, config):
    def script():
        changing.service._carried.commands.put(SetListening("yard", False, "MQTT"))
        changing._wait_for(lambda: changing.count(state="source_paused") == 1, 60)
        changing.reload(config(rules={"cooldown_s": 3}))
        changing._wait_for(lambda: changing.count(state="source_resumed", source="yard") == 1, 60)

    changing.run(script)


def test_a_pause_that_goes_on_in_a_source_that_begins_anew_is_a_gap(config, make_parts):
    parts = make_parts()
    (session,) = parts.sessions
    carried = Carried(paused={session.feed.name})
    after = assembly.make_session(session.feed, INFO, session.settings, config(), parts.system, None, carried)
    assert (after.paused, after.coverage.gaps, after.all_time.gaps) == (True, 1, 1)
