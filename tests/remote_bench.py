"""Measure a model on a server beside the same model on this device, by hand.

python tests/remote_bench.py http://HOST:8000 grpc://HOST:8001 [--windows 100]
"""

import argparse
import time
from contextlib import closing
from statistics import median

import numpy as np

from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.model import load_model


def measure(backend, windows, runs):
    """Return the median and the 95th percentile of the seconds of a request, and windows a second."""
    for _ in range(3):
        backend.infer(windows)
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        backend.infer(windows)
        times.append(time.perf_counter() - begun)
    return median(times), float(np.quantile(times, 0.95)), len(windows) * runs / sum(times)


def run(urls, count):
    """Print a row for this device and each server, of one source and of four."""
    model = load_model()
    shape = model.info.frames, model.info.front_end.n_mels
    print("| runs on | sources | median ms | 95 % ms | windows/s |\n|---|---|---|---|---|")
    for name in ("this device", *urls):
        kind = {"kind": "onnxruntime"} if name == "this device" else {"kind": "remote", "server": RemoteServer(name)}
        with closing(model.open("fp32" if name == "this device" else None, threads=1, **kind)) as backend:
            for sources in (1, 4):
                windows = np.random.default_rng(0).normal(-40, 10, (sources, *shape)).astype(np.float32)
                middle, late, speed = measure(backend, windows, count // sources)
                print(f"| {name} | {sources} | {1000 * middle:.1f} | {1000 * late:.1f} | {speed:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--windows", type=int, default=100)
    given = parser.parse_args()
    run(given.urls, given.windows)
