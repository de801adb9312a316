"""Load one collector with many simulated devices, and compare its store with what they sent: python tests/fleet_load.py

The broker (mosquitto) and the collector are processes. Devices publish what they are and how they get on, and numbered
messages: a start and an end for each class, again and again. The broker is restarted twice meanwhile; then each device
begins a new session, as after a reload. At the end, every message must be in the store, once. `--kill` also kills the
collector (SIGKILL) at half time. `--burst N` measures instead how many messages a second one collector stores, of N
that wait at the broker. The script fails where something is lost, there twice, or otherwise than it was sent.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.daemon.device import DeviceProfile, NumberedMessage
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store.connect import open_store
from htsat_edge.runtime.store.engine import PostgresUrl

FIXTURES = Path(__file__).parent / "fixtures"
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
COLLECT = "import sys; from htsat_edge.runtime.commands.cli import main; sys.exit(main(sys.argv[1:]))"
TICKS = os.sysconf("SC_CLK_TCK")
EVENTS = """
    SELECT device, uid, source, events.number, label, onset, "offset", time, score, stored_at
    FROM events JOIN sessions ON sessions.id = session
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(condition, seconds=120, what=lambda: ""):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"nothing happened {what()}")
        time.sleep(0.05)


class Process:
    """A program that is started, ended and looked at."""

    def __init__(self, command, log):
        self._command, self._log = command, log
        self.cpu_s, self.rss_mb = 0.0, 0.0
        self.start()

    def start(self):
        self._process = subprocess.Popen(self._command, stderr=self._log, stdout=self._log)

    def look(self):
        """Take note of the time on processors and the memory so far; another run of it counts, too."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        self._now_s = (int(fields[11]) + int(fields[12])) / TICKS
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        self.rss_mb = max(self.rss_mb, int(status.partition("VmHWM:")[2].split()[0]) / 1024)

    def end(self, number=signal.SIGTERM):
        if self._process.poll() is None:
            self.look()
            self.cpu_s += self._now_s
            self._process.send_signal(number)
        self._process.wait()


class SimulatedDevice:
    """A device that hears its classes in turn, and keeps what it has sent."""

    def __init__(self, name, labels, every_s, port):
        self.topic, self._labels, self._every_s = f"htsat-edge/{name}", labels, every_s
        self.sent, self.count = {}, 0
        """Events as the store is to have them, by session and id; messages."""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._client.max_inflight_messages_set(20)
        self._client.will_set(f"{self.topic}/status", "offline", qos=1, retain=True)
        self._client.on_connect = lambda *_: self._say("status", "online", retain=True)
        self._client.reconnect_delay_set(1, 2)
        self._client.connect_async("127.0.0.1", port)
        self._random = random.Random(name)
        self._pending = [(self._random.uniform(0, every_s), label, None) for label in labels]
        self._health_s = 0.0
        self.begin_session()
        self._client.loop_start()

    def begin_session(self):
        self._uid, self._number, self._id = uuid.uuid4().hex, 0, 0
        profile = DeviceProfile(
            device=self.topic, place=f"Barn {ord(self.topic[-1]) % 5}", version="0", session=self._uid,
            started_at=format_time(datetime.now(timezone.utc)), model="made up", bundle="0" * 64, backend="none",
            precision=None, hop_s={"yard": 0.32}, health_s=60, page=None,
        )  # fmt: skip
        self._say("info", profile.model_dump_json(), retain=True)

    def turn(self, now_s):
        """Send what is due, `now_s` seconds after the start."""
        if now_s >= self._health_s:
            self._health_s = now_s + 60
            self._say("health", json.dumps({"type": "device", "healthy": True, "uptime_s": now_s}), retain=True)
        for due in [one for one in self._pending if one[0] <= now_s]:
            self._pending.remove(due)
            self._pending.append(self._next(now_s, *due[1:]))

    def _next(self, now_s, label, started):
        """Send the start of an event, or the end of one; return what is next of this class, and when."""
        at = format_time(datetime.now(timezone.utc))
        if started is None:
            self._id += 1
            event = EventStart(source="yard", id=self._id, label=label, onset=round(now_s, 4), time=at, score=0.5)
            self.send(event)
            return now_s + self._every_s * self._random.uniform(0.1, 0.5), label, (self._uid, event)
        uid, start = started
        if uid == self._uid:  # else its session has ended before it
            content = start.model_dump() | {"type": "end", "offset": round(now_s, 4), "score": 0.75}
            self.send(EventEnd.model_validate(content))
        return now_s + self._every_s * self._random.uniform(0.5, 0.9), label, None

    def send(self, event):
        self._number, self.count = self._number + 1, self.count + 1
        message = NumberedMessage(session=self._uid, number=self._number, message=json.loads(event.encoded))
        self._say("messages", message.model_dump_json())
        key = (self.topic, self._uid, event.source, event.id)
        self.sent[key] = (event.label, event.onset, event.offset, event.time, event.score)

    @property
    def unconfirmed(self):
        return len(self._client._out_messages)

    def _say(self, kind, content, retain=False):
        self._client.publish(f"{self.topic}/{kind}", content, qos=1, retain=retain)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


def set_up(args, folder, opened):
    """Return the broker's port, the broker, the collector, which listens, and where its store is."""
    port = free_port()
    conf = folder / "mosquitto.conf"
    conf.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n"
        f"persistence_location {folder}/\nmax_queued_messages 0\nmax_inflight_messages {args.inflight}\n"
    )
    config, log = folder / "collector.yaml", opened.enter_context((folder / "log").open("wb"))
    place = folder / "fleet.db"
    store = {"path": str(place), "keep_days": 10_000}
    if args.store == "postgresql":
        sys.path.append(str(FIXTURES))
        import postgresql

        postgresql.QUICK.update(fsync="on", full_page_writes="on")
        server = postgresql.PostgresServer(postgresql.find_programs(), free_port(), wait_for)
        opened.callback(server.close)
        (folder / "url").write_text(server.url())
        place, store = PostgresUrl((folder / "url").read_text()), {"url": {"file": str(folder / "url")}}
    config.write_text(yaml.safe_dump({"broker": {"host": "127.0.0.1", "port": port}, "store": store}))
    broker = Process([MOSQUITTO, "-c", str(conf)], log)
    opened.callback(broker.end)
    wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    collector = Process([sys.executable, "-c", COLLECT, "collect", "--config", str(config)], log)
    opened.callback(collector.end)
    wait_for(lambda: "listening to" in (folder / "log").read_text())
    return port, broker, collector, place


def read_events(place):
    """Return the events of the store, by device, session, source and id; each with when it was stored."""
    connection = open_store(place)
    try:
        rows = connection.execute(EVENTS).fetchall()
        lost = connection.execute("SELECT coalesce(sum(lost), 0) FROM devices").fetchone()[0]
    finally:
        connection.close()
    return {tuple(row[:4]): tuple(row[4:9]) for row in rows}, [(row[7], row[9]) for row in rows], lost, len(rows)


def compare(devices, place):
    """Print how the store differs from what was sent; return whether it does not."""
    sent = {key: event for device in devices for key, event in device.sent.items()}
    stored, times, lost, rows = read_events(place)
    missing, foreign = sent.keys() - stored.keys(), stored.keys() - sent.keys()
    other = [key for key in sent.keys() & stored.keys() if sent[key] != stored[key]]
    print(
        f"{sum(device.count for device in devices)} messages, {len(sent)} events sent; {rows} stored, "
        f"{len(missing)} missing, {len(foreign)} of nobody, {rows - len(stored)} twice, {len(other)} otherwise than "
        f"sent; {lost} messages counted as lost"
    )
    for key in list(missing)[:10]:
        print(key, sent[key])
    delays = sorted(1000 * (at - datetime.fromisoformat(time).timestamp()) for time, at in times)
    if delays:
        print(
            f"from the start of an event to the collector: median {statistics.median(delays):.0f} ms, "
            f"95 % {delays[int(0.95 * len(delays))]:.0f} ms, longest {delays[-1]:.0f} ms"
        )
    return not (missing or foreign or other or lost) and rows == len(sent)


def run_load(args, folder, opened):
    """Load the collector; return whether its store is right."""
    port, broker, collector, place = set_up(args, folder, opened)
    labels = [f"Class {i}" for i in range(args.classes)]
    devices = [SimulatedDevice(f"device-{i:03}", labels, args.every, port) for i in range(args.devices)]
    begun, length_s = time.monotonic(), 60 * args.minutes
    due = [
        (length_s / 3, "restart"),
        (length_s / 2, "kill"),
        (2 * length_s / 3, "restart"),
        (0.8 * length_s, "session"),
    ]
    while (now_s := time.monotonic() - begun) < length_s:
        for device in devices:
            device.turn(now_s)
        while due and now_s >= due[0][0]:
            match due.pop(0)[1]:
                case "restart":
                    broker.end()
                    time.sleep(2)
                    broker.start()
                    print(f"{now_s:.0f} s: the broker was restarted", flush=True)
                case "kill" if args.kill:
                    collector.end(signal.SIGKILL)
                    time.sleep(2)
                    collector.start()
                    print(f"{now_s:.0f} s: the collector was killed", flush=True)
                case "session":
                    for device in devices:
                        device.begin_session()
        time.sleep(0.02)
    wait_for(lambda: not any(device.unconfirmed for device in devices))
    count = sum(len(device.sent) for device in devices)
    ended_s = time.monotonic() - begun
    limit_s = time.monotonic() + 60
    while read_count(place) < count and time.monotonic() < limit_s:
        time.sleep(0.2)
    time.sleep(3)  # whatever comes twice would have come by now
    collector.end()
    for device in devices:
        device.close()
    print(
        f"{count / ended_s:.1f} events/s for {ended_s:.0f} s: collector {100 * collector.cpu_s / ended_s:.1f} % of a "
        f"core, {collector.rss_mb:.0f} MB; broker {broker.rss_mb:.0f} MB"
    )
    return compare(devices, place)


def run_burst(args, folder, opened):
    """Have messages wait at the broker, and measure how long the collector takes; return whether its store is right."""
    port, _, collector, place = set_up(args, folder, opened)
    collector.end()  # the broker knows it now
    device = SimulatedDevice("device-000", ["Dog"], 1e9, port)
    devices = [device]
    for i in range(args.burst):
        at = format_time(datetime.now(timezone.utc))
        device.send(EventStart(source="yard", id=i + 1, label="Dog", onset=float(i), time=at, score=0.5))
    wait_for(lambda: not device.unconfirmed, 600)
    begun, cpu_s = time.monotonic(), collector.cpu_s
    collector.start()
    wait_for(lambda: read_count(place) > 0)
    first_s, first = time.monotonic(), read_count(place)
    wait_for(lambda: read_count(place) >= args.burst, 600)
    last_s = time.monotonic()
    collector.end()
    device.close()
    print(
        f"{args.store}, {args.inflight or 'any number of'} messages on the way at once: "
        f"{(args.burst - first) / (last_s - first_s):.0f} messages/s ({last_s - begun:.1f} s with the start), "
        f"{1e6 * (collector.cpu_s - cpu_s) / args.burst:.0f} µs of a core a message, {collector.rss_mb:.0f} MB"
    )
    return compare(devices, place)


def read_count(place):
    connection = open_store(place)
    try:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]
    finally:
        connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=20.0, help="s from one event of a class in a device to the next")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--inflight", type=int, default=20, help="the broker's max_inflight_messages")
    parser.add_argument("--kill", action="store_true", help="kill the collector at half time")
    parser.add_argument("--burst", type=int, metavar="N", help="measure N messages that wait")
    args = parser.parse_args()
    threading.stack_size(512 * 1024)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        opened.callback(lambda: print((folder / "log").read_text(errors="replace")[-3000:], file=sys.stderr))
        right = (run_burst if args.burst else run_load)(args, folder, opened)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
