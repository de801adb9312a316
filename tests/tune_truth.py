"""Measure whether tuning finds planted rates, and how long it takes: python tests/tune_truth.py --seeds 100

Scores of a week are made up and stored as the daemon stores them: events of each class come as Poisson has it, at known
rates, with peaks of a known distribution, on quiet noise. So the true rate at each threshold is known. The script fails
where its interval holds it in fewer than 90 of 100 seeds at any threshold (95 are expected at least), where the
thresholds that are chosen for a wanted rate give counts on the next day that are not as likely as promised, or where
curves take longer than wanted.
"""

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from scipy.stats import nbinom, norm

from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.store.database import ROW_BYTES, Database
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.score_codes import encode
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.writes import SourceSetup
from htsat_edge.runtime.tuning.curves import read_curves

STEP_S, STEPS = 0.32, 187
"""Of a step, and in a row."""
DAY_S, BEGIN = 86_400.0, datetime(2026, 11, 20, tzinfo=timezone.utc).timestamp()
THRESHOLDS = (0.2, 0.35, 0.5, 0.7)
RATES = (0.5, 2.0, 6.0, 20.0)
"""Events a day with any peak, by class in turn."""
PER_DAY = 1.0
AUDIOSET = Path(__file__).parents[1] / "configs" / "labels" / "audioset.csv"
LIMITS = {16: (10.0, 500.0), 527: (120.0, float("inf"))}
"""Seconds of one core and MB, by how many classes there are."""


def setup_of(labels, threshold=0.5, below=()):
    """Return a setup of classes that are all alike."""
    count = len(labels)
    release = float(str(np.float32(threshold) * np.float32(0.6)))
    return Setup(
        model="made up",
        step_s=STEP_S,
        labels=labels,
        thresholds=[threshold] * count,
        releases=[release] * count,
        min_length=1,
        confirm=[0] * count,
        merge_gap=1,
        below=list(below),
    )


def true_rate(label, threshold):
    """Return events a day at a threshold: peaks are normal in logits."""
    return RATES[int(label) % len(RATES)] * norm.sf(logit(threshold), 0, 1.5)


def plant(rng, classes, days):
    """Return the events of classes as step, class, length and score; sorted."""
    steps = int(days * DAY_S / STEP_S)
    found = []
    for k in range(classes):
        count = rng.poisson(RATES[k % len(RATES)] * days)
        onsets = rng.integers(0, steps - 10, count)
        found += zip(onsets, [k] * count, rng.integers(1, 8, count), expit(rng.normal(0, 1.5, count)), strict=True)
    return sorted(found)


def write(path, setup, row_of, rows, begin=BEGIN):
    """Write a store with so many rows of scores (STEPS, C); `row_of` gives each, or None where all is quiet."""
    quiet = encode(np.zeros((STEPS, len(setup.labels)), np.float32))
    length_s = STEPS * STEP_S
    with closing(Database(path)) as database, database:
        session = database.session("made up", begin)
        database.put(session, SourceSetup("yard", setup), begin)
    with closing(sqlite3.connect(path)) as connection, connection:
        for i in range(rows):
            scores, onset = row_of(i), round(i * length_s, 4)
            codes = quiet if scores is None else encode(scores, setup.limits())
            moment = format_time(datetime.fromtimestamp(begin + onset, timezone.utc))
            end = round(onset + length_s, 4)
            size = len(codes) + ROW_BYTES
            connection.execute(
                "INSERT INTO scores (session, source, onset, offset, time, steps, size, codes, stored_at) "
                "VALUES (?, 'yard', ?, ?, ?, ?, ?, ?, ?)",
                (session, onset, end, moment, STEPS, size, codes, begin + end),
            )


def write_planted(path, rng, classes, days):
    """Write a store with planted events."""
    events, rows = plant(rng, classes, days), int(days * DAY_S / STEP_S / STEPS)
    by_row = {}
    for event in events:
        for row in {event[0] // STEPS, (event[0] + event[2] - 1) // STEPS}:
            by_row.setdefault(row, []).append(event)

    def row_of(i):
        if i not in by_row:
            return None
        scores = np.zeros((STEPS, classes), np.float32)
        for onset, k, length, score in by_row[i]:
            first = onset - i * STEPS
            part = scores[max(first, 0) : max(first + length, 0), k]
            part[:] = np.maximum(part, score)
        return scores

    write(path, setup_of([str(k) for k in range(classes)]), row_of, rows)


def check_truth(folder, seed, classes=len(RATES), days=7):
    """Return for a seed whether each interval holds the truth, and how likely the next day was, by class."""
    path = Path(folder) / f"{seed}.db"
    write_planted(path, np.random.default_rng(seed), classes, days + 1)
    cut = BEGIN + days * DAY_S
    with StoreReader(path) as reader:
        week = read_curves(reader, "yard", BEGIN, cut).curves
        next_day = read_curves(reader, "yard", cut, cut + DAY_S).curves
    path.unlink()
    held, days_after = {}, []
    for label, curve in week.items():
        for threshold in THRESHOLDS:
            rate = curve.rate(threshold)
            held[label, threshold] = bool(rate.low <= true_rate(label, threshold) <= rate.high)
        choice = curve.choose(PER_DAY)
        count = next_day[label].rate(choice.threshold).count
        spread = nbinom(choice.rate.count + 0.5, days / (days + 1))  # of a day's count after one of so many days
        days_after.append((int(count), bool(spread.ppf(0.05) <= count <= spread.ppf(0.95))))
    return held, days_after


def write_load(path, classes, days, rng):
    """Write a store that is as busy as can be: noise above what is stored, and events on it."""
    if classes == 527:
        lines = [line.split(",") for line in AUDIOSET.read_text().splitlines()[1:]]
        labels = [str(k) for k in range(527)]
        below = tree_below()
        assert len(lines) == 527
    else:
        labels, below = [str(k) for k in range(classes)], []
    setup, busy = setup_of(labels, 0.3, below), min(classes, 60)
    walks = np.cumsum(rng.normal(0, 0.3, (20, STEPS * 30, busy)), axis=1)
    walks = expit((walks - walks.mean(axis=1, keepdims=True)) * 0.5 - 3.5).astype(np.float32)

    def row_of(i):
        scores = np.zeros((STEPS, classes), np.float32)
        columns = np.random.default_rng(i // 60).permutation(classes)[:busy]
        first = (i % 30) * STEPS
        scores[:, columns] = walks[(i // 30) % 20, first : first + STEPS]
        return scores

    write(path, setup, row_of, int(days * DAY_S / STEP_S / STEPS))


def tree_below():
    """Return AudioSet's pairs of classes, the first below the second."""
    from htsat_edge.htsat.label_file import read_label_file
    from htsat_edge.runtime.models.bundle import find_ancestors

    found = read_label_file(AUDIOSET, 527)
    place = {label: k for k, label in enumerate(found.labels)}
    return [(k, place[above]) for label, k in place.items() for above in find_ancestors(label, found.parents)]


def measure(path, days):
    """Return seconds, and MB at the peak, of all curves of a store; in this process."""
    begun_s = time.process_time()  # whatever else the machine does
    with StoreReader(Path(path)) as reader:
        curves = read_curves(reader, "yard", BEGIN, BEGIN + days * DAY_S)
    seconds = time.process_time() - begun_s
    events = sum(int(curve.counts.sum()) for curve in curves.curves.values())
    return {"s": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "events": events}


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = parse()
    if args.measure is not None:
        print(json.dumps(measure(args.measure, args.days)))
        return 0
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        results = [check_truth(folder, seed, days=args.days) for seed in range(args.seeds)]
        for key in results[0][0]:
            share = np.mean([held[key] for held, _ in results])
            print(f"class {key[0]} ({true_rate(*key):6.2f} a day) at {key[1]}: held in {share:.0%} of the seeds")
            failed += [key] if share < 0.9 else []
        for k in range(len(results[0][1])):
            counts = [after[k] for _, after in results]
            share = np.mean([likely for _, likely in counts])
            mean = np.mean([count for count, _ in counts])
            print(
                f"class {k}: {PER_DAY:g} a day was wanted, on the next day {mean:.2f}; {share:.0%} as likely as wanted"
            )
            failed += [k] if share < 0.9 else []
        for classes, (most_s, most_mb) in LIMITS.items():
            path = Path(folder) / f"load{classes}.db"
            write_load(path, classes, args.days, np.random.default_rng(0))
            command = [sys.executable, __file__, "--measure", str(path), "--days", str(args.days)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{classes} classes: {found['s']:.1f} s, {found['mb']:.0f} MB, {found['events']} events in all")
            failed += [classes] if found["s"] > most_s or found["mb"] > most_mb else []
    print("failed: " + ", ".join(map(str, failed)) if failed else "all as wanted")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
