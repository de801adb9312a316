"""What lies in the database as text is read again as it was."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.archive.journal.rows import (
    found_as_text,
    found_of_text,
    scores_as_row,
    scores_of_row,
    seconds_of,
)
from htsat_edge.runtime.archive.records import FoundEvent, FoundInRecording, Origin, Quality, Span, SpanScores

NUMBERS = st.floats(0, 1e5, allow_subnormal=False)
TEXTS = st.text("aZ é\"',😀", max_size=5)
ZONES = st.none() | st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))
STARTS = st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=ZONES)
EVENTS = st.builds(FoundEvent, st.integers(0, 8), TEXTS, NUMBERS, NUMBERS, st.floats(0, 1))
FOUND = st.builds(
    FoundInRecording,
    NUMBERS,
    st.integers(1000, 10**6),
    st.integers(1, 64),
    st.builds(Quality, st.integers(0, 10**12), NUMBERS, NUMBERS, st.integers(0, 10**12), NUMBERS, st.integers(0, 99)),
    st.lists(EVENTS, max_size=4).map(tuple),
    st.builds(Origin, STARTS, TEXTS, st.none() | NUMBERS, st.none() | NUMBERS, TEXTS),
    TEXTS,
)
SCORES = st.builds(
    SpanScores,
    st.builds(Span, st.just(Path("/archive/a.wav")), st.integers(0, 47), st.integers(1, 48), NUMBERS),
    st.lists(st.binary(max_size=9), max_size=4).map(tuple),
    st.builds(Quality, power=NUMBERS, silent_s=NUMBERS),
    st.integers(1000, 10**6),
    st.integers(1, 64),
    NUMBERS,
    TEXTS,
)


@given(found=FOUND)
def test_what_was_found(found):
    again = found_of_text(found_as_text(found), found.events)
    assert again == found
    start, other = found.origin.start, again.origin.start
    assert (start and start.utcoffset()) == (other and other.utcoffset())  # two times may be equal in two zones


@given(scores=SCORES)
def test_scores_of_a_span(scores):
    assert scores_of_row(scores.span.path, *scores_as_row(scores)) == scores


def test_seconds_of_times():
    assert seconds_of(None) is None
    assert seconds_of(datetime(1970, 1, 1)) == 0.0  # without a zone, as if it were UTC, whatever the zone here
    assert seconds_of(datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == 0.0
    assert seconds_of(datetime(1969, 12, 31, 23, 59, 59, 500_000)) == -0.5
