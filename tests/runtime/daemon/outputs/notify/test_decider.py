"""Which events are worth a notification."""

import time
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.daemon.outputs.notify.decider import HeardEvent, NotificationDecider
from htsat_edge.runtime.daemon.outputs.notify.history import EventHistory
from htsat_edge.runtime.store.database import Database

NOON = datetime(2026, 5, 4, 12, tzinfo=timezone(timedelta(hours=2)))
"""A Monday in Berlin."""


def at(moment):
    return moment.isoformat(timespec="milliseconds")


@pytest.fixture
def decide(make_config, monkeypatch):
    """Makes what decides by these rules; returns what it chooses of an event, as numbers of rules with services."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()

    def make(*rules, history=EventHistory(), services=("phone",), needed=lambda rule, *_: rule.min_score or 0.0):
        config = make_config(*rules, services=services)
        decider = NotificationDecider(config, needed, history)

        def take(event, came_s=0.0, came_at=NOON.timestamp()):
            chosen = decider.take(HeardEvent(event, came_s, came_at))
            return [(config.rules.index(rule), names) for rule, names in chosen]

        return take

    yield make
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def stored(tmp_path):
    """Writes events to a store, by their times; returns the history that reads them."""

    def write(*events):
        path = tmp_path / f"{len([*tmp_path.iterdir()])}.db"
        with closing(Database(path)) as database, database:
            session = database.session("0" * 32, NOON.timestamp() - 9e6)
            for event in events:
                database.put_event(session, event, datetime.fromisoformat(event.time).timestamp())
        return EventHistory(path)

    return write


def test_every_event_by_every_service_once_where_nothing_else_is_said(decide, start, ended):
    take = decide({"cooldown_s": 0}, services=("phone", "mail"))
    event = start()
    assert take(event) == [(0, ["phone", "mail"])]
    assert take(ended(event, 0.9)) == []
    assert take(start(id=2)) == [(0, ["phone", "mail"])]
    assert take(event) == [(0, ["phone", "mail"])]  # another of that number, in another recording


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ({"labels": "Dog"}, True),
        ({"labels": ["Cat", "Siren"]}, False),
        ({"sources": "yard"}, True),
        ({"sources": "gate"}, False),
    ],
)
def test_classes_and_sources(decide, start, rule, chosen):
    assert bool(decide(rule)(start(source="yard/2"))) == chosen


def test_the_score_is_reached_at_the_start_or_at_the_end(decide, start, ended):
    take = decide({"min_score": 0.6, "cooldown_s": 0})
    assert take(start(score=0.6)) == [(0, ["phone"])]
    low = start(id=2, score=0.59)
    assert take(low) == []
    assert take(ended(low, 0.61)) == [(0, ["phone"])]
    assert take(ended(low, 0.61)) == []
    other = start(id=3, score=0.1)
    assert (take(other), take(ended(other, 0.59))) == ([], [])


def test_cooldown_is_of_each_rule_source_and_class(decide, start):
    take = decide({"cooldown_s": 60}, {"cooldown_s": 10, "services": "mail"}, services=("phone", "mail"))
    assert take(start(), 100.0) == [(0, ["phone", "mail"])]
    assert take(start(id=2), 109.9) == []
    assert take(start(id=3), 110.0) == [(1, ["mail"])]
    assert take(start(id=4, label="Cat"), 111.0) == [(0, ["phone", "mail"])]
    assert take(start(id=1, source="gate"), 111.0) == [(0, ["phone", "mail"])]
    assert take(start(id=5), 159.9) == [(1, ["mail"])]
    assert take(start(id=6), 160.0) == [(0, ["phone", "mail"])]


def test_what_is_left_out_starts_no_cooldown(decide, start):
    take = decide({"min_score": 0.5})
    assert [take(start(id=1, score=0.4), 0.0), take(start(id=2), 1.0), take(start(id=3), 2.0)] == [
        [],
        [(0, ["phone"])],
        [],
    ]


def test_one_service_notifies_of_an_event_once_whatever_rules_it_meets(decide, start, ended):
    take = decide({"services": "phone"}, {"min_score": 0.7}, services=("phone", "mail"))
    event = start()
    assert take(event) == [(0, ["phone"])]
    assert take(ended(event, 0.8)) == [(1, ["mail"])]
    assert take(start(id=1, source="gate", score=0.9)) == [(0, ["phone"]), (1, ["mail"])]


HOURS = {"from": "22:00", "to": "06:30"}


@pytest.mark.parametrize(
    ("rule", "hour", "chosen"),
    [
        ({"quiet_hours": [HOURS]}, 23, False),
        ({"quiet_hours": [HOURS]}, 12, True),
        ({"quiet_hours": [HOURS | {"labels": "Cat"}]}, 23, True),
        ({"quiet_hours": [HOURS | {"sources": "gate"}]}, 23, True),
        ({"quiet_hours": [HOURS | {"sources": "yard", "labels": "Dog"}]}, 23, False),
        ({"between": HOURS}, 23, True),
        ({"between": HOURS}, 12, False),
        ({"between": HOURS | {"days": ["tue"]}}, 23, False),
        ({"between": HOURS | {"days": ["mon"]}}, 23, True),
    ],
)
def test_times_of_day(decide, start, rule, hour, chosen):
    assert bool(decide(rule)(start(time=at(NOON.replace(hour=hour)), source="yard/2"))) == chosen


@pytest.mark.parametrize(
    "rule", [{"quiet_hours": [HOURS]}, {"between": HOURS}, {"first_of_day": True}, {"unusual": {"fewer_than": 1}}]
)
@pytest.mark.parametrize("unknown", [None, "1970-01-01T12:00:00.000+01:00", "1970-01-01T00:30:00.000+01:00"])
def test_a_time_of_day_that_is_not_known_holds_nothing_back(decide, start, rule, unknown):
    assert decide(rule)(start(time=unknown))


def test_the_first_of_a_day_is_of_each_class_and_source(decide, start):
    take = decide({"first_of_day": True, "cooldown_s": 0})
    assert take(start(time=at(NOON)))
    assert not take(start(id=2, time=at(NOON.replace(hour=23, minute=59))))
    assert take(start(id=3, time=at(NOON), label="Cat"))
    assert take(start(id=1, time=at(NOON), source="gate"))
    assert take(start(id=4, time=at(NOON + timedelta(hours=12, minutes=1))))


def test_the_first_of_a_day_may_be_in_a_cooldown(decide, start):
    take = decide({"first_of_day": True, "cooldown_s": 3600})
    times = [NOON.replace(hour=23, minute=59), NOON + timedelta(hours=12, minutes=1), NOON + timedelta(hours=14)]
    chosen = [take(start(id=i, time=at(moment)), moment.timestamp()) for i, moment in enumerate(times, 1)]
    assert chosen == [[(0, ["phone"])], [], []]


def test_the_first_of_a_day_was_before_a_restart(decide, start, stored):
    rule = {"first_of_day": True, "cooldown_s": 0}
    morning, night = NOON.replace(hour=0, minute=1), NOON - timedelta(hours=12, minutes=1)
    event = start(id=9, time=at(NOON))
    heard_before = stored(start(time=at(morning)), event)
    assert not decide(rule, history=heard_before)(event)
    assert decide(rule, history=stored(start(time=at(night)), event))(event)


def test_the_first_of_a_day_is_the_first_that_meets_the_rest_of_its_rule(decide, start, stored):
    history = stored(
        start(id=1, time=at(NOON.replace(hour=5)), score=0.9),  # in quiet hours
        start(id=2, time=at(NOON.replace(hour=8)), score=0.3),  # too low
        start(id=3, time=at(NOON.replace(hour=9)), label="Cat"),
        start(id=4, time=at(NOON.replace(hour=9)), source="gate"),
    )
    rule = {"first_of_day": True, "min_score": 0.5, "quiet_hours": [HOURS]}
    assert decide(rule, history=history)(start(id=9, time=at(NOON)))


def test_what_is_rare_here_is_unusual(decide, start, stored):
    """In all sources; what is older than the days that count is not."""
    rule = {"unusual": {"fewer_than": 2, "within_days": 7}, "cooldown_s": 0}
    old, recent = start(time=at(NOON - timedelta(days=7.01))), start(id=2, time=at(NOON - timedelta(days=6.9)))
    gate = start(id=1, time=at(NOON - timedelta(days=3)), source="gate")
    event = start(id=9, time=at(NOON))
    assert decide(rule, history=stored(old, recent, event))(event)
    assert not decide(rule, history=stored(recent, gate, event))(event)
    assert decide(rule, history=stored(old, recent, gate))(start(id=9, time=at(NOON), label="Cat"))


@pytest.mark.parametrize("written", [0, 2])
def test_what_the_store_does_not_have_yet_counts_and_nothing_counts_twice(decide, start, ended, stored, written):
    events = [start(id=second, time=at(NOON + timedelta(seconds=second))) for second in range(1, 5)]
    take = decide({"unusual": {"fewer_than": 3}, "cooldown_s": 0}, history=stored(*events[:written]))
    chosen = []
    for event in events:
        chosen.append(bool(take(event)))
        assert take(ended(event)) == []
    assert chosen == [True, True, True, False]
    assert take(start(id=5, time=at(NOON + timedelta(days=8))))
    assert take(start(id=6, time=events[2].time))  # the clock is set back: two were before that


def test_a_store_that_cannot_be_read_holds_nothing_back_and_says_so_once(decide, start, tmp_path, caplog):
    (tmp_path / "events.db").write_bytes(b"no database, but long enough to be looked at as one" * 20)
    take = decide({"unusual": {"fewer_than": 1}, "cooldown_s": 0}, history=EventHistory(tmp_path / "events.db"))
    assert take(start(time=at(NOON)))
    assert take(start(id=1, time=at(NOON), source="gate", label="Cat"))
    (said,) = caplog.messages
    assert said.startswith("notify: ")
    assert said.endswith("; rules take it that nothing was heard before")


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(0, 50), st.floats(0, 1)), max_size=40),
    st.floats(0, 100),
    st.floats(0.1, 0.9),
)
def test_any_events_in_a_row(make_config, start, steps, cooldown_s, least):
    """A slow twin: of each source and class, an event is chosen where it scores, and none was in the cooldown."""
    config = make_config({"cooldown_s": cooldown_s, "min_score": least})
    decider = NotificationDecider(config, lambda rule, *_: rule.min_score, EventHistory())
    now_s, chosen, wanted = 0.0, [], []
    for number, (source, label, pause_s, score) in enumerate(steps):
        now_s += pause_s
        event = start(label, source, number, score)
        if decider.take(HeardEvent(event, now_s, 0.0)):
            chosen.append((source, label, now_s))
        near = any((a, b) == (source, label) and now_s - then_s < cooldown_s for a, b, then_s in wanted)
        if score >= least and not near:
            wanted.append((source, label, now_s))
    assert chosen == wanted
