"""Listen to live sources on this machine and print load and latency: python tests/live.py --sources 4 --seconds 60

Each source plays the recording over and over in real time, in blocks of 0.1 s at 48 kHz, each from another place on.
All of the daemon runs as it would with as many microphones: the model, a database, a file of messages.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig, JsonLinesConfig, OutputsConfig, StoreConfig
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.events import EventStart

RECORDING = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
RATE_HZ = 48_000
BLOCK_S = 0.1


class Microphone:
    """Plays samples in real time, from a place on, as a sound card would."""

    def __init__(self, name, samples, start, seconds, news):
        self.feed = Feed(name, news, live=True)
        self.feeds, self.behind_s = [self.feed], []
        self._samples, self._start, self._seconds = samples, start, seconds
        self._thread = threading.Thread(target=self._run)

    def start(self):
        self._thread.start()

    def stop(self):
        self._thread.join()

    def _run(self):
        length, self.begun = round(BLOCK_S * RATE_HZ), time.monotonic()
        self.feed.open(RATE_HZ)
        for number in range(round(self._seconds / BLOCK_S)):
            time.sleep(max(0.0, self.begun + (number + 1) * BLOCK_S - time.monotonic()))
            self.behind_s.append(self.feed.behind_s)
            at = self._start + number * length
            self.feed.arrive(self._samples.take(range(at, at + length), mode="wrap"))
        self.feed.end()


def watch_starts(publisher, microphones):
    """Return a list that gets, for each start, the seconds from the onset that it states to when it is published."""
    begun, found, publish = {one.feed.name: one for one in microphones}, [], publisher.publish

    def watched(messages):
        messages = list(messages)
        publish(messages)
        now = time.monotonic()
        found.extend(now - begun[m.source].begun - m.onset for m in messages if isinstance(m, EventStart))

    publisher.publish = watched
    return found


def live(count, seconds, document):
    """Run the daemon on so many sources for so long; return what was found."""
    samples, rate = soundfile.read(RECORDING, dtype="float32")
    samples, news = soxr.resample(samples, rate, RATE_HZ), threading.Event()
    microphones = [
        Microphone(f"microphone {i + 1}", samples, round(i * len(samples) / count), seconds, news) for i in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "events.jsonl"
        outputs = OutputsConfig(
            stdout=False, json_lines=JsonLinesConfig(path=out), store=StoreConfig(path=Path(folder) / "events.db")
        )
        parts = assemble(DaemonConfig.model_validate({**document, "outputs": outputs}), microphones, news)
        arrived = watch_starts(parts.publisher, microphones)
        scorer, begun, cpu_s = parts.scorer, time.monotonic(), time.process_time()
        Daemon(parts, Notifier()).run()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - begun
        messages = [json.loads(line) for line in out.read_text().splitlines()]
    sessions = parts.sessions
    return {
        "sources": count,
        "seconds": round(wall_s, 1),
        "cores": os.cpu_count(),
        "hop_s": sorted({session.hop_s for session in sessions}),
        "hop_changes": [m for m in messages if m.get("state") == "hop_changed"],
        "expected_latency_s": sessions[0].latency_s,
        "onset_to_start_s": {f"p{q}": round(float(np.percentile(arrived or [np.nan], q)), 2) for q in (50, 95)},
        "starts": len(arrived),
        "ms_a_window": round(1000 * scorer.seconds / scorer.windows, 2),
        "model_share_of_time": round(scorer.seconds / wall_s, 4),
        "processor_share_of_a_core": round(cpu_s / wall_s, 4),
        "behind_s": {
            "median": round(float(np.median([s for one in microphones for s in one.behind_s])), 3),
            "worst": round(max(max(one.behind_s) for one in microphones), 3),
        },
        "gaps": sum(message["type"] == "gap" for message in messages),
        "lost_s": round(sum(session.all_time.lost_s for session in sessions), 3),
    }


def main():
    parser = argparse.ArgumentParser(description="Listen to live sources on this machine; print load and latency.")
    parser.add_argument("--sources", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hop", default="auto", help="seconds, or auto")
    parser.add_argument("--threads", type=int, help="of onnxruntime; by default one fewer than there are cores")
    args = parser.parse_args()
    hop_s = "auto" if args.hop == "auto" else float(args.hop)
    found = live(args.sources, args.seconds, {"model": {"threads": args.threads}, "detection": {"hop_s": hop_s}})
    print(json.dumps(found, indent=2))
    return 0 if not found["gaps"] and not found["lost_s"] else 1


if __name__ == "__main__":
    sys.exit(main())
