"""Pass a day of audio through the daemon as fast as it goes: python tests/soak.py --hours 24

A stand-in for the model costs no time. The script fails where a sample was lost, where memory grows after the first
hour, or where the messages are not those of one detector on the same samples.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig, JsonLinesConfig, ModelConfig, OutputsConfig, StoreConfig
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

RECORDING = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
GROWTH_MB = 5.0
INFO = load_bundle(BUNDLED).info


class Levels:
    """A backend whose scores follow the level of the mel bands, a few bands for each class: many events at no cost."""

    def infer(self, log_mel):
        batch, classes = len(log_mel), len(INFO.labels)
        steps = log_mel.reshape(batch, INFO.steps, -1, INFO.front_end.n_mels).max(axis=2)
        bands = steps[..., : INFO.front_end.n_mels // classes * classes].reshape(batch, INFO.steps, classes, -1)
        framewise = np.clip((bands.max(axis=-1) + 70) / 60, 0, 1).astype(np.float32)
        return Scores(framewise, framewise.max(axis=1), np.zeros((batch, 1), np.float32))

    def close(self):
        pass


class Blocks:
    """The recording over and over in blocks, each time at another level."""

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
    """A source that writes blocks as fast as they are read, and calls `look` with the hour every ten minutes."""

    def __init__(self, blocks: Blocks, feed: Feed, look: Callable[[float], None]) -> None:
        self.feeds, self._blocks, self._look = [feed], blocks, look
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
                self._look(number * self._blocks.length_s / 3600)
        feed.end()


def resident_mb() -> float:
    """Return the memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def soak(hours: float, block_s: float) -> dict:
    """Pass hours of audio through the daemon; return what was found."""
    blocks, memory, news = Blocks(hours, block_s), [], threading.Event()
    source = FastSource(blocks, Feed("soak", news, live=False), lambda hour: memory.append((hour, resident_mb())))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "events.jsonl"
        outputs = OutputsConfig(
            stdout=False,
            json_lines=JsonLinesConfig(path=out, rotate_mb=1e6),
            store=StoreConfig(path=Path(folder) / "events.db"),
        )
        config = DaemonConfig(model=ModelConfig(backend="onnxruntime"), outputs=outputs)
        parts = assemble(config, [source], news)
        parts.scorer = Scorer(Levels(), INFO.front_end, gate_dbfs=None)
        begun = time.process_time()
        Daemon(parts, Notifier()).run()
        took_s = time.process_time() - begun
        lines = out.read_text().splitlines()
    (session,) = parts.sessions
    detector = Detector(INFO, Levels(), blocks.rate, source="soak")
    wanted = [event for block in blocks for event in detector.push(block)] + detector.flush()
    settled = [mb for hour, mb in memory if hour >= 1] or [mb for _, mb in memory[1:]]
    return {
        "hours": hours,
        "processor_s": round(took_s, 1),
        "share_of_a_core": round(took_s / (3600 * hours), 5),
        "messages": len(lines),
        "same": [line for line in lines if json.loads(line)["type"] in ("start", "end")]
        == [event.encoded for event in wanted],
        "lost_s": session.all_time.lost_s,
        "missing_samples": blocks.total - round(session.all_time.heard_s * blocks.rate),
        "dropped": sum(sender.dropped for sender in parts.publisher.senders),
        "growth_mb": round(settled[-1] - settled[0], 2),
        "resident_mb": round(settled[-1], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Pass a day of audio through the daemon as fast as it goes.")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--block-s", type=float, default=1.0, help="audio in a block; a microphone gives 0.1")
    args = parser.parse_args()
    found = soak(args.hours, args.block_s)
    print(json.dumps(found))
    well = found["same"] and not found["lost_s"] and not found["missing_samples"] and not found["dropped"]
    return 0 if well and found["growth_mb"] < GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
