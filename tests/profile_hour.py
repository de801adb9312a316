"""Measure where the daemon's processor time goes, apart from the model's: python tests/profile_hour.py

An hour of a 48 kHz microphone, in blocks of 0.1 s, goes through the daemon as fast as it can, with a database and a
file of messages. A stand-in with 527 classes that costs next to nothing takes the place of the model, every 0.32 s.
"""

import argparse
import functools
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.daemon.assembly import Parts, make_outputs
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig, JsonLinesConfig, OutputsConfig, StoreConfig
from htsat_edge.runtime.daemon.health import HealthMonitor
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.detector import WindowStream
from htsat_edge.runtime.dsp.log_mel import LogMelStream
from htsat_edge.runtime.dsp.median import MedianFilter
from htsat_edge.runtime.dsp.resampler import Resampler
from htsat_edge.runtime.dsp.timeline import Timeline
from htsat_edge.runtime.dsp.tracker import EventTracker
from htsat_edge.runtime.dsp.windows import WindowCutter
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

ROOT = Path(__file__).parent.parent
RATE_HZ = 48_000
BLOCK_S = 0.1
MESSAGES = "messages.jsonl"


class Stopwatch:
    """The processor time of each stage, without that of the stages that it calls."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._thread = threading.local()

    def watch(self, stage, owner, name):
        """Count the time of a method of a class as that of a stage."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args, **more):
            within = self._thread.__dict__.setdefault("within", [])
            within.append(0.0)
            begun = time.thread_time()
            try:
                return function(*args, **more)
            finally:
                took = time.thread_time() - begun
                self.seconds[stage] += took - within.pop()
                if within:
                    within[-1] += took

        setattr(owner, name, timed)


class Drawn:
    """A backend whose scores were drawn beforehand; few of them are events."""

    def __init__(self, info) -> None:
        rng = np.random.default_rng(0)
        self._framewise = rng.beta(0.2, 4, (16, info.steps, len(info.labels))).astype(np.float32)
        self._turn = 0

    def infer(self, log_mel):
        self._turn += 1
        framewise = self._framewise[[(self._turn + i) % 16 for i in range(len(log_mel))]]
        return Scores(framewise, framewise[:, 0], framewise[:, 0])

    def close(self):
        pass


class Noise:
    """A microphone that records noise, in blocks, as fast as they are read."""

    def __init__(self, feed, hours) -> None:
        self.feeds = [feed]
        self._blocks = round(hours * 3600 / BLOCK_S)
        self._thread = threading.Thread(target=self._run)

    def start(self):
        self._thread.start()

    def stop(self):
        self._thread.join()

    def _run(self):
        (feed,) = self.feeds
        samples = np.random.default_rng(0).normal(0, 0.05, (100, round(BLOCK_S * RATE_HZ))).astype(np.float32)
        feed.open(RATE_HZ)
        for number in range(self._blocks):
            feed.wait_for_room(threading.Event())
            feed.write(samples[number % 100])
        feed.end()


def watch_stages():
    """Start to count the time of every stage; return the stopwatch."""
    stopwatch = Stopwatch()
    for stage, owner, name in (
        ("ring buffer", Feed, "write"),
        ("ring buffer", Feed, "read"),
        ("search for input faults", HealthMonitor, "_measure"),
        ("resampling 48 to 32 kHz", Resampler, "push"),
        ("log-mel", LogMelStream, "push"),
        ("cutting windows", WindowStream, "_cut"),
        ("cutting windows", WindowCutter, "_cut"),
        ("scoring, apart from the model", Scorer, "__call__"),
        ("merging windows", Timeline, "push"),
        ("median", MedianFilter, "push"),
        ("hysteresis, 527 classes", EventTracker, "push"),
        ("early starts, 527 classes", EventTracker, "push_newest"),
        ("the stand-in for the model", Drawn, "infer"),
    ):
        stopwatch.watch(stage, owner, name)
    return stopwatch


def make_parts(folder, hours):
    """Return the parts of a daemon with 527 classes and two outputs in a folder."""
    labels = [row["label"] for row in read_csv(ROOT / "configs" / "labels" / "audioset.csv", ["label"])]
    info = load_bundle(BUNDLED).info.model_copy(update={"labels": labels, "thresholds": {}, "median_steps": {}})
    news, system = threading.Event(), SystemClock(time.time(), time.monotonic())
    feed = Feed("noise", news, live=False)
    config = OutputsConfig(
        stdout=False, json_lines=JsonLinesConfig(path=folder / MESSAGES), store=StoreConfig(path=folder / "events.db")
    )
    publisher = Publisher(make_outputs(config, {feed.name: labels}, {}, "profile"), system)
    opened = ExitStack()
    for sender in publisher.senders:
        sender.start()
        opened.callback(sender.close)
    return Parts(
        sources=[Noise(feed, hours)],
        sessions=[SourceSession(feed, info, Settings(), HealthConfig(), system)],
        scorer=Scorer(Drawn(info), info.front_end, gate_dbfs=None),
        publisher=publisher,
        system=system,
        news=news,
        opened=opened,
    )


def profile(hours):
    """Run the daemon; return the processor's seconds by stage, those in all, and the number of messages."""
    stopwatch = watch_stages()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        daemon = Daemon(make_parts(folder, hours), Notifier())
        begun = time.process_time()
        daemon.run()
        whole = time.process_time() - begun
        messages = (folder / MESSAGES).read_text().count("\n")
    return stopwatch.seconds, whole, messages


def main():
    parser = argparse.ArgumentParser(description="Measure where the daemon's processor time goes.")
    parser.add_argument("--hours", type=float, default=1.0)
    args = parser.parse_args()
    seconds, whole, messages = profile(args.hours)
    rest = whole - sum(seconds.values())
    heard_s = 3600 * args.hours
    for stage, took in sorted([*seconds.items(), ("the rest: loop, threads, outputs", rest)], key=lambda x: -x[1]):
        print(f"{100 * took / heard_s:8.4f} %  {100 * took / whole:5.1f} %  {stage}")
    print(f"{100 * whole / heard_s:8.4f} %  of a core in all; {args.hours:g} h of audio, {messages} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
