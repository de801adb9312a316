"""Figures and health: collected from parts that the test makes, and from a daemon that runs, over HTTP."""

import json
import logging
import socket
import struct
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig, LevelConfig, MetricsConfig
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.metrics import Collector
from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.sound_level import SoundLevel
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings


@pytest.fixture
def system():
    return SystemClock(time.time(), time.monotonic())


@pytest.fixture
def sessions(system):
    """Two sources, of which nothing was heard yet."""
    info = load_bundle(BUNDLED).info
    feeds = [Feed(name, threading.Event(), live=True) for name in ("yard", "gate")]
    return [SourceSession(feed, info, Settings(), HealthConfig(), system) for feed in feeds]


@pytest.fixture
def collect(sessions, kept_output, system, tmp_path):
    """Collects figures; they are by name and label's value, those of the model by name."""
    output = kept_output("stdout")
    output.sent, output.dropped, output.failures, output.waiting = 5, 2, 7, 3
    scorer = Scorer(None, None, None)
    scorer.runs, scorer.windows, scorer.gated, scorer.seconds, scorer.slowest = 4, 6, 9, 1.5, 0.75
    scorer._recent.extend([0.1, 0.16, 0.3])
    for zone, name, milli in ((0, "cpu", "45500"), (1, "gpu", "broken"), (2, "soc", "-1000")):
        folder = tmp_path / f"thermal_zone{zone}"
        folder.mkdir()
        (folder / "type").write_text(f"{name}\n")
        (folder / "temp").write_text(f"{milli}\n")
    collector = Collector(StatusReader(sessions, scorer, Publisher([output], system), tmp_path))

    def figures():
        return {
            (sample.name, *sample.labels.values()): sample.value
            for metric in collector.collect()
            for sample in metric.samples
        }

    figures.health, figures.collector = collector.health, collector
    return figures


@pytest.fixture
def collect_server(collect, free_port):
    """Serves figures that are many, as those of many sources are."""
    port = free_port()
    server = MetricsServer(MetricsConfig(port=port), collect.collector)
    server.port = port
    server.start()
    yield server
    server.close()


def test_figures_of_the_model(collect, sessions):
    for session, hop_s in zip(sessions, (0.32, 1.28), strict=True):
        session.set_hop(hop_s, "")
    found = collect()
    assert found["htsat_edge_inference_seconds_count",] == 4
    assert found["htsat_edge_inference_seconds_sum",] == 1.5
    assert found["htsat_edge_inference_slowest_seconds",] == 0.75
    assert found["htsat_edge_load",] == pytest.approx(0.16 / 0.32 + 0.16 / 1.28)
    assert found["htsat_edge_windows_total",] == 6
    assert found["htsat_edge_windows_gated_total",] == 9


def test_figures_of_outputs(collect):
    found = collect()
    assert found["htsat_edge_output_sent_total", "stdout"] == 5
    assert found["htsat_edge_output_dropped_total", "stdout"] == 2
    assert found["htsat_edge_output_failures_total", "stdout"] == 7
    assert found["htsat_edge_output_waiting", "stdout"] == 3


def test_figures_of_sources(collect, sessions):
    yard, gate = sessions
    gate.set_hop(0.64, "")
    yard.take(AudioBlock(0.0, 32_000, np.zeros(6 * 32_000, np.float32)))
    yard.flush()
    yard.finish()
    yard.lose(Gap(6.0, 9.0, "unplugged"))
    yard.feed.open(1000)
    yard.feed.write(np.zeros(250, np.float32))
    found = collect()
    wanted = {
        "heard_seconds_total": (6, 0),
        "lost_seconds_total": (3, 0),
        "gaps_total": (1, 0),
        "level_dbfs": (-200, -np.inf),
        "input_fault": (1, 0),
        "hop_seconds": (yard.hop_s, 0.64),
        "expected_latency_seconds": (yard.latency_s, gate.latency_s),
        "behind_seconds": (0.25, 0),
        "clock_drift_ppm": (0, 0),
    }
    for name, values in wanted.items():
        assert [found[f"htsat_edge_{name}", source] for source in ("yard", "gate")] == pytest.approx(values), name


def test_events_by_class_begin_with_none(collect, sessions):
    """An alarm of Prometheus at the first event of a class needs the 0 before it."""
    yard, gate = sessions
    yard.progress.events.update(["Dog", "Dog", "Yeti"])  # the last of a configuration before
    gate.settings = Settings(labels=("Dog", "Speech"))
    found = {key[1:]: value for key, value in collect().items() if key[0] == "htsat_edge_events_total"}
    assert {key: value for key, value in found.items() if value} == {("yard", "Dog"): 2, ("yard", "Yeti"): 1}
    assert {label for source, label in found if source == "yard"} == {*yard.info.labels, "Yeti"}
    assert {label for source, label in found if source == "gate"} == {"Dog", "Speech"}


def test_events_that_a_rule_has_left_out(collect, sessions):
    sessions[1].rules.suppressed.update({("suppress", "Owl"): 3, ("cooldown", "Dog"): 1})
    found = {key[1:]: value for key, value in collect().items() if key[0] == "htsat_edge_events_suppressed_total"}
    assert found == {("gate", "suppress", "Owl"): 3, ("gate", "cooldown", "Dog"): 1}
    assert [source["suppressed"] for source in collect.health()[1]["sources"].values()] == [0, 4]


def test_levels_of_a_second_and_of_a_minute(collect, sessions):
    yard, gate = sessions
    yard.level.settings = LevelConfig(offset_db=100)
    yard.level.second, yard.level.span = SoundLevel(1e-3, 1e-4, 1e-2), SoundLevel(1e-5, 1e-6, 1e-1)
    gate.level.second = SoundLevel(1e-2, 1e-3, 1e-1)
    found = {
        (name.removeprefix("htsat_edge_"), *labels): value
        for (name, *labels), value in collect().items()
        if name.endswith(("sound_level_dbfs", "laeq_db", "lamax_db"))
    }
    assert found == pytest.approx(
        {
            ("sound_level_dbfs", "yard", "1"): -30,
            ("sound_level_dbfs", "yard", "60"): -50,
            ("sound_level_dbfs", "gate", "1"): -20,
            ("laeq_db", "yard", "1"): 60,
            ("laeq_db", "yard", "60"): 40,
            ("lamax_db", "yard", "1"): 80,
            ("lamax_db", "yard", "60"): 90,
        }
    )


def test_a_lost_source_has_no_level(collect, sessions):
    for session in sessions:
        session.level.second = SoundLevel(1e-3, 1e-4, 1e-2)
    sessions[1].feed.report_lost("unplugged")
    assert {key[1] for key in collect() if key[0] == "htsat_edge_sound_level_dbfs"} == {"yard"}


def test_a_source_that_is_slower_than_it_says_has_a_positive_drift(collect, sessions):
    for second in range(0, 200):
        sessions[0].feed.clock.observe(second, 1000 + second * (1 + 100e-6))
        sessions[1].feed.clock.observe(second, 1000 + second * (1 - 50e-6))
    found = collect()
    assert found["htsat_edge_clock_drift_ppm", "yard"] == pytest.approx(100, abs=1)
    assert found["htsat_edge_clock_drift_ppm", "gate"] == pytest.approx(-50, abs=1)


def test_temperatures_are_those_that_can_be_read(collect):
    found = {key[1]: value for key, value in collect().items() if key[0] == "htsat_edge_temperature_celsius"}
    assert found == {"cpu": 45.5, "soc": -1.0}


def test_all_is_well(collect):
    source = {"heard": True, "paused": False, "problems": [], "coverage": 1.0, "suppressed": 0}
    assert collect.health() == (
        True,
        {
            "healthy": True,
            "sources": {"yard": source, "gate": source},
            "outputs": {"stdout": {"works": True, "waiting": 3, "dropped": 2}},
        },
    )


def test_a_paused_source_is_healthy_whatever_else_becomes_of_it(collect, sessions):
    sessions[1].pause("paused by MQTT")
    sessions[1].feed.report_lost("unplugged")
    healthy, details = collect.health()
    assert healthy
    assert details["sources"]["gate"]["paused"]
    found = collect()
    assert (found["htsat_edge_paused", "yard"], found["htsat_edge_paused", "gate"]) == (0, 1)


def test_a_lost_source_is_not_healthy(collect, sessions):
    sessions[1].feed.report_lost("unplugged")
    healthy, report = collect.health()
    assert not healthy
    assert not report["healthy"]
    assert [report["sources"][name]["heard"] for name in ("yard", "gate")] == [True, False]
    sessions[1].feed.report_back("the microphone")
    assert collect.health()[0]


def test_a_source_that_has_failed_for_good_is_not_healthy(collect, sessions):
    """Beside another, a recording that breaks off was well."""
    sessions[1].feed.report_failed("it breaks off")
    sessions[1].feed.end()
    healthy, report = collect.health()
    assert not healthy
    assert [report["sources"][name]["heard"] for name in ("yard", "gate")] == [True, False]


def test_an_input_fault_is_not_healthy(collect, sessions):
    sessions[0].take(AudioBlock(0.0, 32_000, np.zeros(6 * 32_000, np.float32)))
    healthy, report = collect.health()
    assert not healthy
    assert report["sources"]["yard"]["problems"] == ["digital zero"]


def test_coverage_is_of_all_time(collect, sessions):
    sessions[0].lose(Gap(0.0, 540.0, "late"))
    sessions[0].take(AudioBlock(540.0, 1000, np.full(60 * 1000, 0.01, np.float32)))
    assert collect.health()[1]["sources"]["yard"]["coverage"] == pytest.approx(0.1)


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_figures_and_health_of_a_running_daemon(start_daemon, free_port, samples, wait_for):
    port = free_port()
    daemon = start_daemon(outputs={"metrics": MetricsConfig(port=port)})
    daemon.feed.open(32_000)
    daemon.source.write(samples[: 14 * 32_000])
    wait_for(lambda: daemon.feed.behind_s == 0)
    status, text = get(port, "/healthz")
    assert status == 200
    wanted = {"heard": True, "paused": False, "problems": [], "coverage": 1.0, "suppressed": 0}
    assert json.loads(text)["sources"]["yard"] == wanted

    def figures():
        lines = [line for line in get(port, "/metrics")[1].splitlines() if not line.startswith("#")]
        return dict(line.rsplit(" ", 1) for line in lines)

    wait_for(lambda: float(figures()["htsat_edge_windows_total"]) >= 3)
    assert float(figures()["htsat_edge_inference_seconds_sum"]) > 0
    assert float(figures()['htsat_edge_heard_seconds_total{source="yard"}']) == 14
    (dropped,) = (value for name, value in figures().items() if name.startswith("htsat_edge_output_dropped_total"))
    assert float(dropped) == 0
    wait_for(lambda: float(figures()['htsat_edge_events_total{label="Speech",source="yard"}']) >= 1)
    daemon.feed.report_lost("unplugged")
    status, text = get(port, "/healthz")
    assert status == 503
    assert json.loads(text)["sources"]["yard"]["heard"] is False
    daemon.end()
    with pytest.raises(OSError, match="refused"):  # the port is free again
        get(port, "/healthz")


def test_a_flood_of_connections_that_are_dropped_is_one_warning(collect_server, caplog, capfd):
    """A hundred gave 94 tracebacks."""
    caplog.set_level(logging.WARNING)
    for _ in range(100):
        with socket.socket() as one:
            one.connect(("127.0.0.1", collect_server.port))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # so that it is reset
            one.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    collect_server.close()
    assert "Traceback" not in capfd.readouterr().err
    warned = [record.message for record in caplog.records]
    assert len(warned) <= 4  # one of each kind, and how many there were
    assert all(text.startswith("metrics: an answer was not sent: ") for text in warned)
