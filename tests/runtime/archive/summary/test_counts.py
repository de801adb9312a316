"""What the page of a scan counts."""

from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path, PurePath
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.archive.formats import moment_at
from htsat_edge.runtime.archive.journal import KeptEvent, KeptRecording
from htsat_edge.runtime.archive.records import FoundInRecording, Origin, Quality
from htsat_edge.runtime.archive.summary.counts import ArchiveCounts, find_periods, hours_of

BERLIN = ZoneInfo("Europe/Berlin")
STARTS = st.datetimes(
    datetime(2026, 3, 28),
    datetime(2026, 3, 30),
    timezones=st.sampled_from([None, timezone(timedelta(hours=-3)), BERLIN]),
)
"""Around a night in which clocks are changed."""


def heard(path, *events, start=None, duration_s=60.0, quality=Quality(), failure=""):
    found = FoundInRecording(duration_s, 32_000, 1, quality, (), Origin(start), failure)
    return KeptRecording(Path(path), PurePath(path), 1000, found, events)


def count(*recordings):
    counts = ArchiveCounts()
    for recording in recordings:
        counts.add(recording)
    return counts


@settings(max_examples=60, deadline=None)
@given(STARTS, st.integers(0, 30_000))
def test_hours_are_those_of_each_second(start, seconds):
    start = start.replace(microsecond=0)
    twin = Counter()
    for second in range(seconds):
        time = moment_at(start, second)
        twin[time.date(), time.hour] += 1
    spans = [((time.date(), time.hour), inside) for time, inside in hours_of(start, seconds)]
    assert dict(twin) == {key: pytest.approx(sum(s for k, s in spans if k == key)) for key in {k for k, _ in spans}}


def test_the_clock_goes_by_real_seconds():
    before = datetime(2026, 3, 29, 1, 59, 59, tzinfo=BERLIN)
    assert moment_at(before, 2).hour == 3


def test_a_full_hour_is_one_hour():
    assert [*hours_of(datetime(2026, 5, 1, 23), 3600.0000001)] == [(datetime(2026, 5, 1, 23), 3600)]


EVENTS = st.tuples(st.integers(0, 2), st.sampled_from("ABC"), st.integers(0, 50), st.sampled_from([0.5, 0.75])).map(
    lambda each: KeptEvent(*each[:3], 55, each[3])
)
RECORDINGS = st.lists(st.tuples(st.sampled_from(["x/a", "x/b", "y/a"]), st.lists(EVENTS, max_size=4)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(RECORDINGS.flatmap(lambda each: st.tuples(st.just(each), st.permutations(each))))
def test_the_order_of_recordings_does_not_matter(orders):
    one, other = (count(*(heard(path, *events) for path, events in order)) for order in orders)
    assert vars(one) == vars(other)
    everything = [(-e.score, path, e.channel, e.onset, e.label) for path, events in orders[0] for e in events]
    for label, counts in one.labels.items():
        score, path, channel, onset, _ = min(each for each in everything if each[-1] == label)
        best = counts.best
        assert (-best.event.score, str(best.path), best.event.channel, best.event.onset) == (
            score,
            path,
            channel,
            onset,
        )


def test_folders_and_the_whole_add_up():
    dog, cow = KeptEvent(0, "Dog", 1, 2, 0.5), KeptEvent(0, "Cow", 1, 2, 0.5)
    counts = count(heard("x/a", dog, dog), heard("x/b", cow, failure="is truncated"), heard("y/c"))
    counts.add_failed(Path("y/d"), "is empty", 1)
    counts.add_failed(Path("y/e"), "is empty", 1)
    assert {name: (f.recordings, f.seconds, f.faulty, f.failed) for name, f in counts.folders.items()} == {
        "x": (2, 120, 1, 0),
        "y": (1, 60, 0, 2),
    }
    assert (counts.whole.recordings, counts.whole.faulty, counts.whole.failed) == (3, 1, 2)
    assert counts.whole.labels == {"Dog": 2, "Cow": 1}
    assert counts.failures == [(Path("y/d"), "is empty")]
    assert counts.events == 3
    assert [label for label, _ in counts.by_frequency()] == ["Dog", "Cow"]


def test_faults_name_the_worst():
    counts = count(
        heard("b", quality=Quality(samples=1000, clipped=5, dropouts=2)),
        heard("a", quality=Quality(samples=1000, clipped=1)),
        heard("c", quality=Quality(samples=10_000, clipped=9, silent_s=3.0)),
    )
    assert {name: (f.recordings, str(f.worst), f.degree) for name, f in counts.faults.items()} == {
        "clipped": (2, "b", 0.005),
        "dropouts": (1, "b", 2),
        "silent": (1, "c", 3),
    }
    assert counts.whole.faulty == 3


@pytest.mark.parametrize(
    ("days", "unit", "first", "last"),
    [
        (31, "day", "2026-12-15", "2027-01-14"),
        (32, "week", "2026-W51", "2027-W02"),
        (31 * 7, "month", "2026-12", "2027-07"),
        (40 * 31, "year", "2026", "2030"),
    ],
)
def test_periods_are_the_shortest_that_fit(days, unit, first, last):
    start = datetime(2026, 12, 15)
    periods = find_periods(count(*(heard("a", start=start + timedelta(days=day)) for day in range(days))))
    assert (periods.unit, periods.names[0], periods.names[-1]) == (unit, first, last)
    assert periods.name(start.date()) == first
    assert len(periods.names) <= 31


def test_a_week_belongs_to_the_year_of_its_thursday():
    weeks = find_periods(count(*(heard("a", start=datetime(2026, 12, 1) + timedelta(days=day)) for day in range(40))))
    assert weeks.name(date(2027, 1, 1)) == "2026-W53"
