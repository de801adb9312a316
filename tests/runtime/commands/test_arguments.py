import argparse
from datetime import datetime, timedelta, timezone

import pytest

from htsat_edge.runtime.commands.arguments import counts, gpu_share, moment, names, seconds, share


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (names, "fp32,int8,fp32", ["fp32", "int8"]),
        (counts, "1,4,1", [1, 4]),
        (share, "0.25", 0.25),
        (gpu_share, "0.25", 0.25),
        (gpu_share, "1", 1.0),
        (seconds, "1.28", 1.28),
        (moment, "2026-05-01T21:30:00Z", datetime(2026, 5, 1, 21, 30, tzinfo=timezone.utc)),
        (
            moment,
            "2026-05-01T21:30:00+05:30",
            datetime(2026, 5, 1, 21, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        ),
    ],
)
def test_what_an_argument_means(read, text, value):
    assert read(text) == value


def test_a_time_without_a_zone_stays_so():
    assert moment("2026-05-01T21:30:00") == datetime(2026, 5, 1, 21, 30)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (counts, "1,,2", "'' is not a whole number from 1 on"),
        (counts, "0", "'0' is not a whole number from 1 on"),
        (share, "0", "0 is not between 0 and 1"),
        (share, "1", "1 is not between 0 and 1"),
        (share, "nan", "nan is not between 0 and 1"),
        (gpu_share, "2", "2 is not between 0 and 1"),
        (seconds, "0", "0 is not a positive number of seconds"),
        (seconds, "inf", "inf is not a positive number of seconds"),
        (seconds, "soon", "'soon' is not a number"),
        (moment, "noon", "'noon' is not a time such as 2026-05-01T21:30:00+02:00"),
    ],
)
def test_what_an_argument_cannot_be(read, text, message):
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        read(text)
    assert str(raised.value) == message


@pytest.mark.parametrize("text", ["9999-12-31T23:59:50+00:00", "0001-01-01", "yesterday"])
def test_a_time_must_leave_room_for_a_recording(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time such as"):
        moment(text)
