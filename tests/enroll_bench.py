"""Measure enrolment: learn classes that a model does not know from a few recordings, and try them on the rest.

python tests/enroll_bench.py BUNDLE --clips CORPUS/manifest.csv --background QUIET [--classes Bell Glass …] [--seeds 10]

The manifest needs the columns file, class, group and split. Groups are kept apart: what comes from one pack or one
author is either learned from or tried on. Recordings of other classes are those that the manifest holds back, and
backgrounds should be others than those of the bundle's negatives. Everything is played to the detector with its default
settings, all sounds that were learned at once.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter, defaultdict
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.enrolment.enroll import enroll
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.sounds import EnrolledSound, SoundInfo, Sounds, SoundsBackend, with_sounds

LEFT = 2
"""Recordings of a class that must be left to try on."""


def draw(rows, label, seed, count):
    """Recordings of some groups to learn from, and those of all other groups."""
    own = [row for row in rows if row["class"] == label]
    groups = defaultdict(list)
    for row in own:
        groups[row["group"]].append(row)
    rng, chosen, used = np.random.default_rng([seed, *label.encode()]), [], set()
    for group in rng.permutation(sorted(groups)):
        left = sum(len(groups[other]) for other in groups if other not in used) - len(groups[group])
        if len(chosen) < count and left >= LEFT:
            order = rng.permutation(len(groups[group]))
            chosen += [groups[group][i] for i in order[: min(3, count - len(chosen))]]
            used.add(group)
    return chosen, [row for row in own if row["group"] not in used]


def starts(detector, path):
    """Labels of the events of a recording, and its hours."""
    file = AudioFile(path)
    detector.reset()
    events = [event for block in file.blocks(file.sample_rate) for event in detector.push(block)]
    events += detector.flush()
    return [event.label for event in events if isinstance(event, EventStart)], file.samples / file.sample_rate / 3600


def learn_all(args, bundle, backend, rows, classes):
    learned = {}
    for label in classes:
        for seed in range(args.seeds):
            chosen, tried = draw(rows, label, seed, args.recordings)
            if len(chosen) < 3 or len(tried) < LEFT:
                continue
            begun = time.perf_counter()
            found = enroll(bundle, backend, label, [args.clips.parent / row["file"] for row in chosen])
            learned[label, seed] = found, tried, time.perf_counter() - begun
    return learned


def to_sounds(bundle, learned):
    """All that was accepted, as sounds of one folder."""
    graph, usable = bundle.sha256("fp32"), []
    for label, seed in learned:
        found = learned[label, seed][0]
        if found.report.accepted:
            info = SoundInfo(
                label=f"{label} {seed}", graph_sha256=graph, channels=len(found.weight), threshold=found.threshold,
                enrolled_at=datetime.now(timezone.utc), head_sha256="0" * 64, recordings=[], report=found.report,
            )  # fmt: skip
            usable.append(EnrolledSound(f"{len(usable):04}", info, found.weight, found.bias))
    return Sounds(Path(), usable)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--background", type=Path, required=True, help="a folder of recordings")
    parser.add_argument("--classes", nargs="+", help="default: all that the model does not know")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--recordings", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle)
    rows = list(csv.DictReader(args.clips.open()))
    unknown = sorted({row["class"] for row in rows} - {*bundle.info.labels, "background"})
    with closing(open_backend(bundle, kind="onnxruntime", threads=args.threads)) as backend:
        learned = learn_all(args, bundle, backend, rows, args.classes or unknown)
        sounds = to_sounds(bundle, learned)
        info = with_sounds(bundle.info, sounds)
        rate = bundle.info.front_end.sample_rate
        detector = Detector(info, SoundsBackend(backend, sounds), rate)
        fired, hours = {}, 0.0
        others = {row["file"] for row in rows if row["split"] == "val" and row["class"] != "background"}
        for file in sorted(others | {row["file"] for _, tried, _ in learned.values() for row in tried}):
            fired[file] = Counter(starts(detector, args.clips.parent / file)[0])
        alarms = Counter()
        for path in sorted(args.background.glob("*.flac")):
            found, more = starts(detector, path)
            alarms.update(found)
            hours += more
    kind = {row["file"]: row["class"] for row in rows}
    cases = []
    for (label, seed), (found, tried, seconds) in learned.items():
        name, rest = f"{label} {seed}", [file for file in others if kind[file] != label]
        case = {"class": label, "seed": seed, "accepted": found.report.accepted, "reason": found.report.reason,
                "promised_recall": found.report.recall.value, "seconds": seconds}  # fmt: skip
        if found.report.accepted:
            case["recall"] = np.mean([fired[row["file"]][name] > 0 for row in tried])
            case["others"] = np.mean([fired[file][name] > 0 for file in rest])
            case |= {"tried": len(tried), "per_h": alarms[name] / hours}
        cases.append(case)
    args.out.write_text(json.dumps(cases, indent=1, default=float) + "\n")
    report(cases, hours)


def report(cases, hours):
    print(f"{'class':<34}accepted  recall  others  false alarms an hour of {hours:.1f} h; medians")
    medians = []
    for label in sorted({case["class"] for case in cases}):
        own = [case for case in cases if case["class"] == label]
        good = [case for case in own if case["accepted"]]
        line = f"{label:<34}{len(good):>3} of {len(own):<3}"
        if good:
            medians.append([np.median([case[key] for case in good]) for key in ("recall", "others", "per_h")])
            line += "  {:6.2f}  {:6.3f}  {:6.2f}".format(*medians[-1])
        print(line)
    good = [case for case in cases if case["accepted"]]
    for name, table in (
        ("median of accepted classes", medians),
        ("median of accepted sounds", [[case[key] for key in ("recall", "others", "per_h")] for case in good]),
    ):
        print(f"{name:<34}          {{:6.2f}}  {{:6.3f}}  {{:6.2f}}".format(*np.median(table, axis=0)))
    for label, seed, reason in [(case["class"], case["seed"], case["reason"]) for case in cases if case["reason"]]:
        print(f"refused: {label} {seed}: {reason}")
    print(f"seconds to learn a sound: median {np.median([case['seconds'] for case in cases]):.2f}")


if __name__ == "__main__":
    main()
