from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.archive.recorded.zones import parse_moment, parse_offset, parse_zone, with_zone
from htsat_edge.runtime.common.errors import HtsatEdgeError


@pytest.fixture
def in_berlin(in_zone):
    in_zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("Z", 0),
        ("utc", 0),
        ("GMT", 0),
        ("+02:00", 120),
        ("+0545", 345),
        ("-03", -180),
        ("UTC-5", -300),
        ("UTC+5:30", 330),
        ("+14:00", 840),
        ("-00:30", -30),
        (" +1 ", 60),
    ],
)
def test_offsets_are_zones(text, minutes):
    assert parse_zone(text) == timezone(timedelta(minutes=minutes))


def test_names_of_the_list_are_zones():
    assert parse_zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    ["", "Berlin", "Europe", "../etc/passwd", "/etc/passwd", "+14:15", "+02:10", "+99:00", "a\0b", "CEST\n", "2"],
)
def test_what_is_no_zone_is_told_in_one_line(text):
    with pytest.raises(HtsatEdgeError, match="is no time zone; want a name such as Europe/Berlin") as raised:
        parse_zone(text)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(("month", "hours"), [(1, 1), (7, 2)])
def test_local_is_the_zone_of_this_device_as_it_is_then(in_berlin, month, hours):
    there = with_zone(datetime(2026, month, 1, 12), parse_zone("local"))
    assert there.tzinfo == timezone(timedelta(hours=hours))
    assert there.hour == 12


@pytest.mark.parametrize("zone", ["Europe/Berlin", "local"])
@pytest.mark.parametrize(
    ("moment", "hours"),
    [
        (datetime(2026, 10, 25, 1, 59), 2),
        (datetime(2026, 10, 25, 2, 30), 2),
        (datetime(2026, 10, 25, 3), 1),
        (datetime(2026, 3, 29, 1, 59), 1),
        (datetime(2026, 3, 29, 2, 30), 1),
        (datetime(2026, 3, 29, 3), 2),
    ],
    ids=str,
)
def test_when_the_clocks_change(in_berlin, zone, moment, hours):
    """A time that comes twice is the first, one that never comes that of a clock that was not set yet."""
    assert with_zone(moment, parse_zone(zone)).isoformat() == f"{moment.isoformat()}+0{hours}:00"


def test_a_time_with_a_zone_keeps_it_as_a_fixed_offset():
    """Else, seconds that are added to it would be those of the clock on the wall."""
    summer = with_zone(datetime(2026, 10, 24, 12, tzinfo=ZoneInfo("Europe/Berlin")), timezone.utc)
    assert summer.isoformat() == "2026-10-24T12:00:00+02:00"
    assert (summer + timedelta(days=1)).timestamp() - summer.timestamp() == 86400
    assert (summer + timedelta(days=1)).isoformat() == "2026-10-25T12:00:00+02:00"


def test_without_a_zone_a_time_stays_without():
    assert with_zone(datetime(2026, 5, 1), None) == datetime(2026, 5, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01T21:30:00", "2026-05-01T21:30:00"),
        ("2026-05-01 21:30:05.25", "2026-05-01T21:30:05.250000"),
        ("2026-05-01T21:30:00.123456789Z", "2026-05-01T21:30:00.123456+00:00"),
        ("2026-05-01 21:30:00-05:00", "2026-05-01T21:30:00-05:00"),
        ("2026-05-01T21:30-05:00", "2026-05-01T21:30:00-05:00"),
        ("2026-05-01T21:30:00 UTC+10", "2026-05-01T21:30:00+10:00"),
        ("2026:05:01 21-30-00", "2026-05-01T21:30:00"),
        ("20260501T213000", "2026-05-01T21:30:00"),
        (" 2026_05_01 21.30.00 ", "2026-05-01T21:30:00"),
    ],
)
def test_times_as_headers_have_them(text, expected):
    assert parse_moment(text).isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-05-01",
        "2026-13-01T00:00:00",
        "2026-02-30T00:00:00",
        "2026-05-01T24:00:00",
        "2026-05-01T21:60:00",
        "0000-00-00 00:00:00",
        "1970-01-01T00:00:07Z",
        "1980-01-01T00:00:00",
        "1899-12-31T23:59:59",
        "2200-01-01T00:00:00",
        "01/05/2026 21:30:00",
        "2026-05/01 21:30:00",
    ],
)
def test_what_is_no_time(text):
    """Clocks that were never set begin in 1970 or 1980."""
    assert parse_moment(text) is None


@given(st.datetimes(datetime(1981, 1, 1), datetime(2199, 1, 1)), st.integers(-56, 56))
def test_every_time_of_iso_8601_is_read_back(moment, quarters):
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=15 * quarters)))
    assert parse_moment(moment.isoformat()) == moment
    assert parse_moment(aware.isoformat()) == aware
    assert parse_moment(aware.isoformat(" ")).utcoffset() == aware.utcoffset()


@given(st.text(max_size=30))
def test_no_text_is_too_odd(text):
    assert parse_offset(text) is None or parse_zone(text) == parse_offset(text)
    parse_moment(text)
