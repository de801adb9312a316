"""Measure what the page costs detection: python tests/live_page.py --seconds 60

A process `htsat-edge listen` with a store, clips and the page hears a recording over and over, in real time, through
its stdin. For one span nobody looks; for the next, browsers do (connections that read the live stream) and others never
read what they asked for. Printed are the processor time of the daemon and of the page's process in both, their
memory, how much of the sound was heard, and what the browsers got.
"""

import argparse
import asyncio
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile
import soxr

RECORDING = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
RATE_HZ = 32_000
PIECE_S = 0.1
LISTEN = [sys.executable, "-m", "htsat_edge", "listen"]
HOST = "127.0.0.1"


class Usage:
    """The processor time and the memory of a process, as the system counts them."""

    def __init__(self, process_id):
        self._folder = Path(f"/proc/{process_id}")

    @property
    def cpu_s(self):
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    @property
    def memory_mb(self):
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def free_port():
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def play(pipe, stop):
    """Write the recording over and over in real time until `stop`."""
    samples, rate = soundfile.read(RECORDING, dtype="float32")
    pcm = np.round(32767 * soxr.resample(samples, rate, RATE_HZ)).astype("<i2")
    length, begun = round(PIECE_S * RATE_HZ), time.monotonic()
    for count in itertools.count(1):
        time.sleep(max(0.0, begun + count * PIECE_S - time.monotonic()))
        if stop.is_set():
            pipe.close()
            return
        pipe.write(np.take(pcm, range((count - 1) * length, count * length), mode="wrap").tobytes())


async def watch(port, seconds, got):
    """Read the live stream for so many seconds; add the bytes and the frames that came."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"GET /api/live HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            part = await asyncio.wait_for(reader.read(1 << 16), left)
        except asyncio.TimeoutError:
            break
        if not part:
            got["ended"] += 1
            break
        got["bytes"] += len(part)
        got["frames"] += part.count(b"event: frame")
    writer.close()


async def ignore(port, seconds):
    """Ask for the live stream, and never read it."""
    _, writer = await asyncio.open_connection(HOST, port, limit=1)
    writer.write(f"GET /api/live HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
    await asyncio.sleep(seconds)
    writer.transport.abort()


async def look(port, seconds, browsers, deaf):
    got = {"bytes": 0, "frames": 0, "ended": 0}
    await asyncio.gather(
        *(watch(port, seconds, got) for _ in range(browsers)), *(ignore(port, seconds) for _ in range(deaf))
    )
    return got


def measure(name, usages, seconds, work):
    """Do `work` and print what the processes have used meanwhile; return the shares of a core."""
    before = {each: usage.cpu_s for each, usage in usages.items()}
    begun = time.monotonic()
    result = work()
    took = time.monotonic() - begun
    shares = {each: (usage.cpu_s - before[each]) / took for each, usage in usages.items()}
    text = ", ".join(f"{each} {100 * shares[each]:.2f} % of a core, {u.memory_mb:.0f} MB" for each, u in usages.items())
    print(f"{name}, {seconds:g} s: {text}{f'; {result}' if result else ''}", flush=True)
    return shares


def find_page(port, parent):
    """Return the number of the page's process, a child of the daemon."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        tasks = Path(f"/proc/{parent}/task").iterdir()  # a thread of the daemon has started it
        children = [child for task in tasks for child in (task / "children").read_text().split()]
        try:
            socket.create_connection((HOST, port), 0.5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return int(children[0])
    sys.exit("live_page.py: the page does not answer")


def report_gaps(messages, daemon):
    """Print how many messages the daemon has given by its end, and how many of them are gaps."""
    daemon.wait(60)
    lines = [json.loads(line) for line in messages.read_text().splitlines()]
    print(f"{len(lines)} messages, {sum(line['type'] == 'gap' for line in lines)} of them gaps")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0, help="of each span")
    parser.add_argument("--rounds", type=int, default=2, help="so often each span")
    parser.add_argument("--browsers", type=int, default=50)
    parser.add_argument("--deaf", type=int, default=5, help="connections that never read")
    args = parser.parse_args()
    port, added = free_port(), []
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "detector.yaml"
        config.write_text(
            json.dumps(
                {
                    "sources": [{"name": "yard", "stdin": {"sample_rate": RATE_HZ}}],
                    "outputs": {"store": {"path": str(folder / "events.db")}, "clips": {"folder": str(folder / "c")}},
                    "web": {"port": port},
                }
            )
        )
        messages = opened.enter_context((folder / "messages.jsonl").open("w"))
        command = [*LISTEN, "--config", str(config)]
        daemon = opened.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=messages, bufsize=0))
        opened.callback(report_gaps, folder / "messages.jsonl", daemon)
        stop = threading.Event()
        player = threading.Thread(target=play, args=[daemon.stdin, stop])
        player.start()
        opened.callback(player.join)
        opened.callback(stop.set)
        usages = {"daemon": Usage(daemon.pid), "page": Usage(find_page(port, daemon.pid))}
        time.sleep(15)  # until the hop is chosen, and a window is full
        for _ in range(args.rounds):
            alone = measure("nobody looks", usages, args.seconds, lambda: time.sleep(args.seconds))
            watched = measure(
                f"{args.browsers} browsers, {args.deaf} that never read",
                usages,
                args.seconds,
                lambda: asyncio.run(look(port, args.seconds, args.browsers, args.deaf)),
            )
            added.append(watched["daemon"] - alone["daemon"])
    print(f"the daemon's processor time rose by {100 * np.mean(added):.2f} % of a core")


if __name__ == "__main__":
    main()
