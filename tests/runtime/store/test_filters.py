import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.records import EventFilter, Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts

AT = 1_777_663_800.0


@pytest.fixture
def mixed(filler):
    """Events of two sources and three classes, some at the same time, with clips and verdicts."""
    for i in range(60):
        label, source = ("Dog", "Bird", "Animal")[i % 3], ("yard", "pond")[i % 4 == 1]
        key = filler.event(label, float(i // 2 * 10), i // 2 * 10 + 4.0, source=source, score=i / 60)
        if i % 5 == 0:
            filler.clip(key, f"{key}.flac", i // 2 * 10, i // 2 * 10 + 6.0, source=source)
    decisions = {1: "correct", 2: "wrong", 6: "wrong", 8: None, 11: None}
    put_verdicts(
        filler.path, [Verdict(event=k, decision=d, note=f"{k}", locked=k in (2, 8)) for k, d in decisions.items()]
    )
    return filler


def is_wanted(event, wanted):
    """What a filter means, for one event."""
    verdict = event.verdict or Verdict(event=event.key)
    return (
        (wanted.from_at is None or event.at >= wanted.from_at)
        and (wanted.to_at is None or event.at < wanted.to_at)
        and (not wanted.sources or event.source in wanted.sources)
        and (not wanted.labels or event.label in wanted.labels)
        and (wanted.decision is None or (verdict.decision or "none") == wanted.decision)
        and (wanted.min_score is None or event.score >= wanted.min_score)
        and (wanted.locked is None or verdict.locked == wanted.locked)
        and (wanted.has_clip is None or (event.clip is not None) == wanted.has_clip)
    )


MOMENTS = st.none() | st.integers(-5, 320).map(lambda s: AT + s)
FILTERS = st.builds(
    EventFilter,
    from_at=MOMENTS,
    to_at=MOMENTS,
    sources=st.lists(st.sampled_from(["yard", "pond", "wood"]), max_size=2),
    labels=st.lists(st.sampled_from(["Dog", "Bird", "'; DROP TABLE events"]), max_size=2),
    decision=st.sampled_from([None, "none", "correct", "wrong"]),
    min_score=st.none() | st.floats(0, 1),
    locked=st.sampled_from([None, True, False]),
    has_clip=st.sampled_from([None, True, False]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(wanted=FILTERS, limit=st.integers(1, 30))
def test_pages_hold_what_a_filter_lets_through(mixed, reader, wanted, limit):
    everything = reader.events(EventFilter(), 500).events
    assert [(event.at, event.key) for event in everything] == sorted(((e.at, e.key) for e in everything), reverse=True)
    expected = [event for event in everything if is_wanted(event, wanted)]
    found, after = [], None
    while True:
        page = reader.events(wanted, limit, after)
        assert page.total == len(expected)
        assert len(page.events) == limit or page.next is None
        found += page.events
        if (after := page.next) is None:
            break
    assert found == expected
    assert sum(day.count for day in reader.days(wanted)) == len(expected)
    figures = reader.figures(wanted)
    assert {row.label: (row.count, row.correct, row.wrong) for row in figures.labels} == {
        label: (len(own), *(sum(e.verdict is not None and e.verdict.decision == d for e in own) for d in DECISIONS))
        for label, events in itertools.groupby(sorted(expected, key=lambda e: e.label), lambda e: e.label)
        for own in [list(events)]
    }


DECISIONS = ("correct", "wrong")


def test_an_event_is_as_it_was_reported(mixed, reader):
    event = reader.event(6)
    assert (event.key, event.source, event.id, event.label, event.onset, event.offset) == (
        6,
        "pond",
        6,
        "Animal",
        20,
        24,
    )
    assert (event.time, event.at, event.score) == ("2026-05-01T19:30:20.000+00:00", AT + 20, 5 / 60)
    assert event.verdict == Verdict(event=6, decision="wrong", note="6")
    assert event.clip is not None
    assert (event.clip.name, event.clip.onset, event.clip.offset, event.clip.at) == ("6.flac", 20, 26, AT + 20)
    assert reader.event(999) is None


@pytest.mark.parametrize("after", ["", "x", "1_", "_1", "nan_1", "1e9_1", "1_2_3", "1_" + "9" * 30, "1٣_1"])
def test_a_place_that_is_none_is_refused(after, reader):
    with pytest.raises(HtsatEdgeError, match=r"after: .* is no place in a list of events; take `next` of a page"):
        reader.events(EventFilter(), 10, after)


def test_events_that_overlap_a_span(filler, reader):
    day = 86_400.0
    before, over, at_end, later = (
        filler.event("Dog", day + onset, day + offset) for onset, offset in ((0, 10), (5, 25), (20, 20.5), (30, 31))
    )
    long = filler.event("Bird", 100.0, day + 15)
    filler.event("Dog", day + 11.0, day + 12.0, source="pond")
    going_on = filler.event("Bird", day + 1)

    def within(begin, end):
        return [event.key for event in reader.events_within("yard", AT + day + begin, AT + day + end)]

    assert within(10, 20) == [long, going_on, over]
    assert within(10, 20.1) == [long, going_on, over, at_end]
    assert within(9, 10) == [long, before, going_on, over]
    cut_off, next_session = going_on, filler.event("Dog", day + 12, day + 13, uid="two")  # its end was never heard
    assert within(10, 20) == [long, over, next_session]
    assert within(1, 2) == [long, before, cut_off]
    assert within(30.5, 40) == [later]


def test_so_many_events_are_not_counted_to_the_last(mixed, reader, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.store.filters.MOST_COUNTED", 15)
    assert [reader.events(EventFilter(sources=[source]), 1).total for source in ("pond", "yard")] == [15, 16]
