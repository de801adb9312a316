"""Measure how soon sounds are reported in real time: python tests/live_latency.py SCENES --through microphone

Labelled recordings, one after the other as one stream, are played in real time to a process `htsat-edge listen`: raw
samples into its stdin, or through a virtual microphone and PortAudio. The latency of a sound is the time from the
moment when its onset was written, or came out of the virtual microphone, to the arrival of the line of its start.
"""

import argparse
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile
import soxr

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.latency import Report, listen, match, scorer
from htsat_edge.evaluation.latency_figures import LAST_S
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

RATE_HZ = 32_000
PIECE_S = 0.02
"""Handed over at a time."""
LISTEN = [sys.executable, "-m", "htsat_edge", "listen"]
RECORD = ["parec", "--device=virtual.monitor", "--raw", "--format=s16le", f"--rate={RATE_HZ}", "--channels=1"]
RECORD += ["--latency-msec=20"]
LATE_S = 2.0


def read_stream(paths, seconds):
    """Return 16-bit samples of the recordings one after the other, where each begins, and the sounds in them."""
    parts, begins, sounds, length = [], [], [], 0
    for recording in read_dataset(paths).recordings:
        file, at_s = AudioFile(recording.path), length / RATE_HZ
        if at_s >= seconds:
            break
        samples = np.concatenate(list(file.blocks(file.sample_rate)))
        parts.append(soxr.resample(samples, file.sample_rate, RATE_HZ))
        length += len(parts[-1])
        begins.append((round(at_s, 2), recording.path.name))
        sounds += [Occurrence(at_s + e.onset_s, min(at_s + e.offset_s, seconds), e.label) for e in recording.events]
    samples = np.concatenate(parts)[: round(seconds * RATE_HZ)]
    return np.round(samples * 32767).astype("<i2"), begins, [s for s in sounds if s.onset_s < len(samples) / RATE_HZ]


def play(samples, pipe):
    """Write the samples in real time, each piece as soon as its last sample would have been recorded; return when."""
    length, begun = round(PIECE_S * RATE_HZ), time.time()
    for end in range(length, len(samples) + 1, length):
        time.sleep(max(0.0, begun + end / RATE_HZ - time.time()))
        pipe.write(samples[end - length : end].tobytes())
    return begun


def play_through(microphone, samples, path):
    """Play the samples to the end; return when they began, as somebody else who records the first second knows it."""
    length, first = round(PIECE_S * RATE_HZ), np.flatnonzero(samples)[0]
    soundfile.write(path, samples, RATE_HZ)
    with subprocess.Popen(RECORD, env=microphone.environment, stdout=subprocess.PIPE) as recorder:
        stop = microphone.play(path)
        piece = np.zeros(0, "<i2")
        while not piece.any():  # before is digital silence
            piece = np.frombuffer(recorder.stdout.read(2 * length), "<i2")
        position = first + len(piece) - np.flatnonzero(piece)[0]
        late = [time.time() - position / RATE_HZ]
        for _ in range(round(1 / PIECE_S)):
            position += len(recorder.stdout.read(2 * length)) // 2
            late.append(time.time() - position / RATE_HZ)
        recorder.kill()
    time.sleep(max(0.0, min(late) + len(samples) / RATE_HZ + 1 - time.time()))
    stop()
    return min(late)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit("live_latency.py: nothing happened")
        time.sleep(0.01)


def run(samples, through):
    """Play the samples to a process; return when they began, and its messages with the times of their arrival."""
    heard = []

    def read(process):
        heard.extend((time.time(), json.loads(line)) for line in process.stdout)

    with ExitStack() as opened:
        pipes = {"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "bufsize": 0}
        if through == "stdin":
            process = opened.enter_context(subprocess.Popen([*LISTEN, "--stdin", str(RATE_HZ)], **pipes))
        else:
            conftest = Path(__file__).parent / "runtime" / "daemon" / "sources" / "conftest.py"
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            microphone = runpy.run_path(str(conftest))["VirtualMicrophone"](folder, wait_for)
            opened.callback(microphone.close)
            process = opened.enter_context(subprocess.Popen(LISTEN, env=microphone.environment, **pipes))
        reader = threading.Thread(target=read, args=[process])
        reader.start()
        while not heard:  # how long the process takes to start is not measured
            if process.poll() is not None:
                sys.exit("live_latency.py: htsat-edge listen has ended")
            if through == "stdin":
                play(np.zeros(round(PIECE_S * RATE_HZ), "<i2"), process.stdin)
            else:
                time.sleep(PIECE_S)
        if through == "stdin":
            begun = play(samples, process.stdin)
            process.stdin.close()
        else:
            begun = play_through(microphone, samples, folder / "stream.wav")
            process.send_signal(signal.SIGTERM)
        reader.join()
    return begun, heard


def reports_of(begun, heard, end_s):
    """Return the events of the messages, in seconds of the stream; `heard_s` is when the line of the start came."""
    ends = {m["id"]: m for _, m in heard if m["type"] == "end"}
    reports = []
    for at, start in heard:
        if start["type"] == "start":
            last = ends.get(start["id"], start)
            onset_s, corrected_s = (datetime.fromisoformat(m["time"]).timestamp() - begun for m in (start, last))
            offset_s = corrected_s + last["offset"] - last["onset"] if "offset" in last else end_s
            event = Occurrence(corrected_s, offset_s, start["label"])
            reports.append(Report(start["label"], onset_s, at - begun, event))
    return reports


def replay(samples, hop_s):
    """Return what the same samples give as a recording, at the same hop: `heard_s` is audio time."""
    bundle, settings = load_bundle(BUNDLED), Settings(hop_s=hop_s)
    with tempfile.TemporaryDirectory() as folder, closing(open_backend(bundle, threads=1)) as backend:
        path = Path(folder) / "stream.wav"
        soundfile.write(path, samples, RATE_HZ)
        return listen(path, bundle.info, [settings], scorer(backend), with_gap=False).whole[0]


def show(name, sounds, reports, seconds):
    """Print the figures in a line; return the sounds that were reported late."""
    outcomes, false_alarms = match(sounds, reports)
    timed = [o for o in outcomes if o.latency_s is not None and o.sound.onset_s <= seconds - LAST_S]
    latencies = np.array([o.latency_s for o in timed] or [np.nan])
    median_s, p95_s = np.percentile(latencies, [50, 95])
    print(
        f"{name:10}  median {median_s:.2f} s  p95 {p95_s:.2f} s  within 1 s {np.mean(latencies <= 1):.0%}  "
        f"within 2 s {np.mean(latencies <= 2):.0%}  of {len(timed)} starts;  found {sum(o.found for o in outcomes)} "
        f"of {len(sounds)} sounds  {3600 * false_alarms / seconds:.0f} false alarms an hour"
    )
    return [o for o in timed if o.latency_s > LATE_S]


def main():
    parser = argparse.ArgumentParser(description="Measure how soon sounds are reported in real time.")
    parser.add_argument("scenes", type=Path, nargs="+", help="recordings with labels that have an onset and an offset")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the scenes that are played")
    parser.add_argument("--through", choices=["stdin", "microphone"], default="stdin")
    args = parser.parse_args()
    samples, begins, sounds = read_stream(args.scenes, args.seconds)
    seconds = len(samples) / RATE_HZ
    print(f"{seconds:g} s through {args.through}: " + ", ".join(f"{name} from {at_s:g} s" for at_s, name in begins))
    load = [os.getloadavg()]
    begun, heard = run(samples, args.through)
    load.append(os.getloadavg())
    other = [m for _, m in heard if m["type"] == "gap" or m.get("state") in ("hop_changed", "source_lost")]
    listening = next(m for _, m in heard if m.get("state") == "listening")
    reports = reports_of(begun, heard, seconds)
    print(f"hop {listening['hop_s']} s, expected latency {listening['latency_s']} s, load {load[0]} to {load[1]}")
    late = show("real time", sounds, reports, seconds)
    for message in other:
        print(json.dumps(message))
    info = load_bundle(BUNDLED).info
    final_s = Settings().look_ahead_steps(info) * info.step_s
    for outcome in sorted(late, key=lambda o: o.sound.label):
        sound, at_s = outcome.sound, outcome.sound.onset_s + outcome.latency_s
        report = min((r for r in reports if r.label == sound.label), key=lambda r: abs(r.heard_s - at_s))
        how = "early" if at_s - report.start_s < final_s else "by final scores"
        print(
            f"late: {sound.label} at {sound.onset_s:.2f} s, by {outcome.latency_s:.2f} s; "
            f"its start says {report.start_s:.2f} s, {how}"
        )
    show("audio time", sounds, replay(samples, listening["hop_s"]), seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
