"""Measure how fast `htsat-edge scan` is, beside what bounds it: python tests/scan_throughput.py

Each format has the same recordings: the demo's, over and over, at 48 kHz. They are heard, on all cores,

- by the same network alone: a process for each core scores log-mels that lie in memory, and does nothing else,
- by `htsat-edge scan`,
- by `htsat-edge detect`, one recording after the other.

All are run in turn, so that what else runs on the machine disturbs them alike.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.resampler import Resampler
from htsat_edge.runtime.models.bundle import BUNDLED
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.window_stream import WindowStream

RECORDING = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
RATE_HZ = 48_000
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III"}
FEW = 64
"""Different windows that the network alone scores over and over."""


def main():
    parser = argparse.ArgumentParser(description="Measure how fast `htsat-edge scan` is.")
    parser.add_argument("--minutes", type=float, default=5.0, help="of each recording (default 5)")
    parser.add_argument("--recordings", type=int, default=4, help="for each core (default 4)")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--hops", default="0.32,1.28")
    parser.add_argument("--runs", type=int, default=3, help="of each, in turn (default 3)")
    parser.add_argument("--no-detect", action="store_true", help="leave the slow loop of detect out")
    args = parser.parse_args()
    hours = args.minutes * args.recordings * cores() / 60
    print(f"{cores()} cores; {args.recordings * cores()} recordings of {args.minutes:g} minutes at {RATE_HZ} Hz")
    print("format  hop     alone    scan  detect   scan/alone  scan/detect   hours of audio in an hour, medians")
    with tempfile.TemporaryDirectory() as work:
        for kind in args.formats.split(","):
            files = write(Path(work) / kind, kind, args.minutes * 60, args.recordings * cores())
            for hop in args.hops.split(","):
                report(kind, hop, hours, measure(files, hop, Path(work), args))


def measure(files, hop, work, args):
    """Return seconds by candidate, of each run."""
    found = {"alone": [], "scan": [], "detect": []}
    for run in range(args.runs):
        found["alone"].append(time_alone(float(hop), args.minutes * 60 * args.recordings))
        out = work / f"{files[0].suffix}-{hop}-{run}"
        found["scan"].append(time_command("scan", files[0].parent, "--out", out, "--hop", hop))
        if not args.no_detect:
            found["detect"].append(time_command("detect", *files, "--json", "--hop-s", hop))
    return found


def report(kind, hop, hours, found):
    pace = {name: hours / (median(seconds) / 3600) for name, seconds in found.items() if seconds}
    ratios = {other: pace["scan"] / pace[other] for other in ("alone", "detect") if other in pace}
    columns = [f"{pace.get(name, float('nan')):7.0f}" for name in ("alone", "scan", "detect")]
    print(f"{kind:6}  {hop:4} {' '.join(columns)} {ratios['alone']:12.2f} {ratios.get('detect', float('nan')):12.2f}")
    print(json.dumps({"format": kind, "hop_s": float(hop), "hours": hours, "seconds": found}), file=sys.stderr)


def write(folder, kind, seconds, count):
    """Write `count` recordings of so many seconds; return their paths."""
    folder.mkdir()
    file = AudioFile(RECORDING)
    resampler = Resampler(file.sample_rate, RATE_HZ)
    once = np.concatenate([*(resampler.push(block) for block in file.blocks(1 << 16)), resampler.flush()])
    samples = np.resize(once, round(seconds * RATE_HZ))
    paths = [folder / f"{number}.{kind}" for number in range(count)]
    for path in paths:
        # A seam lies elsewhere in each, so that no two are the same.
        soundfile.write(path, np.roll(samples, 1000 * int(path.stem)), RATE_HZ, FORMATS[kind])
    return paths


def time_command(*arguments):
    """Return the seconds that a command takes, with its start."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "htsat_edge", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def time_alone(hop_s, seconds):
    """Return the seconds in which every core scores the windows of so many seconds of audio."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(cores() + 1), context.Barrier(cores() + 1)
    processes = [context.Process(target=score, args=(hop_s, seconds, ready, go)) for _ in range(cores())]
    for process in processes:
        process.start()
    ready.wait()
    go.wait()
    begun = time.perf_counter()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return time.perf_counter() - begun


def score(hop_s, seconds, ready, go):
    """Score the windows of so many seconds, once the model and some windows are there."""
    model = load_model(BUNDLED)
    backend = model.open(threads=1)
    stream = WindowStream(model.info, model.info.front_end.sample_rate, Settings(hop_s=hop_s))
    windows = []
    for block in AudioFile(RECORDING).blocks(1 << 15):
        windows += stream.push(block)
    few = [np.ascontiguousarray(window.log_mel[None]) for window in windows[-FEW:]]
    backend.infer(few[0])
    ready.wait()
    go.wait()
    for number in range(round(seconds / hop_s)):
        backend.infer(few[number % len(few)])


if __name__ == "__main__":
    main()
