"""Where each percent of a core goes but for the model's: python tests/profile_hour.py

An hour of a 48 kHz microphone, in blocks of 0.1 s, goes through the daemon as fast as it can, with a database and a
file of lines. The model is a stand-in with 527 classes that costs next to nothing, run every 1.28 s.
"""

import argparse
import dataclasses
import functools
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import htsat_edge.runtime.daemon.loop
import htsat_edge.runtime.detector
import numpy as np
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.daemon.config import DaemonConfig, JsonLines, Model, Outputs, Source, Store
from htsat_edge.runtime.daemon.health import HealthMonitor
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.sources import Feed
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import Resampler
from htsat_edge.runtime.dsp.log_mel import LogMelStream
from htsat_edge.runtime.dsp.median import MedianFilter
from htsat_edge.runtime.dsp.timeline import Timeline
from htsat_edge.runtime.dsp.windows import ClipStream
from htsat_edge.runtime.models.backends import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle

ROOT = Path(__file__).parent.parent
RATE_HZ = 48_000
BLOCK_S = 0.1


class Clock:
    """The processor time of each stage, without that of the stages that it calls."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._thread = threading.local()

    def watch(self, stage, owner, name):
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
    """Scores drawn beforehand, few of which are events."""

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
    """A microphone that hears noise, in blocks, as fast as they are taken."""

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


def profile(hours):
    """Run it; seconds of the processor by stage, and in all."""
    clock = Clock()
    for stage, owner, name in (
        ("ring buffer", Feed, "write"),
        ("ring buffer", Feed, "read"),
        ("is the microphone deaf", HealthMonitor, "_problems"),
        ("resampling 48 to 32 kHz", Resampler, "push"),
        ("log-mel", LogMelStream, "push"),
        ("cutting clips", Detector, "_cut"),
        ("cutting clips", ClipStream, "_cut"),
        ("scoring, but for the model", htsat_edge.runtime.daemon.loop.Scorer, "__call__"),
        ("merging clips", Timeline, "push"),
        ("median", MedianFilter, "push"),
        ("hysteresis, 527 classes", htsat_edge.runtime.detector.events, "track"),
        ("the stand-in for the model", Drawn, "infer"),
    ):
        clock.watch(stage, owner, name)
    labels = [row["label"] for row in read_csv(ROOT / "configs" / "labels" / "audioset.csv", ["label"])]
    bundle = read_bundle(BUNDLED)
    info = bundle.info.model_copy(update={"labels": labels, "thresholds": {}, "median_steps": {}})
    htsat_edge.runtime.daemon.loop.read_bundle = lambda path: dataclasses.replace(bundle, info=info)
    htsat_edge.runtime.daemon.loop.open_backend = lambda *_: Drawn(info)
    htsat_edge.runtime.daemon.loop.make_source = lambda config, info, news: Noise(
        Feed(config.name, news, live=False), hours
    )
    with tempfile.TemporaryDirectory() as folder:
        config = DaemonConfig(
            model=Model(build=False),
            sources=[Source(name="noise", file=BUNDLED / "model.json")],
            outputs=Outputs(
                stdout=False,
                json_lines=JsonLines(path=Path(folder) / "events.jsonl"),
                store=Store(path=Path(folder) / "events.db"),
            ),
        )
        begun = time.process_time()
        Daemon(config, Notifier()).run()
        whole = time.process_time() - begun
        lines = (Path(folder) / "events.jsonl").read_text().count("\n")
    return clock.seconds, whole, lines


def main():
    parser = argparse.ArgumentParser(description="Where each percent of a core goes but for the model's.")
    parser.add_argument("--hours", type=float, default=1.0)
    args = parser.parse_args()
    seconds, whole, lines = profile(args.hours)
    rest = whole - sum(seconds.values())
    heard_s = 3600 * args.hours
    for stage, took in sorted([*seconds.items(), ("the rest: loop, threads, outputs", rest)], key=lambda x: -x[1]):
        print(f"{100 * took / heard_s:8.4f} %  {100 * took / whole:5.1f} %  {stage}")
    print(f"{100 * whole / heard_s:8.4f} %  of a core in all; {args.hours:g} h of audio, {lines} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
