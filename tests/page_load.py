"""Measure how fast the store answers the page, and how large it is: python tests/page_load.py --days 90 --sources 4

The store is made up: every minute of every source has scores, and events are spread over the hours of the day. The
scores are those that the bundled model gives the demo recording at many levels with pauses between, shifted and joined
in another order for each minute. For the size with 527 classes, three such minutes fill 48 of them, in columns that
change every hour; the others stay below what is stored. The script fails where an answer takes longer than wanted.
"""

import argparse
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import soundfile

from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.database import ROW_BYTES, Database
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter
from htsat_edge.runtime.store.score_codes import encode
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.why import explain
from htsat_edge.runtime.store.writes import SourceSetup

RECORDING = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
BUNDLE = load_bundle(BUNDLED)
SETUP = Setup.of(BUNDLE.info, Settings())
STEPS, STEP_S = 187, BUNDLE.info.step_s
DAY_S, END = 86_400.0, datetime(2026, 11, 27, tzinfo=timezone.utc).timestamp()
HEARD_S, MINUTES = 300.0, 400
"""Of audio that is scored, and how many different minutes are made of it."""


class Kept:
    """An observer that keeps the scores."""

    def __init__(self) -> None:
        self.rows = []

    def frames(self, log_mel):
        pass

    def scores(self, scores):
        self.rows.append(scores.copy())


def hear(rng):
    """Return scores (n, C) of the bundled model."""
    samples, rate = soundfile.read(RECORDING, dtype="float32")
    kept, heard_s = Kept(), 0.0
    with Detector(BUNDLE.info, open_backend(BUNDLE), rate, observer=kept) as detector:
        while heard_s < HEARD_S:
            pause = np.zeros(round(rng.uniform(0, 10) * rate), np.float32)
            piece = np.concatenate([samples * np.float32(10 ** rng.uniform(-1.5, 0)), pause])
            piece += (rng.normal(size=len(piece)) * 10 ** rng.uniform(-4, -2.5)).astype(np.float32)
            detector.push(piece)
            heard_s += len(piece) / rate
        detector.flush()
    return np.concatenate(kept.rows)


def minutes_of(scores, rng):
    """Yield minutes of scores (STEPS, C), without end: two parts of what was heard."""
    while True:
        cut = int(rng.integers(20, STEPS - 20))
        parts = [(length, int(rng.integers(0, len(scores) - length))) for length in (cut, STEPS - cut)]
        yield np.concatenate([scores[start : start + length] for length, start in parts])


def bytes_an_hour(scores, classes, rng):
    """Return the bytes of an hour of scores of so many classes, with what a row of the store adds."""
    minutes, total = minutes_of(scores, rng), 0
    columns = rng.permutation(classes)
    for _ in range(60):
        wide = np.zeros((STEPS, classes), np.float32)
        parts = [next(minutes) for _ in range(1 if classes == scores.shape[1] else 3)]
        wide[:, columns[: len(parts) * scores.shape[1]]] = np.concatenate(parts, axis=1)
        total += len(encode(wide)) + ROW_BYTES
    return total * 3600 / (60 * STEPS * STEP_S)


def time_of(at):
    return format_time(datetime.fromtimestamp(at, timezone.utc))


def make_store(path, days, sources, events, scores, rng):
    """Write a store; return the seconds that it took."""
    begun_s, begin = time.monotonic(), END - days * DAY_S
    names = [f"source {i}" for i in range(sources)]
    with closing(Database(path)) as database, database:
        session = database.session("made up", begin)
        for name in names:
            database.put(session, SourceSetup(name, SETUP), begin)
    codes = [encode(minute) for _, minute in zip(range(MINUTES), minutes_of(scores, rng), strict=False)]
    with closing(sqlite3.connect(path)) as connection, connection:
        length_s = STEPS * STEP_S
        connection.executemany(
            "INSERT INTO scores (session, source, onset, offset, time, steps, size, codes, stored_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    session,
                    name,
                    i * length_s,
                    (i + 1) * length_s,
                    time_of(at),
                    STEPS,
                    len(code) + ROW_BYTES,
                    code,
                    at + length_s,
                )
                for i, pick in enumerate(rng.integers(0, MINUTES, int(days * DAY_S / length_s)))
                for at, code in [(begin + i * length_s, codes[pick])]
                for name in names
            ),
        )
        weights = 1 / np.arange(1, len(SETUP.labels) + 1)
        labels = rng.choice(SETUP.labels, events, p=weights / weights.sum())
        onsets = np.sort(rng.uniform(0, days * DAY_S, events))
        rows = [
            (
                session,
                names[i % sources],
                i + 1,
                str(label),
                onset,
                onset + 3,
                time_of(begin + onset),
                0.7,
                begin + onset,
            )
            for i, (label, onset) in enumerate(zip(labels, onsets.tolist(), strict=True))
        ]
        marks = ", ".join("?" * 9)
        connection.executemany(
            "INSERT INTO events (session, source, number, label, onset, offset, time, score, stored_at) "
            f"VALUES ({marks})",
            rows,
        )
        connection.executemany(
            f"INSERT INTO clips (session, source, number, name, onset, offset, time, stored_at) VALUES ({marks[:-3]})",
            [(*row[:3], f"{row[2]}.flac", *row[4:7], row[8]) for row in rows[::3]],
        )
        connection.execute(
            "INSERT INTO verdicts SELECT id, 'wrong', NULL, '', id % 40 = 0, 1 FROM events WHERE id % 20 = 0"
        )
        connection.execute(
            "INSERT INTO gaps (session, number, source, onset, offset, time, reason, stored_at) "
            "SELECT session, number, source, onset, onset + 5, time, 'overrun', stored_at FROM events WHERE id % 10 = 0"
        )
    return time.monotonic() - begun_s


def questions(days, rng):
    """Return what is asked, by name, with the seconds that it may take at p95."""
    begin = END - days * DAY_S

    def moment():
        return rng.uniform(begin + DAY_S, END - DAY_S)

    def day(**more):
        at = moment()
        return EventFilter(from_at=at, to_at=at + DAY_S, **more)

    def why(reader):
        source, label = "source 0", SETUP.labels[rng.integers(0, len(SETUP.labels))]
        return explain(reader, source, label, moment())

    return {
        "first page of events, with the number of all": (0.1, lambda reader: reader.events(EventFilter(), 100)),
        "first page of a class": (0.1, lambda reader: reader.events(EventFilter(labels=["Bird", "Dog"]), 100)),
        "first page of what nobody judged, with a clip": (
            0.1,
            lambda reader: reader.events(EventFilter(decision="none", has_clip=True), 100),
        ),
        "page in the middle": (0.1, lambda reader: reader.events(EventFilter(), 100, f"{moment()}_1")),
        "first page of a day": (0.1, lambda reader: reader.events(day(), 100)),
        "figures of a day": (0.2, lambda reader: reader.figures(day())),
        "figures of all": (1.0, lambda reader: reader.figures(EventFilter())),
        "days": (0.5, lambda reader: reader.days(EventFilter())),
        "scores of two minutes": (0.02, lambda reader: reader.score_runs("source 0", at := moment(), at + 120)),
        "why": (0.3, why),
        "sources": (0.1, lambda reader: reader.sources()),
        "gaps of a day": (0.1, lambda reader: reader.gaps(at := moment(), at + DAY_S)),
        "size": (0.5, lambda reader: reader.info()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=90.0)
    parser.add_argument("--sources", type=int, default=4)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--times", type=int, default=40, help="how often each question is asked")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    scores, slow = hear(rng), []
    for classes in (len(SETUP.labels), 527):
        print(f"scores of {classes} classes: {bytes_an_hour(scores, classes, rng) / 1000:.0f} kB an hour")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        took_s = make_store(path, args.days, args.sources, args.events, scores, rng)
        with StoreReader(path) as reader:
            size = reader.info()
        hours = args.days * 24 * args.sources
        print(f"{size.size_mb:.0f} MB on the disk, written in {took_s:.0f} s: {size.events} events, and scores of")
        print(f"{hours:.0f} h as {size.score_mb:.0f} MB, {1e3 * size.score_mb / hours:.1f} kB an hour")
        for name, (most_s, ask) in questions(args.days, rng).items():
            seconds = []
            for _ in range(args.times):
                begun_s = time.perf_counter()
                with StoreReader(path) as reader:
                    ask(reader)
                seconds.append(time.perf_counter() - begun_s)
            median, p95 = np.percentile(seconds, [50, 95])
            print(f"{name:<48} median {1e3 * median:6.1f} ms, p95 {1e3 * p95:6.1f} ms of {1e3 * most_s:4.0f} ms")
            slow += [name] if p95 > most_s else []
    if slow:
        sys.exit(f"too slow: {', '.join(slow)}")


if __name__ == "__main__":
    main()
