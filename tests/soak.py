"""A day of audio as fast as it goes through the daemon: python tests/soak.py --hours 24

The clock is the audio's own, and the model a stand-in that costs nothing. It fails where a sample was lost, where
memory grows after the first hour, or where the lines are not those of one plain run over the same samples.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import htsat_edge.runtime.daemon.loop
import numpy as np
import soundfile
from htsat_edge.runtime.daemon.config import DaemonConfig, JsonLines, Model, Outputs, Source, Store
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.sources import Feed
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.models.backends import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle

RECORDING = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
GROWTH_MB = 5.0
INFO = read_bundle(BUNDLED).info


class Levels:
    """Scores that follow the level of the bands, a class for each few of them: many events, and no time."""

    def infer(self, log_mel):
        batch, classes = len(log_mel), len(INFO.labels)
        steps = log_mel.reshape(batch, INFO.steps, -1, INFO.front_end.n_mels).max(axis=2)
        bands = steps[..., : INFO.front_end.n_mels // classes * classes].reshape(batch, INFO.steps, classes, -1)
        framewise = np.clip((bands.max(axis=-1) + 70) / 60, 0, 1).astype(np.float32)
        return Scores(framewise, framewise.max(axis=1), np.zeros((batch, 1), np.float32))

    def close(self):
        pass


class Blocks:
    """The recording over and over, each time at another level."""

    def __init__(self, hours: float, block_s: float) -> None:
        self.length_s = block_s
        self.samples, self.rate = soundfile.read(RECORDING, dtype="float32")
        self.total = round(hours * 3600 * self.rate)

    def __iter__(self) -> Iterator[np.ndarray]:
        done, rng = 0, np.random.default_rng(0)
        while done < self.total:
            gain = np.float32(10 ** rng.uniform(-1.5, 0))
            length = round(self.length_s * self.rate)
            for at in range(0, len(self.samples), length):
                block = gain * self.samples[at : at + length][: self.total - done]
                done += len(block)
                if len(block):
                    yield block


class FastSource:
    """Writes blocks as fast as they are read."""

    def __init__(self, blocks: Blocks, feed: Feed, watch) -> None:
        self.feeds, self._blocks, self._watch = [feed], blocks, watch
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        (feed,) = self.feeds
        feed.open(self._blocks.rate)
        for number, block in enumerate(self._blocks):
            feed.wait_for_room(threading.Event())
            feed.write(block)
            if number % round(600 / self._blocks.length_s) == 0:
                self._watch(number * self._blocks.length_s)
        feed.end()


def resident_mb() -> float:
    """Memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def soak(hours: float, block_s: float) -> dict:
    """Run it; what was found."""
    blocks, memory = Blocks(hours, block_s), []
    real_open, real_make = htsat_edge.runtime.daemon.loop.open_backend, htsat_edge.runtime.daemon.loop.make_source
    htsat_edge.runtime.daemon.loop.open_backend = lambda *_: Levels()
    htsat_edge.runtime.daemon.loop.make_source = lambda config, info, news: FastSource(
        blocks, Feed(config.name, news, live=False), lambda second: memory.append((second / 3600, resident_mb()))
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "events.jsonl"
        config = DaemonConfig(
            model=Model(build=False),
            sources=[Source(name="soak", file=RECORDING)],
            outputs=Outputs(
                stdout=False,
                json_lines=JsonLines(path=out, rotate_mb=1e6),
                store=Store(path=Path(folder) / "events.db"),
            ),
        )
        begun = time.process_time()
        try:
            daemon = Daemon(config, Notifier())
            daemon.run()
        finally:
            htsat_edge.runtime.daemon.loop.open_backend, htsat_edge.runtime.daemon.loop.make_source = (
                real_open,
                real_make,
            )
        took_s = time.process_time() - begun
        found = [json.loads(line) for line in out.read_text().splitlines()]
    coverage = daemon.listeners[0].all_time
    detector = Detector(INFO, Levels(), blocks.rate)
    wanted = [event for block in blocks for event in detector.push(block)] + detector.close()
    settled = [mb for hour, mb in memory if hour >= 1] or [mb for _, mb in memory[1:]]
    return {
        "hours": hours,
        "processor_s": round(took_s, 1),
        "share_of_a_core": round(took_s / (3600 * hours), 5),
        "lines": len(found),
        "same": [line for line in found if line["type"] in ("start", "end")]
        == [event.line("soak", None) for event in wanted],
        "lost_s": coverage.lost_s,
        "missing_samples": blocks.total - round(coverage.heard_s * blocks.rate),
        "dropped": sum(output.dropped for output in daemon.outputs),
        "growth_mb": round(settled[-1] - settled[0], 2),
        "resident_mb": round(settled[-1], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="A day of audio through the daemon, as fast as it goes.")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--block-s", type=float, default=1.0, help="how much comes at once; a microphone gives 0.1")
    args = parser.parse_args()
    found = soak(args.hours, args.block_s)
    print(json.dumps(found))
    well = found["same"] and not found["lost_s"] and not found["missing_samples"] and not found["dropped"]
    return 0 if well and found["growth_mb"] < GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
