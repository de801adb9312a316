"""Rules between sounds: on events that the test makes up, and beside a twin that looks at all of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import RulesConfig
from htsat_edge.runtime.daemon.rules import Rules, check_labels, is_quiet
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

LABELS = ("Cat", "Dog", "Owl")


def start(number, label, onset, at=None):
    return EventStart(source="yard", id=number, label=label, onset=onset, time=at, score=0.5)


def end(number, label, onset, offset):
    return EventEnd(source="yard", id=number, label=label, onset=onset, offset=offset, time=None, score=0.5)


def select(groups, **rules):
    """Return the numbers of events whose start and whose end is reported, and what was left out."""
    made = Rules(RulesConfig.model_validate(rules), "yard")
    found = [event for group in groups for event in made.select(group).reported]
    return *([event.id for event in found if event.type == kind] for kind in ("start", "end")), dict(made.suppressed)


SUPPRESS = {"Owl": {"while": "Dog", "within_s": 60}}


def test_an_owl_while_a_dog_barks():
    found = select(
        [[start(1, "Dog", 5)], [start(2, "Owl", 6)], [end(2, "Owl", 6, 7), end(1, "Dog", 5, 8)]], suppress=SUPPRESS
    )
    assert found == ([1], [1], {("suppress", "Owl"): 1})


@pytest.mark.parametrize(("onset", "reported"), [(67.9, [1]), (68.0, [1, 2])])
def test_an_owl_after_a_dog_has_barked(onset, reported):
    groups = [[start(1, "Dog", 5)], [end(1, "Dog", 5, 8)], [start(2, "Owl", onset)], [end(2, "Owl", onset, onset + 1)]]
    assert select(groups, suppress=SUPPRESS)[:2] == (reported, reported)


def test_a_dog_that_barks_after_an_owl_was_reported_changes_nothing():
    groups = [[start(1, "Owl", 5)], [start(2, "Dog", 6)], [end(1, "Owl", 5, 7)], [end(2, "Dog", 6, 8)]]
    assert select(groups, suppress=SUPPRESS) == ([1, 2], [1, 2], {})


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_that_start_at_once_the_order_is_no_matter(order):
    both = [start(1, "Owl", 5), start(2, "Dog", 5)]
    assert select([[both[i] for i in order]], suppress=SUPPRESS)[0] == [2]


def test_without_within_s_it_counts_while_it_sounds():
    groups = [[start(1, "Dog", 5)], [end(1, "Dog", 5, 8)], [start(2, "Owl", 7.9)], [start(3, "Owl", 8.0)]]
    assert select(groups, suppress={"Owl": {"while": ["Cat", "Dog"]}})[0] == [1, 3]


def test_what_is_not_reported_suppresses_others():
    rules = {"suppress": {"Dog": {"while": "Cat"}, "Owl": {"while": "Dog"}}}
    groups = [[start(1, "Cat", 5)], [start(2, "Dog", 6)], [end(1, "Cat", 5, 6.5)], [start(3, "Owl", 7)]]
    assert select(groups, **rules) == ([1], [1], {("suppress", "Dog"): 1, ("suppress", "Owl"): 1})


def barks(*spans):
    """Return groups of dogs, each with its start and its end."""
    return [[start(i, "Dog", a), end(i, "Dog", a, b)] for i, (a, b) in enumerate(spans, start=1)]


def test_a_cooldown_counts_from_the_end_of_the_last_reported_event():
    groups = barks((0, 10), (30, 40), (69.9, 70), (70, 71), (130.9, 131), (131, 132))
    assert select(groups, cooldown_s={"Dog": 60}) == ([1, 4, 6], [1, 4, 6], {("cooldown", "Dog"): 3})
    assert select(groups, cooldown_s=60)[0] == [1, 4, 6]
    assert select(groups, cooldown_s={"Owl": 60})[2] == {}
    assert select(groups, cooldown_s={"Dog": 0})[2] == {}


def test_a_cooldown_within_one_group():
    (group,) = [[event for bark in barks((0, 1), (2, 3), (11, 12)) for event in bark]]
    assert select([group], cooldown_s=10)[0] == [1, 3]


def test_an_end_that_is_lost_is_where_the_recording_ends():
    rules = Rules(RulesConfig.model_validate({"suppress": SUPPRESS, "cooldown_s": {"Dog": 30}}))
    assert rules.select([start(1, "Dog", 5)]).reported
    rules.interrupt(10)
    assert rules.select([start(2, "Dog", 39)]).reported == []
    rules.interrupt(41)
    assert rules.select([start(3, "Owl", 100)]).reported == []
    assert rules.select([start(4, "Owl", 101)]).reported
    assert rules.select([start(5, "Dog", 40)]).reported


def test_of_ends_that_come_in_another_order_the_latest_counts():
    dogs = [start(1, "Dog", 5), start(2, "Dog", 6), end(2, "Dog", 6, 8), end(1, "Dog", 5, 7)]
    assert select([dogs, [start(3, "Owl", 67.5)]], suppress=SUPPRESS)[2] == {("suppress", "Owl"): 1}


# Quiet hours


@pytest.fixture
def local(in_zone):
    """Has the local time be two hours later than UTC."""
    in_zone("HERE-2")


@pytest.mark.parametrize(
    ("begin", "to", "days", "quiet"),
    [
        ("22:00", "06:30", None, ["2026-11-27T20:00", "2026-11-28T04:29"]),  # in UTC; a Friday
        ("22:00", "06:30", ["fri"], ["2026-11-27T20:00", "2026-11-28T04:29"]),
        ("22:00", "06:30", ["sat"], []),
        ("08:00", "9:00", None, ["2026-11-28T06:00"]),
        ("08:00", "9:00", ["sat", "sun"], ["2026-11-28T06:00"]),
        ("08:00", "9:00", ["fri"], []),
        ("0:00", "0:00", ["sat"], ["2026-11-28T04:29", "2026-11-28T04:30", "2026-11-28T06:00", "2026-11-28T07:00"]),
    ],
)
@pytest.mark.usefixtures("local")
def test_quiet_hours_are_those_of_the_place(begin, to, days, quiet):
    moments = [f"2026-11-27T{at}" for at in ("19:59", "20:00")] + [
        f"2026-11-28T{at}" for at in ("04:29", "04:30", "06:00", "07:00")
    ]
    config = RulesConfig.model_validate({"quiet_hours": [{"from": begin, "to": to, "days": days}]})
    assert [at for at in moments if is_quiet(f"{at}:59.999+00:00", config.quiet_hours[0])] == quiet


@pytest.mark.usefixtures("local")
def test_quiet_hours_of_classes_and_sources():
    def reported(source, label, at, **keys):
        config = RulesConfig.model_validate({"quiet_hours": [{"from": "22:00", "to": "23:00", **keys}]})
        rules = Rules(config, source)
        found = [event.id for event in rules.select([start(1, label, 5, at)]).reported]
        assert rules.suppressed == ({} if found else {("quiet_hours", label): 1})
        return bool(found)

    night, noon = "2026-11-27T20:30:00.000+00:00", "2026-11-27T10:00:00.000+00:00"
    assert not reported("yard", "Dog", night)
    assert reported("yard", "Dog", noon)
    assert reported("yard", "Dog", None)  # of a recording
    assert reported("yard", "Dog", "2024-11-27T20:30:00.000+00:00")  # the clock was never set
    assert [reported("yard", label, night, labels="Dog") for label in LABELS] == [True, False, True]
    assert [reported(s, "Dog", night, sources="yard") for s in ("yard", "gate", "yard/1")] == [False, True, False]
    assert [reported(s, "Dog", night, sources=["yard/2"]) for s in ("yard", "yard/1", "yard/2")] == [True, True, False]


def test_what_is_quiet_starts_no_cooldown_and_suppresses_others():
    hours = [{"from": "00:00", "to": "00:00", "labels": ["Dog"]}]
    now = "2026-11-27T20:30:00.000+00:00"
    groups = [[start(1, "Dog", 5, now)], [end(1, "Dog", 5, 6)], [start(2, "Dog", 7)], [start(3, "Owl", 8)]]
    found = select(groups, quiet_hours=hours, cooldown_s=60, suppress=SUPPRESS)
    assert found == ([2], [], {("quiet_hours", "Dog"): 1, ("suppress", "Owl"): 1})


# Labels


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"suppress": {"Owll": {"while": "Dog"}}}, "rules.suppress: 'Owll' is no class that is reported, meant Owl?"),
        ({"suppress": {"Owl": {"while": ["Cat", "dog"]}}}, "rules.suppress.Owl.while: 'dog' is no class that is"),
        (
            {"cooldown_s": {"Siren": 60}},
            "rules.cooldown_s: 'Siren' is no class that is reported; those are Cat; Dog; Owl",
        ),
        (
            {"quiet_hours": [{"from": "1:00", "to": "2:00"}, {"from": "1:00", "to": "2:00", "labels": "Cats"}]},
            "rules.quiet_hours.1.labels: 'Cats' is no class that is reported, meant Cat?",
        ),
    ],
)
def test_a_class_that_is_not_reported_is_refused(rules, message):
    with pytest.raises(HtsatEdgeError) as raised:
        check_labels(RulesConfig.model_validate(rules), LABELS)
    assert message in str(raised.value)


def test_classes_that_are_reported_are_fine():
    rules = {"suppress": {"Owl": {"while": "Dog"}}, "cooldown_s": {"Cat": 5}}
    check_labels(RulesConfig.model_validate(rules), LABELS)
    check_labels(RulesConfig.model_validate({"cooldown_s": 5, "quiet_hours": [{"from": "1:00", "to": "2:00"}]}), LABELS)


# The twin


def twin(groups, config):
    """Return the events that are reported, each decided by a look at all that were found until then."""
    reported = []
    for i, group in enumerate(groups):
        found = [event for before in groups[: i + 1] for event in before]
        for event in group:
            starts = [one for one in reported if one.type == "start"]
            if event.type == "start":
                rule = config.suppress.get(event.label)
                others = [one for one in found if rule and one.label in rule.while_]
                own = [one for one in reported if one.label == event.label]
                wait_s = config.cooldown_of(event.label)
                fits = not (rule and is_near(event, others, rule.within_s)) and not (
                    wait_s > 0 and is_near(event, own, wait_s)
                )
            else:
                fits = event.id in [one.id for one in starts]
            reported += [event] * fits
    return reported


def is_near(event, others, within_s):
    ends = {one.id: one for one in others if one.type == "end"}
    return any(one.id not in ends for one in others if one.type == "start") or any(
        event.onset - one.offset < within_s for one in ends.values()
    )


@st.composite
def groups_of_events(draw):
    """Up to 12 events of three classes, which start and end a while after they are heard, as steps find them."""
    steps = {}
    spans = draw(st.lists(st.tuples(st.sampled_from(LABELS), *[st.integers(0, n) for n in (30, 6, 3, 3)]), max_size=12))
    for number, (label, onset, length, late, later) in enumerate(spans, start=1):
        begun = onset + late
        steps.setdefault(begun, []).append(start(number, label, float(onset)))
        over = onset + length + later
        steps.setdefault(max(begun, over), []).append(end(number, label, float(onset), float(onset + length)))
    groups = [events for _, events in sorted(steps.items())]
    return [sorted(group, key=lambda event: event.label) for group in groups]


others = st.lists(st.sampled_from(LABELS), min_size=1, max_size=2)
suppressions = st.dictionaries(
    st.sampled_from(LABELS), st.fixed_dictionaries({"while": others, "within_s": st.integers(0, 9)})
)
cooldowns = st.integers(0, 9) | st.dictionaries(st.sampled_from(LABELS), st.integers(0, 9))


@given(groups_of_events(), suppressions, cooldowns, st.permutations(LABELS))
@settings(deadline=None)
def test_the_twin_reports_the_same_in_any_order_of_the_classes(groups, suppress, cooldown_s, order):
    suppress = {
        label: {**rule, "while": rest}
        for label, rule in suppress.items()
        if (rest := [one for one in rule["while"] if one != label])
    }
    config = RulesConfig.model_validate({"suppress": suppress, "cooldown_s": cooldown_s})
    rules, shuffled = Rules(config), Rules(config)
    found = [event for group in groups for event in rules.select(group).reported]
    assert found == twin(groups, config)
    turned = [sorted(group, key=lambda event: order.index(event.label)) for group in groups]
    again = [event for group in turned for event in shuffled.select(group).reported]
    assert {(event.id, event.type) for event in again} == {(event.id, event.type) for event in found}
    starts = sum(event.type == "start" for group in groups for event in group)
    assert sum(rules.suppressed.values()) == starts - sum(event.type == "start" for event in found)
    assert rules.suppressed == shuffled.suppressed
    assert not rules._left_out  # so that nothing grows


def test_the_end_of_what_is_left_out_is_known():
    rules = Rules(RulesConfig.model_validate({"cooldown_s": 5}))
    rules.select([start(1, "Dog", 0.0)])
    rules.select([end(1, "Dog", 0.0, 1.0)])
    events = [start(2, "Dog", 2.0), end(2, "Dog", 2.0, 3.0)]
    assert [rules.select([event]) for event in events] == [([], [(event, "cooldown")]) for event in events]
