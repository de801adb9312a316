"""Whatever is stored and asked, SQLite and PostgreSQL answer the same."""

import itertools
from contextlib import closing

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

AT = 1_777_663_800.0
DEVICES = ("barn", "gate/1", "Zaun", "äcker")
SOURCES = ("yard", "Yard", "Höfe/straße 1")
LABELS = ("Dog", "dog", "Cattle, bovinae", "Ärger", "Zebra", "'; DROP TABLE events", "50 % ?")
TIMES = (
    None,
    "2026-05-01T19:30:00.250+00:00",
    "2026-05-01T21:30:00.250+02:00",
    "2026-05-01T14:00:00.001-05:30",
    "2026-05-01T19:30:07.500Z",
    "2026-05-01T19:30Z",
    "2026-05-01T24:30:00",
    "2025-01-01T00:00:00.000+14:00",
    "2028-02-29T23:59:59.9996-11:59",
    "2026-02-31T10:00:00.000+00:00",
    "2100-03-01T00:00:00+00:00",
    "9999-12-31T23:59:59.999+00:00",
    "1970-01-01T00:00:09.500+00:00",
    "2026-13-01T00:00:00Z",
    "2026-05-01T25:30:00Z",
    "2026-05-01T19:30:00+15:00",
    "2026-05-01 19:30:00Z",
    "now",
    "2026-05-01T19:30:00.250+00:00 and more",
    "",
)
SECONDS = st.integers(0, 400).map(lambda k: k / 4)
PLACES = st.tuples(st.sampled_from(DEVICES), st.integers(1, 2), st.sampled_from(SOURCES), st.integers(1, 4))
"""Of an event: device, session, source and number."""
WRITES = st.one_of(
    st.tuples(st.just("start"), PLACES, st.sampled_from(LABELS), SECONDS, st.sampled_from(TIMES), st.floats(0, 1)),
    st.tuples(st.just("end"), PLACES, st.sampled_from(LABELS), SECONDS, st.sampled_from(TIMES), st.floats(0, 1)),
    st.tuples(st.just("clip"), PLACES, st.sampled_from(("a.flac", "b.flac")), SECONDS, st.sampled_from(TIMES)),
    st.tuples(st.just("removed"), PLACES, st.sampled_from(("a.flac", "b.flac"))),
    st.tuples(st.just("gap"), PLACES, SECONDS, st.sampled_from(TIMES)),
    st.tuples(st.just("status"), PLACES, st.sampled_from(("listening", "coverage")), st.sampled_from(TIMES)),
    st.tuples(st.just("take"), PLACES, st.integers(1, 8)),
    st.tuples(st.just("info"), PLACES, st.sampled_from((None, "Farm", "Wood"))),
    st.tuples(st.just("online"), PLACES, st.booleans()),
    st.tuples(st.just("judge"), st.integers(0, 20), st.sampled_from((None, "correct", "wrong")), st.booleans()),
    st.tuples(st.just("prune"), SECONDS),
)
MOMENTS = st.none() | SECONDS.map(lambda s: AT + s)
FILTERS = st.builds(
    EventFilter,
    from_at=MOMENTS,
    to_at=MOMENTS,
    sources=st.lists(st.sampled_from(SOURCES), max_size=2),
    labels=st.lists(st.sampled_from(LABELS), max_size=2),
    decision=st.sampled_from([None, None, "none", "correct", "wrong"]),
    min_score=st.none() | st.floats(0, 1),
    locked=st.sampled_from([None, None, True, False]),
    has_clip=st.sampled_from([None, None, True, False]),
    devices=st.lists(st.sampled_from(DEVICES), max_size=2),
    places=st.lists(st.sampled_from(("Farm", "Wood", "Sea")), max_size=2),
)


def write(place, writes):
    """Store what was drawn, each in a transaction of its own; return what was to be stored of what is numbered."""
    taken = []
    with closing(FleetDatabase(place)) as database:
        for k, (kind, *what) in enumerate(writes):
            if kind == "judge":
                judge(place, *what)
            else:
                with database:
                    taken.append(put(database, k, kind, *what))
    return taken


def put(database, k, kind, place, *what):
    at = AT + k
    if kind == "prune":
        return database.prune(AT + place)
    device, which, source, number = place
    session = database.device_session(device, f"{device} {which}", AT)
    common = {"source": source, "id": number}
    match kind, *what:
        case "start", label, onset, time, score:
            event = EventStart(**common, label=label, onset=onset, time=time, score=score)
            database.put_event(session, event, at)
        case "end", label, onset, time, score:
            event = EventEnd(**common, label=label, onset=onset, offset=onset + 1.5, time=time, score=score)
            database.put_event(session, event, at)
        case "clip", name, onset, time:
            database.put(session, SavedClip(source, number, name, onset, onset + 3, time), at)
        case "removed", name:
            database.put(session, RemovedClip(name), at)
        case "gap", onset, time:
            more = {"source": source, "onset": onset, "offset": onset + number, "time": time, "reason": "overrun"}
            database.add_gap(session, k, at, **more)
        case "status", state, time:
            message = f'{{"onset": 0, "offset": {number}, "share": 0.5}}'
            database.add_status(session, k, at, source=source, state=state, time=time, message=message)
        case "take", message:
            return database.take(session, message, at)
        case "info", where:
            database.put_info(device, f'{{"where": "{where}"}}', where, at)
        case "online", online:
            database.set_online(device, online, at)
    return None


def judge(place, which, decision, locked):
    """Say something of the event that was stored so-manieth: keys differ, their order does not."""
    with StoreReader(place) as reader:
        keys = sorted(event.key for event in reader.events(EventFilter(), 500).events)
    if keys:
        put_verdicts(place, [Verdict(event=keys[which % len(keys)], decision=decision, note="50 % ?", locked=locked)])


def answers(place, wanted, limit):
    with StoreReader(place) as reader:
        pages, after = [], None
        while True:
            page = reader.events(wanted, limit, after)
            pages.append((page.total, without_keys(page.events)))
            if (after := page.next) is None:
                break
        span = (0, 1e11) if wanted.from_at is None else (wanted.from_at, wanted.from_at + 50)
        for device, source in itertools.product((None, *wanted.devices), (None, *wanted.sources)):
            pages.append(reader.gaps(*span, source=source, device=device))
            pages.append(reader.statuses(*span, source=source, device=device))
        clips = [reader.clip(name, device) for name in ("a.flac", "b.flac") for device in DEVICES]
        contents, without = reader.judged()
        judged = [(c.name, c.onset, c.events, c.rules_left_out) for c in contents]
        sources, info = reader.sources(), reader.info()
        within = [without_keys(reader.events_within(source, *span)) for source in SOURCES]
        figures, days = reader.figures(wanted), reader.days(wanted)
        devices, places = reader.devices(AT + 200), reader.places(*span)
        locked = reader.locked_clips()
    size = info.events, info.oldest_at
    return pages, clips, sorted(judged, key=str), without, sources, size, within, figures, days, devices, places, locked


def without_keys(events):
    return [event.model_dump(exclude={"key": True, "session": True, "verdict": {"event"}}) for event in events]


ALL_TIMES = [("start", ("barn", 1, "yard", i), "Dog", 1.0, time, 0.5) for i, time in enumerate(TIMES)]


RUN = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=20, deadline=None
)


@RUN
@example(writes=ALL_TIMES, wanted=EventFilter(), limit=7)
@given(writes=st.lists(WRITES, max_size=40), wanted=FILTERS, limit=st.integers(1, 20))
def test_both_engines_answer_the_same(writes, wanted, limit, postgres, tmp_path):
    number = len(list(tmp_path.glob("*.db")))
    places = [tmp_path / f"{number}.db", PostgresUrl(postgres.url())]
    taken = [write(place, writes) for place in places]
    assert taken[0] == taken[1]
    found = [answers(place, wanted, limit) for place in places]
    for one, other in zip(*found, strict=True):
        assert one == other


@pytest.mark.slow
@settings(RUN, max_examples=100)
@given(writes=st.lists(WRITES, max_size=80), wanted=FILTERS, limit=st.integers(1, 20))
def test_and_so_they_do_in_many_cases(writes, wanted, limit, postgres, tmp_path):
    test_both_engines_answer_the_same.hypothesis.inner_test(writes, wanted, limit, postgres, tmp_path)
