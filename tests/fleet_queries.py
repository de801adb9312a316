"""Time what the page of a fleet asks of its store, by hand: python tests/fleet_queries.py [--url postgresql://…]."""

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "fixtures"))

from fleet_store import LABELS, profile, put_device

from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter
from htsat_edge.runtime.web.fleet_summary import summaries_of

DAY_S = 86_400.0


def fill(place, devices, events, now):
    """Store the events of a month, ten devices at a place."""
    with closing(FleetDatabase(place)) as database:
        for number in range(devices):
            topic = f"htsat-edge/d{number:03}"
            heard = [(LABELS[k % 8], 30 * DAY_S * (1 - k / events), k % 5 == 0) for k in range(events)]
            with database:
                put_device(database, topic, now, profile(topic, place=f"Site {number // 10}"), events=heard)


def ask(place, now):
    """Yield what is asked, and how many milliseconds it takes."""
    month = EventFilter(from_at=now - 31 * DAY_S)
    with StoreReader(place) as reader:
        questions = {
            "devices": lambda: summaries_of(reader.devices()),
            "places, half a day": lambda: reader.places(now - DAY_S / 2, now),
            "places, 30 days": lambda: reader.places(now - 30 * DAY_S, now),
            "first 100 events": lambda: reader.events(EventFilter(), 100),
            "of a place": lambda: reader.events(EventFilter(places=["Site 3"]), 100),
            "of a device": lambda: reader.events(EventFilter(devices=["htsat-edge/d007"]), 100),
            "figures, 31 days": lambda: reader.figures(month),
            "days": lambda: reader.days(EventFilter()),
        }
        for name, question in questions.items():
            begun = time.perf_counter()
            question()
            yield name, 1000 * (time.perf_counter() - begun)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--events", type=int, default=2500, help="of each device, in 30 days")
    parser.add_argument("--url", help="of an empty database of a PostgreSQL server; else SQLite")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    now = time.time()
    with tempfile.TemporaryDirectory() as folder:
        place = PostgresUrl(args.url) if args.url else Path(folder) / "fleet.db"
        fill(place, args.devices, args.events, now)
        print(f"{args.devices} devices, {args.devices * args.events} events, filled in {time.time() - now:.0f} s")
        rounds = [dict(ask(place, now)) for _ in range(args.rounds)]
    for name in rounds[0]:
        times = sorted(each[name] for each in rounds)
        print(f"{name:20} median {times[len(times) // 2]:6.0f} ms, slowest {times[-1]:6.0f} ms")


if __name__ == "__main__":
    main()
