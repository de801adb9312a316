"""Measure the store of a fleet: python tests/store_load.py fleet.db|postgresql://… [--messages 96000] [--events 0]

200 devices write numbered messages, two for each event, as a collector does: 500 in a transaction. Then the questions
of the page are asked, twice. `--events` adds so many events in one statement, for a store that is big. The store must
be new.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart
from htsat_edge.runtime.store.engine import PostgresUrl, StorePlace
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter

DEVICES, DAYS, BATCH, DAY_S = 200, 30, 500, 86_400.0
LABELS = ("Dog", "Bird", "Cattle", "Speech", "Thunder", "Car", "Cough", "Glass")
NOW = 1_777_663_800.0
BEGIN = NOW - DAYS * DAY_S
MORE = """
INSERT INTO events (session, source, number, label, onset, "offset", time, score, stored_at)
WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < ?)
SELECT 1 + i % 200, 'gate', i, 'Dog', i, i + 1.5, NULL, 0.7, ? + i * ? FROM numbers
"""


def topic(device: int) -> str:
    """Return the topic of a device."""
    return f"htsat-edge/{device:03}"


def messages(count: int) -> Iterator[tuple[int, int, float, Event]]:
    """Yield device, number, time and event of each message: a start and its end."""
    draw, numbers = random.Random(0), [0] * DEVICES
    for i in range(count // 2):
        device, at = draw.randrange(DEVICES), BEGIN + i * DAYS * DAY_S / (count // 2)
        numbers[device] += 1
        common = {"source": "yard", "id": numbers[device], "label": draw.choice(LABELS), "score": 0.7}
        common |= {"onset": at - BEGIN, "time": format_time(datetime.fromtimestamp(at, timezone.utc))}
        yield device, 2 * numbers[device] - 1, at, EventStart(**common)
        yield device, 2 * numbers[device], at, EventEnd(**common, offset=at - BEGIN + 1.5)


def fill(place: StorePlace, count: int, more: int) -> None:
    """Write a store, and print how fast."""
    rows = list(messages(count))
    with closing(FleetDatabase(place)) as database:
        with database:
            sessions = {k: database.device_session(topic(k), f"session {k}", BEGIN) for k in range(DEVICES)}
            for k in range(DEVICES):
                database.put_info(topic(k), "{}", f"Place {k // 10}", BEGIN)
        began, own = time.perf_counter(), time.process_time()
        for first in range(0, len(rows), BATCH):
            batch = rows[first : first + BATCH]
            with database:
                database.expect({sessions[device] for device, *_ in batch})
                for device, number, at, event in batch:
                    if database.take(sessions[device], number, at):
                        database.put_event(sessions[device], event, at)
        took, used = time.perf_counter() - began, time.process_time() - own
        print(f"{len(rows) / took:.0f} messages a second, {used / len(rows) * 1e6:.0f} us of own processor time each")
        with database:
            for hour in range(24):
                for k in range(DEVICES):
                    status = {"source": "yard", "state": "coverage", "time": None}
                    message = '{"onset": 0, "offset": 3600, "share": 0.97}'
                    at = NOW - hour * 3600
                    database.add_status(sessions[k], 10**9 + hour, at, message=message, **status)
            if more:
                database._connection.execute(MORE, (more, BEGIN, DAYS * DAY_S / more))


def ask(place: StorePlace) -> None:
    """Ask what the page asks, and print how long each answer takes."""
    began = time.perf_counter()
    for _ in range(20):
        StoreReader(place).close()
    print(f"to open it: {(time.perf_counter() - began) / 20 * 1e3:.1f} ms")
    with StoreReader(place) as reader:
        questions = {
            "first page of all": lambda: reader.events(EventFilter(), 100),
            "of a device": lambda: reader.events(EventFilter(devices=[topic(7)]), 100),
            "of a place": lambda: reader.events(EventFilter(places=["Place 3"]), 100),
            "of a class, of a day": lambda: reader.events(EventFilter(labels=["Dog"], from_at=NOW - DAY_S), 100),
            "devices": lambda: reader.devices(NOW),
            "places of a day": lambda: reader.places(NOW - DAY_S, NOW),
            "places of 30 days": lambda: reader.places(BEGIN, NOW),
            "days": lambda: reader.days(EventFilter()),
            "figures": lambda: reader.figures(EventFilter()),
            "figures of a week": lambda: reader.figures(EventFilter(from_at=NOW - 7 * DAY_S)),
            "size": reader.info,
        }
        for name, question in questions.items():
            began = time.perf_counter()
            question()
            print(f"{name}: {(time.perf_counter() - began) * 1e3:.0f} ms")


def main() -> None:
    """Fill a store and ask it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("store", help="a file that is not there yet, or the URL of an empty database")
    parser.add_argument("--messages", type=int, default=96_000)
    parser.add_argument("--events", type=int, default=0)
    args = parser.parse_args()
    place = PostgresUrl(args.store) if args.store.startswith("postgres") else Path(args.store)
    fill(place, args.messages, args.events)
    for _ in range(2):
        ask(place)


if __name__ == "__main__":
    main()
