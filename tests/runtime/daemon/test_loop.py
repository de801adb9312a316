"""The daemon on files, pipes and feeds that the test fills; microphones are in sources/test_microphone.py."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
import soundfile
import yaml
from htsat_edge.runtime.commands.cli import main
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import Clips, DaemonConfig, Detection, Health, JsonLines, Outputs, Source
from htsat_edge.runtime.daemon.loop import Daemon, Scorer, level_dbfs
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path):
    """Runs a daemon on recordings to their end; its lines."""

    def listen(*paths, **sections):
        out = tmp_path / f"events-{time.monotonic_ns()}.jsonl"
        config = DaemonConfig(
            sources=[Source(name=path.name, file=path) for path in paths],
            outputs=Outputs(stdout=False, json_lines=JsonLines(path=out), **sections.pop("outputs", {})),
            **sections,
        )
        Daemon(config, Notifier()).run()
        return read_lines(out)

    return listen


@pytest.fixture
def halves(farmyard, tmp_path):
    """The recording in two parts, with what is said of each alone."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    paths = [tmp_path / "one.flac", tmp_path / "two.flac"]
    for path, part in zip(paths, (samples[: 13 * rate], samples[13 * rate :]), strict=True):
        soundfile.write(path, part, rate)
    return paths


def detected(capsys, path):
    """What `htsat-edge detect` says of a recording."""
    assert main(["detect", "--json", "--backend", "onnxruntime", str(path)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_recording_gives_what_detect_gives(run, farmyard, capsys):
    wanted = detected(capsys, farmyard)
    assert len(wanted) > 8
    assert [{**line, "source": str(farmyard)} for line in run(farmyard)] == wanted


def test_several_sources_at_once_give_what_each_gives_alone(run, farmyard, halves, capsys):
    found = run(farmyard, *halves)
    for path in (farmyard, *halves):
        own = [{**line, "source": str(path)} for line in found if line["source"] == path.name]
        wanted = detected(capsys, path)
        assert len(own) == len(wanted)
        for one, other in zip(own, wanted, strict=True):
            assert one.pop("score") == pytest.approx(other.pop("score"), abs=2e-4)  # batches round differently
            assert one == other


def test_labels_and_thresholds(run, farmyard):
    assert {line["label"] for line in run(farmyard, detection=Detection(labels=["Dog", "Thunder"]))} == {
        "Dog",
        "Thunder",
    }
    assert run(farmyard, detection=Detection(labels=["Thunder"], thresholds={"Thunder": 0.9999})) == []
    with pytest.raises(HtsatEdgeError, match=r"detection.labels: 'Dogg' is no class of this model, meant Dog\?"):
        run(farmyard, detection=Detection(labels=["Dogg"]))
    with pytest.raises(HtsatEdgeError, match=r"detection.thresholds: 'Cat' is no class of this model"):
        run(farmyard, detection=Detection(thresholds={"Cat": 0.5}))
    with pytest.raises(HtsatEdgeError, match="hop of 99 s"):
        run(farmyard, detection=Detection(hop_s=99))


@pytest.fixture
def filled(fed, tmp_path):
    """A daemon in a thread, on a feed; its lines so far."""
    running = []

    def start(live=False, **sections):
        feeds = fed(live)
        out = tmp_path / "filled.jsonl"
        outputs = Outputs(stdout=False, json_lines=JsonLines(path=out), **sections.pop("outputs", {}))
        config = DaemonConfig(sources=[Source(name="yard", file=tmp_path)], outputs=outputs, **sections)
        daemon = Daemon(config, Notifier())
        thread = threading.Thread(target=daemon.run)
        thread.start()
        running.append((daemon, thread))

        def end():
            daemon.stop()
            thread.join(30)
            return read_lines(out)

        return feeds[0], daemon, end

    yield start
    for daemon, thread in running:
        daemon.stop()
        thread.join(30)


def write(feed, samples, rate):
    for at in range(0, len(samples), rate // 10):
        feed.wait_for_room(threading.Event())
        feed.write(samples[at : at + rate // 10])


def shifted(lines, by_s):
    """Lines of a recording that begins so much later, under the daemon's name for it."""
    keys = ("onset", "offset")
    return [
        {**line, "source": "yard", **{key: round(line[key] + by_s, 4) for key in keys if key in line}} for line in lines
    ]


def test_a_gap_ends_what_is_open_and_what_follows_is_detected_as_if_it_began_there(filled, halves, capsys):
    wanted = [detected(capsys, path) for path in halves]
    feed, _, end = filled()
    for number, path in enumerate(halves):
        samples, rate = soundfile.read(path, dtype="float32")
        feed.open(rate, 100.5 if number else 0.0, "unplugged")
        write(feed, samples, rate)
    feed.end()
    found = end()
    (gap,) = (line for line in found if line["type"] == "gap")
    assert gap == {
        "type": "gap",
        "source": "yard",
        "onset": 13.0,
        "offset": 113.5,
        "time": None,
        "reason": "unplugged",
    }
    at = found.index(gap)
    assert found[:at] == shifted(wanted[0], 0)
    assert found[at + 1 :] == shifted(wanted[1], 113.5)


def test_another_rate_after_a_gap(filled, farmyard):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    feed, daemon, end = filled()
    feed.open(rate)
    write(feed, samples[: 6 * rate], rate)
    feed.open(rate // 2, 1.0, "another device")
    write(feed, samples[14 * rate :: 2], rate // 2)
    feed.end()
    found = end()
    assert {line["label"] for line in found if line["type"] == "start"} >= {"Speech", "Thunder"}
    assert next(line for line in found if line.get("label") == "Thunder")["onset"] == pytest.approx(7, abs=0.4)
    assert daemon.listeners[0].all_time.share == pytest.approx(19 / 20, abs=0.01)


def test_pieces_between_gaps_that_are_too_short_to_hear_anything(filled):
    feed, _, end = filled()
    feed.open(32_000)
    for length in (1, 10, 100, 512):
        feed.write(np.zeros(length, np.float32))
        feed.skip(0.5, "a bad cable")
    feed.end()
    assert [line["type"] for line in end()] == ["gap"] * 4


def test_coverage_is_told_each_hour(filled):
    """An hour of which a quarter was lost, in seconds of a low rate to be quick."""
    feed, _, end = filled(health=Health(enabled=False), detection=Detection(hop_s=10.24))
    feed.open(8000)
    for _ in range(3):
        write(feed, np.zeros(600 * 8000, np.float32), 8000)
        feed.skip(300, "a bad cable")
    write(feed, np.zeros(1000 * 8000, np.float32), 8000)
    feed.end()
    (line,) = (line for line in end() if line.get("state") == "coverage")
    assert (line["onset"], line["offset"], line["gaps"]) == (0.0, 3600.0, 3)
    assert line["share"] == pytest.approx(0.75, abs=0.001)


def test_hours_that_were_lost_are_hours_too(filled):
    feed, daemon, end = filled(health=Health(enabled=False))
    feed.open(8000)
    write(feed, np.zeros(60 * 8000, np.float32), 8000)
    feed.skip(5 * 3600, "unplugged")
    write(feed, np.zeros(60 * 8000, np.float32), 8000)
    feed.end()
    told = [(line["onset"], line["share"]) for line in end() if line.get("state") == "coverage"]
    assert told == [(0, round(60 / 3600, 6)), (3600, 0), (7200, 0), (10800, 0), (14400, 0)]
    assert daemon.listeners[0].all_time.share == pytest.approx(120 / (120 + 5 * 3600))


def test_a_deaf_microphone_is_told_of(filled, farmyard):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    feed, daemon, end = filled(live=True)
    feed.open(rate)
    write(feed, np.zeros(8 * rate, np.float32), rate)
    wait_for(lambda: daemon.listeners[0].problems == {"digital zero"})
    well, told = daemon.healthy()
    assert not well
    assert told["sources"]["yard"]["problems"] == ["digital zero"]
    write(feed, samples[: 10 * rate], rate)
    feed.end()
    states = [(line["state"], line["problem"]) for line in end() if line["type"] == "status"]
    assert states == [("deaf", "digital zero"), ("hears again", "digital zero")]


def test_a_clip_of_each_event_replays_to_it(filled, farmyard, tmp_path, capsys):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    folder = tmp_path / "clips"
    feed, _, end = filled(outputs={"clips": Clips(folder=folder, pre_roll_s=1, post_roll_s=0.5)})
    feed.open(rate)
    write(feed, samples, rate)
    feed.end()
    found = end()
    starts = [line for line in found if line["type"] == "start"]
    ends = {(line["label"], line["onset"]): line["offset"] for line in found if line["type"] == "end"}
    files = sorted(folder.iterdir())
    assert len(files) == len(starts)
    for line in starts:
        name = f"{line['onset']:010.2f}_yard_{line['label'].split(',')[0]}"
        (path,) = (file for file in files if file.name.startswith(name))
        clip, clip_rate = soundfile.read(path, dtype="float32")
        first = round(max(0, line["onset"] - 1) * rate)
        last = min(len(samples), round((ends[line["label"], line["onset"]] + 0.5) * rate))
        assert clip_rate == rate
        np.testing.assert_allclose(clip, samples[first:last], atol=1e-4)
    thunder = next(file for file in files if "Thunder" in file.name)
    assert "Thunder" in {line["label"] for line in detected(capsys, thunder)}


@pytest.mark.parametrize("seconds", [8, 16, 20])
def test_an_event_at_the_end_has_its_clip_too(seconds, filled, farmyard, tmp_path):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    folder = tmp_path / "clips"
    feed, _, end = filled(outputs={"clips": Clips(folder=folder)})
    feed.open(rate)
    write(feed, samples[: seconds * rate], rate)
    feed.end()
    starts = [line for line in end() if line["type"] == "start"]
    assert len(list(folder.iterdir())) == len(starts) > 0


def test_speech_is_silent_in_clips(filled, farmyard, tmp_path):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    folder = tmp_path / "clips"
    feed, _, end = filled(outputs={"clips": Clips(folder=folder, privacy="no_speech", pre_roll_s=5)})
    feed.open(rate)
    write(feed, samples, rate)
    feed.end()
    end()
    spoken = next(file for file in folder.iterdir() if "Speech" in file.name)
    assert np.abs(soundfile.read(spoken)[0][round(1.2 * rate) : round(5 * rate)]).max() < 1e-4
    dog = next(file for file in sorted(folder.iterdir()) if "Dog" in file.name)  # the pre-roll of a bark at 6.7 s
    clip = soundfile.read(dog)[0]
    assert np.abs(clip[: round((5.0 - (6.72 - 5)) * rate)]).max() < 1e-4
    assert np.abs(clip[-rate // 2 :]).max() > 0.01
    thunder = next(file for file in folder.iterdir() if "Thunder" in file.name)
    assert soundfile.read(thunder)[0][-2 * rate :].std() > 0.01


def test_clips_keep_to_their_quota(filled, farmyard, tmp_path):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    folder = tmp_path / "clips"
    feed, _, end = filled(outputs={"clips": Clips(folder=folder, format="wav", quota_mb=0.7)})
    feed.open(rate)
    write(feed, samples, rate)
    feed.end()
    end()
    files = list(folder.iterdir())
    assert 0 < sum(file.stat().st_size for file in files) <= 0.71e6
    assert not any("Speech" in file.name for file in files)  # the oldest went


def test_the_gate_saves_runs_in_silence_and_nothing_else(run, farmyard, tmp_path):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    quiet = (1e-4 * np.random.default_rng(0).normal(size=40 * rate)).astype(np.float32)
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([quiet, samples, quiet]), rate, subtype="FLOAT")
    assert run(path, detection=Detection(gate_dbfs=-60)) == run(path)


def noise_of(level_dbfs):
    """The log-mel of ten seconds of noise."""
    samples = 10 ** (level_dbfs / 20) * np.random.default_rng(0).normal(size=320_000)
    return LogMel(FrontEnd())(samples.astype(np.float32))


@pytest.mark.parametrize("level", [-20, -50, -70])
def test_the_level_of_a_clip_is_that_of_its_samples(level):
    """But for the loudest tenth, and for what is outside of the bands."""
    assert level_dbfs(noise_of(level), FrontEnd()) == pytest.approx(level, abs=1)


def test_the_level_of_a_clip_is_that_of_its_loudest_moment():
    log_mel = noise_of(-70)
    log_mel[500:510] = noise_of(-30)[500:510]
    assert level_dbfs(log_mel, FrontEnd()) == pytest.approx(-30, abs=1)


class Counter:
    """A model that knows how often it was asked."""

    def __init__(self):
        self.asked = []

    def infer(self, log_mel):
        from htsat_edge.runtime.models.backends import Scores

        self.asked.append(len(log_mel))
        return Scores(np.zeros((len(log_mel), 2, 1)), np.zeros((len(log_mel), 1)), np.zeros((len(log_mel), 1)))


def test_the_gate_asks_once_about_silence():
    from htsat_edge.runtime.dsp.windows import Clip

    backend = Counter()
    scorer = Scorer(backend, FrontEnd(), -50.0)
    loud, quiet = (Clip(0, noise_of(level)) for level in (-40, -60))
    for clips in ([loud], [quiet], [quiet, loud, quiet], [quiet]):
        assert len(scorer(clips)) == len(clips)
    assert backend.asked == [1, 1, 1]
    assert (scorer.gated, scorer.clips) == (4, 3)


# In a process of its own


class Process:
    """The daemon, listening to samples on its stdin."""

    def __init__(self, folder, systemd=None, **sections):
        self.out, self.config = folder / "out.jsonl", folder / "detector.yaml"
        self.write_config(**sections)
        environment = {**os.environ, **({"NOTIFY_SOCKET": systemd, "WATCHDOG_USEC": "3000000"} if systemd else {})}
        with self.out.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "htsat_edge", "listen", "--config", self.config],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.PIPE,
                env=environment,
            )

    def write_config(self, **sections):
        source = {"name": "yard", "stdin": {"sample_rate": 32_000}}
        self.config.write_text(yaml.safe_dump({"sources": [source], "model": {"backend": "onnxruntime"}, **sections}))

    def play(self, samples):
        self.process.stdin.write((samples * 32767).astype("<i2").tobytes())
        self.process.stdin.flush()

    @property
    def lines(self):
        return read_lines(self.out)

    def end(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err.decode()


@pytest.fixture
def samples(farmyard):
    return soundfile.read(farmyard, dtype="float32")[0]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_open_events_and_loses_none(how, tmp_path, samples):
    daemon = Process(tmp_path)
    daemon.play(samples[: 16 * 32_000])  # in the middle of the thunder
    wait_for(lambda: any(line["label"] == "Cattle, bovinae" for line in daemon.lines))
    time.sleep(0.5)
    status, err = daemon.end(how)
    assert status == 0
    assert "Traceback" not in err
    lines = daemon.lines
    thunder = [line for line in lines if line.get("label") == "Thunder"]
    assert [line["type"] for line in thunder] == ["start", "end"]
    assert thunder[1]["offset"] == pytest.approx(16, abs=0.01)
    assert all(line["time"] is not None for line in lines)


def test_a_pipe_that_ends_ends_the_program(tmp_path, samples):
    daemon = Process(tmp_path)
    daemon.play(samples)
    daemon.process.stdin.close()
    assert daemon.process.wait(30) == 0
    assert {line["label"] for line in daemon.lines} >= {"Speech", "Dog", "Thunder", "Fowl"}
    daemon.process.stderr.close()


def test_sighup_reads_the_configuration_again_and_refuses_a_bad_one(tmp_path, samples):
    daemon = Process(tmp_path)
    daemon.play(samples[: 12 * 32_000])
    wait_for(lambda: any(line.get("label") == "Speech" for line in daemon.lines))
    daemon.write_config(detection={"threshhold": 0.5})
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: any(line.get("state") == "configuration refused" for line in daemon.lines))
    refused = next(line for line in daemon.lines if line.get("state") == "configuration refused")
    assert "detection.threshhold: unknown key, meant threshold?; the old one stays" in refused["text"]
    daemon.write_config(detection={"labels": ["Nothing"]})
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: sum(line.get("state") == "configuration refused" for line in daemon.lines) == 2)
    daemon.play(samples[12 * 32_000 : 20 * 32_000])
    daemon.write_config(detection={"labels": ["Fowl"]})
    time.sleep(0.5)
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: any(line.get("state") == "configuration read again" for line in daemon.lines))
    at = next(i for i, line in enumerate(daemon.lines) if line.get("state") == "configuration read again")
    daemon.play(samples)
    daemon.process.stdin.close()
    assert daemon.process.wait(30) == 0
    daemon.process.stderr.close()
    assert {line["label"] for line in daemon.lines[at:] if line["type"] == "start"} == {"Fowl"}


def test_a_configuration_that_fails_when_it_is_used_is_refused_too(tmp_path, samples):
    daemon = Process(tmp_path)
    daemon.play(samples[: 2 * 32_000])
    time.sleep(1)
    stream = {"name": "gate", "stream": {"url": "rtsp://me:{password}@x/y", "password": {"env": "NOT_THERE"}}}
    daemon.config.write_text(yaml.safe_dump({"sources": [stream]}))
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: any(line.get("state") == "configuration refused" for line in daemon.lines))
    assert "the environment has no NOT_THERE" in daemon.lines[-1]["text"]
    daemon.play(samples)
    daemon.process.stdin.close()
    assert daemon.process.wait(30) == 0
    daemon.process.stderr.close()
    assert any(line.get("label") == "Thunder" for line in daemon.lines)


def test_to_be_ended_while_the_configuration_is_read_again(tmp_path, samples):
    daemon = Process(tmp_path)
    daemon.play(samples[: 2 * 32_000])
    time.sleep(1)
    daemon.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert daemon.end()[0] == 0


def test_systemd_is_told_when_it_is_ready_alive_and_stopping(tmp_path, samples):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        daemon = Process(tmp_path, str(tmp_path / "notify"))
        assert systemd.recv(1000) == b"READY=1\nSTATUS=listening to yard"
        assert [systemd.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        daemon.process.terminate()
        while (told := systemd.recv(1000)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1"
        assert daemon.end()[0] == 0


def test_killed_and_started_again_no_event_is_stored_twice(tmp_path, samples):
    database = tmp_path / "events.db"
    for part in (samples[: 16 * 32_000], samples):
        daemon = Process(tmp_path, outputs={"store": {"path": str(database)}})
        daemon.play(part)
        wait_for(
            lambda daemon=daemon: any(line.get("label") == "Speech" and line["type"] == "end" for line in daemon.lines)
        )
        time.sleep(1)
        daemon.end(signal.SIGKILL)
        told = daemon.lines
        daemon.out.unlink()
        with sqlite3.connect(database) as connection:
            (session,) = connection.execute("SELECT session FROM events ORDER BY id DESC LIMIT 1").fetchone()
            rows = connection.execute("SELECT line FROM events WHERE session = ? ORDER BY id", (session,)).fetchall()
        connection.close()
        stored = [json.loads(row[0]) for row in rows]
        assert stored[: len(told)] == told[: len(stored)]
        assert len(stored) >= 2
        keys = [(line["type"], line["label"], line["onset"]) for line in stored]
        assert len(keys) == len(set(keys))


def test_figures_and_health_of_a_running_daemon(tmp_path, samples):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    daemon = Process(tmp_path, outputs={"metrics": {"port": port}})
    daemon.play(samples)
    wait_for(lambda: any(line.get("label") == "Fowl" for line in daemon.lines))

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    told = json.loads(get("/healthz"))
    assert told["healthy"]
    assert told["sources"]["yard"] == {"heard": True, "problems": [], "coverage": 1.0}
    figures = dict(line.rsplit(" ", 1) for line in get("/metrics").splitlines() if not line.startswith("#"))
    assert float(figures["htsat_edge_clips_total"]) >= 10
    assert float(figures["htsat_edge_inference_seconds_sum"]) > 0
    assert 20 < float(figures['htsat_edge_heard_seconds_total{source="yard"}']) <= 27.01  # it is still listening
    assert float(figures['htsat_edge_output_dropped_total{output="stdout"}']) == 0
    assert daemon.end()[0] == 0
