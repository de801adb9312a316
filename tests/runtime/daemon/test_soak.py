"""Half an hour of the soak (python tests/soak.py --hours 24 is the whole), and two hundred faults."""

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from htsat_edge.runtime.daemon.config import DaemonConfig, JsonLines, Mqtt, Outputs, Source, Store, Webhook
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier

SOAK = Path(__file__).parents[2] / "soak.py"
FAULTS = 200
NEVER = threading.Event()


def test_half_an_hour_loses_nothing_and_is_what_detect_says():
    done = subprocess.run([sys.executable, SOAK, "--hours", "0.5"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["same"]
    assert found["lines"] > 1000


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.CLOSE_S", 30.0)
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.QUEUED", 20_000)
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.store.BUSY_S", 0.05)


def test_two_hundred_faults_lose_nothing_that_is_not_told(fed, tmp_path, farmyard, broker, server, quick):
    """Broker killed, webhook failing and hanging, disk full, database locked, samples lost, no numbers, other rates.

    SIGHUP with a bad file and kill -9 are in test_daemon.py: they need a process of their own.
    """
    feeds = fed()
    link, real, database = tmp_path / "events.jsonl", tmp_path / "real.jsonl", tmp_path / "events.db"
    real.touch()
    link.symlink_to(real)
    outputs = Outputs(
        stdout=False,
        json_lines=JsonLines(path=link, rotate_mb=1e6),
        store=Store(path=database),
        mqtt=Mqtt(host="127.0.0.1", port=broker.port, discovery=None),
        webhook=Webhook(url=server.url, timeout_s=0.3),
    )
    daemon = Daemon(DaemonConfig(sources=[Source(name="yard", file=tmp_path)], outputs=outputs), Notifier())
    crashed = []

    def run():
        try:
            daemon.run()
        except BaseException as error:
            crashed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    (feed,) = feeds
    rng, (samples, rate) = random.Random(0), soundfile.read(farmyard, dtype="float32")
    halved = np.ascontiguousarray(samples[::2])
    now = {"rate": rate, "lost_s": 0.0, "heard_s": 0.0, "broker": True}
    feed.open(rate)

    def write(seconds):
        source = samples if now["rate"] == rate else halved
        at = rng.randrange(len(source))
        part = np.take(source, range(at, at + round(seconds * now["rate"])), mode="wrap")
        for first in range(0, len(part), now["rate"] // 10):
            feed.wait_for_room(NEVER)
            feed.write(part[first : first + now["rate"] // 10])
        now["heard_s"] += len(part) / now["rate"]

    def broker_fault():
        broker.kill() if now["broker"] else broker.start()
        now["broker"] = not now["broker"]

    def disk_fault():
        link.unlink()
        link.symlink_to("/dev/full")
        time.sleep(0.05)
        link.unlink()
        link.symlink_to(real)

    def database_fault():
        other = sqlite3.connect(database, timeout=5)
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(0.1)
        other.rollback()
        other.close()

    def lose():
        length = rng.randrange(1, 8 * now["rate"])
        feed.skip(length / now["rate"], "the device was not read in time")
        now["lost_s"] += length / now["rate"]

    def no_numbers():
        block = samples[:800].copy()
        block[rng.randrange(800)] = rng.choice([np.nan, np.inf])
        feed.write(block)
        now["lost_s"] += 800 / now["rate"]

    def another_rate():
        gap_s = rng.randrange(5) / 4
        now["rate"] = rate // 2 if now["rate"] == rate else rate
        feed.open(now["rate"], gap_s, "another device")
        now["lost_s"] += gap_s

    faults = {
        "broker": broker_fault,
        "webhook fails": lambda: server.answers.extend([(503, 0)] * rng.randrange(1, 4)),
        "webhook hangs": lambda: server.answers.append((503, 0.5)),
        "disk": disk_fault,
        "database": database_fault,
        "lost": lose,
        "no numbers": no_numbers,
        "rate": another_rate,
    }
    for _ in range(FAULTS):
        write(rng.choice([0.2, 3.0, 12.0]))
        faults[rng.choice(list(faults))]()
        assert thread.is_alive()
    write(12.0)
    if not now["broker"]:
        broker.start()
    server.answers.clear()
    feed.end()
    thread.join(120)
    assert crashed == []
    assert not thread.is_alive()
    told = [json.loads(line) for line in real.read_text().splitlines()]
    gaps = [line for line in told if line["type"] == "gap"]
    coverage = daemon.listeners[0].all_time
    assert sum(gap["offset"] - gap["onset"] for gap in gaps) == pytest.approx(now["lost_s"], abs=2e-4 * len(gaps))
    assert coverage.heard_s == pytest.approx(now["heard_s"], abs=1e-6)
    assert coverage.gaps == len(gaps) > 40
    with sqlite3.connect(database) as connection:
        stored = [json.loads(row[0]) for row in connection.execute("SELECT line FROM events ORDER BY id")]
    connection.close()
    assert stored == told
    keys = [json.dumps(line) for line in told]
    assert len(set(keys)) == len(keys) > 300
    starts, ends = ([(x["label"], x["onset"]) for x in told if x["type"] == kind] for kind in ("start", "end"))
    assert sorted(starts) == sorted(ends)
    posted = [json.dumps(content) for content, _ in server.got]
    assert set(posted) == set(keys)
    for output in daemon.outputs:
        # A broker that is away is waited for, which is no failure before 5 s.
        assert output.failures > 0 or output.name.startswith("mqtt"), f"{output.name}: no fault has met it"
        # All of it was taken: by the broker, too, though its subscriber was not always there to hear it.
        assert (output.sent, output.dropped) == (len(keys), 0), output.name
    assert os.path.realpath(link) == str(real)
