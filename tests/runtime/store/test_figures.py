"""Hours and days of the device's own clock."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from htsat_edge.runtime.store.records import EventFilter, LabelHour

AT = 1_777_663_800.0


def test_hours_and_days_are_local(filler, reader, in_zone):
    """2026-05-01 21:30 in Berlin is 19:30 in UTC, and 01:15 of the next day in Kathmandu."""
    for onset, label in ((0.0, "Dog"), (60.0, "Dog"), (2 * 3600.0, "Dog"), (2.6 * 3600, "Bird")):
        filler.event(label, onset, onset + 1)
    for zone, hours, days in (
        ("UTC", [("Bird", 22, 1), ("Dog", 19, 2), ("Dog", 21, 1)], [("2026-05-01", 4)]),
        ("Europe/Berlin", [("Bird", 0, 1), ("Dog", 21, 2), ("Dog", 23, 1)], [("2026-05-02", 1), ("2026-05-01", 3)]),
        ("Asia/Kathmandu", [("Bird", 3, 1), ("Dog", 1, 2), ("Dog", 3, 1)], [("2026-05-02", 4)]),
    ):
        in_zone(zone)
        figures = reader.figures(EventFilter())
        assert figures.hours == [LabelHour(label=label, hour=hour, count=count) for label, hour, count in hours]
        assert [(day.day, day.count) for day in figures.days] == days
        assert reader.days(EventFilter()) == figures.days
        assert [(row.label, row.count) for row in figures.labels] == [("Dog", 3), ("Bird", 1)]


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 12, 31), 24)])
def test_days_are_as_long_as_the_clock_makes_them(day, hours, filler, reader, in_zone):
    """Both ends of a day bound what it counts."""
    in_zone("Europe/Berlin")
    midnight = datetime(*day, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    for at in (midnight - 1, midnight, midnight + hours * 3600 - 1, midnight + hours * 3600):
        filler.event("Dog", at - AT, at - AT + 1)
    (found,) = [row for row in reader.days(EventFilter()) if row.day == "{}-{:02}-{:02}".format(*day)]
    assert (found.from_at, found.to_at, found.count) == (midnight, midnight + hours * 3600, 2)
    assert reader.events(EventFilter(from_at=found.from_at, to_at=found.to_at), 10).total == 2


def test_nothing(reader):
    figures = reader.figures(EventFilter())
    assert (figures.labels, figures.hours, figures.days, reader.days(EventFilter())) == ([], [], [], [])
