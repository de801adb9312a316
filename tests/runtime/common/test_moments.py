"""Moments as a person says them, in Berlin on the day after the clocks were set back."""

from datetime import datetime

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.moments import read_moment

NOW = datetime.fromisoformat("2026-10-26T10:00:00+01:00").timestamp()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-10-26T10:00:00+01:00"),
        ("90m", "2026-10-26T08:30:00+01:00"),
        ("2 h", "2026-10-26T08:00:00+01:00"),
        ("48h", "2026-10-24T11:00:00+02:00"),
        ("2d", "2026-10-24T10:00:00+02:00"),
        ("4w", "2026-09-28T10:00:00+02:00"),
        ("today", "2026-10-26T00:00:00+01:00"),
        ("yesterday", "2026-10-25T00:00:00+02:00"),
        ("Yesterday  21:30", "2026-10-25T21:30:00+01:00"),
        ("today 23:59:59", "2026-10-26T23:59:59+01:00"),
        ("9:30", "2026-10-26T09:30:00+01:00"),
        ("21:30", "2026-10-25T21:30:00+01:00"),
        ("2026-10-24", "2026-10-24T00:00:00+02:00"),
        ("2026-05-01 21:30", "2026-05-01T21:30:00+02:00"),
        ("2026-05-01T21:30:00Z", "2026-05-01T21:30:00+00:00"),
    ],
)
def test_what_a_moment_means(text, meant, in_zone):
    in_zone("Europe/Berlin")
    assert read_moment(text, NOW) == datetime.fromisoformat(meant).timestamp()


@pytest.mark.parametrize("text", ["", "tomorrow", "24:00", "today 7", "today21:30", "3y", "-2h", "2026-13-01"])
def test_what_is_no_moment(text):
    with pytest.raises(HtsatEdgeError, match="is no time; want such as yesterday"):
        read_moment(text, NOW)
