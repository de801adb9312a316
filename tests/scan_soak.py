"""Scan many small recordings and a long one, killed three times: python tests/scan_soak.py

A stand-in for the network, which follows the level of the mel bands, makes many events and costs little. The script
fails where the tables are not those of a run that nobody disturbed, or where a process outlives its parent.
"""

import argparse
import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import soundfile
from onnx import TensorProto, helper, numpy_helper

from htsat_edge.runtime.dsp.resampler import Resampler
from htsat_edge.runtime.models.bundle import BUNDLED, MODEL_FILE, load_bundle

RECORDING = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
RATE_HZ, SMALL_S = 16_000, 0.5
TABLES = ("events.csv", "files.csv", "failed.csv")
END_S = 30.0
"""For processes whose parent was killed."""


def main():
    parser = argparse.ArgumentParser(description="Scan many small recordings and a long one, killed three times.")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--hours", type=float, default=24.0, help="of the long recording (default 24)")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--hop", default="1.28")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="a folder that is kept, with the recordings")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        bundle = write_bundle(work / "bundle")
        if not (work / "archive").exists():
            write_archive(work / "archive", args.files, args.hours)
        command = [sys.executable, "-m", "htsat_edge", "scan", work / "archive", "--bundle", bundle, "--hop", args.hop]
        whole, killed = work / "undisturbed", work / "killed"
        for out in (whole, killed):
            shutil.rmtree(out, ignore_errors=True)
        first = run([*command, "--out", whole])
        print(f"undisturbed: {json.dumps(first)}", flush=True)
        rng = random.Random(args.seed)
        for number in range(args.kills):
            after_s = first["seconds"] * rng.uniform(0.1, 0.9) / args.kills
            print(f"killed {number + 1}: {json.dumps(run([*command, '--out', killed], after_s))}", flush=True)
        print(f"resumed: {json.dumps(run([*command, '--out', killed]))}", flush=True)
        _, other, missing = filecmp.cmpfiles(whole, killed, TABLES, shallow=False)
        rows = sum(1 for _ in (whole / "events.csv").open()) - 1
        print(f"{rows} events; tables that differ: {', '.join([*other, *missing]) or 'none'}")
        return 1 if other or missing or not rows else 0


def write_bundle(folder):
    """Write a bundle whose graph follows the level of the mel bands, two for each class."""
    info = load_bundle(BUNDLED).info
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(BUNDLED / MODEL_FILE, folder)
    classes, bands = len(info.labels), info.front_end.n_mels // len(info.labels)
    shapes = {
        "by_step": [0, info.steps, -1, info.front_end.n_mels],
        "by_class": [0, info.steps, classes, bands],
    }
    constants = [
        *(numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()),
        *(numpy_helper.from_array(np.array([x], np.int64), f"i{x}") for x in (0, 1, 2, 3, classes * bands)),
        *(
            numpy_helper.from_array(np.float32(x), name)
            for name, x in (("add", 70), ("div", 60), ("low", 0), ("high", 1))
        ),
    ]
    node = helper.make_node
    nodes = [
        node("Reshape", ["log_mel", "by_step"], ["steps"]),
        node("ReduceMax", ["steps", "i2"], ["loudest"], keepdims=0),
        node("Slice", ["loudest", "i0", f"i{classes * bands}", "i2"], ["used"]),
        node("Reshape", ["used", "by_class"], ["grouped"]),
        node("ReduceMax", ["grouped", "i3"], ["level"], keepdims=0),
        node("Add", ["level", "add"], ["raised"]),
        node("Div", ["raised", "div"], ["scaled"]),
        node("Clip", ["scaled", "low", "high"], ["framewise"]),
        node("ReduceMax", ["framewise", "i1"], ["clipwise"], keepdims=0),
        node("ReduceMax", ["clipwise", "i1"], ["embedding"], keepdims=1),
    ]
    outputs = {"framewise": ["B", info.steps, classes], "clipwise": ["B", classes], "embedding": ["B", 1]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    log_mel = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["B", info.frames, info.front_end.n_mels])
    graph = helper.make_graph(nodes, "levels", [log_mel], values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "fp32.onnx")
    return folder


def write_archive(folder, count, hours):
    """Write small recordings, a thousand a folder, one of which is damaged in each, and a long one."""
    samples, rate = soundfile.read(RECORDING, dtype="float32")
    resampler = Resampler(rate, RATE_HZ)
    samples = np.concatenate([resampler.push(samples), resampler.flush()])
    rng, length = np.random.default_rng(0), round(SMALL_S * RATE_HZ)
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.wav"
        path.parent.mkdir(exist_ok=True)
        begin = rng.integers(len(samples) - length)
        soundfile.write(path, samples[begin : begin + length] * 10 ** rng.uniform(-1.5, 0), RATE_HZ)
        if number % 1000 == 7:
            path.write_bytes(path.read_bytes()[:30])
    with soundfile.SoundFile(folder / "long.flac", "w", RATE_HZ, 1, "PCM_16") as file:
        for _ in range(round(hours * 3600 * RATE_HZ / len(samples))):
            file.write(samples * 10 ** rng.uniform(-1.5, 0))


def run(command, kill_after_s=None):
    """Run a scan, and kill it after so many seconds; return what it took."""
    begun, most = time.perf_counter(), {"main": 0.0, "worker": 0.0}
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    ended, children = threading.Event(), set()
    watcher = threading.Thread(target=watch, args=(process.pid, most, children, ended))
    watcher.start()
    try:
        status = process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        status = process.wait()
    seconds = time.perf_counter() - begun
    ended.set()
    watcher.join()
    until = time.monotonic() + END_S
    while alive := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until, f"processes {alive} outlive their parent"
        time.sleep(0.1)
    return {"status": status, "seconds": round(seconds, 1), **{f"{k}_mb": round(v) for k, v in most.items()}}


def watch(pid, most, children, ended):
    """Note the most memory that a process, and each of its children, has."""
    while not ended.wait(0.5):
        own = children_of(pid)
        children |= own
        most["main"] = max(most["main"], resident_mb(pid))
        most["worker"] = max([most["worker"], *map(resident_mb, own)])


def children_of(pid):
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()


def resident_mb(pid):
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
