"""What the page and the command show: classes, a curve with what people have said, and what would change."""

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import Verdict
from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.tuning.overview import curve, overview, preview_events
from htsat_edge.runtime.tuning.records import ThresholdChange

BEGIN, STEP_S, EVERY = 1_777_593_600.0, 0.32, 1000
SPAN = "yard", BEGIN, BEGIN + 86_400
LEVELS = [0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]
"""Peaks of the dog's events, in turn."""


@pytest.fixture
def yard(planted, make_setup):
    """A store of 80 events of a dog, as many of an animal, 8 of a cat, and the keys of the dog's."""
    codes = np.zeros((80 * EVERY, 3), np.uint8)
    for i in range(80):
        codes[i * EVERY + 50 : i * EVERY + 53, [0, 1]] = np.searchsorted(SCORES, LEVELS[i % 8])
    codes[700::10_000, 2] = 200
    planted.add(make_setup(["Animal", "Dog", "Cat"], below=[(1, 0)]), codes)
    dogs = [("Dog", i * EVERY + 50, i * EVERY + 53, LEVELS[i % 8]) for i in range(80)]
    cats = [("Cat", i * 10_000 + 700, i * 10_000 + 701, 0.95) for i in range(8)]
    keys = planted.events([(label, a * STEP_S, b * STEP_S, score) for label, a, b, score in dogs + cats])
    with StoreReader(planted.path) as reader:
        yield reader, keys, planted


def test_the_overview_has_each_class_with_what_people_have_said(yard):
    reader, keys, planted = yard
    put_verdicts(planted.path, [Verdict(event=keys[i], decision="wrong" if i < 3 else "correct") for i in range(5)])
    found = overview(reader, *SPAN, per_day=30)
    assert [(c.label, c.events, c.rate.count, c.early, c.correct, c.wrong) for c in found.classes] == [
        ("Dog", 80, 80, 0, 2, 3),
        ("Cat", 8, 8, 0, 0, 0),
        ("Animal", 0, 0, 0, 0, 0),
    ]
    dog, cat, _ = found.classes
    assert found.listened_h == dog.listened_h == pytest.approx(80 * EVERY * STEP_S / 3600)
    assert (dog.suggestion.threshold, dog.suggestion.rate.count) == (0.91, 0)  # 10 in 7 h were more than 30 a day
    assert cat.suggestion.threshold == 0.5
    assert found.note == ""
    assert overview(reader, *SPAN, labels=["Cat"]).classes[0].label == "Cat"


def test_a_curve_says_what_share_is_right_once_enough_was_judged(yard):
    reader, keys, planted = yard
    found = curve(reader, "yard", "Dog", *SPAN[1:])
    assert {point.precision for point in found.points} == {None}
    assert "so far there are 0 and 0" in found.note
    verdicts = [Verdict(event=keys[i], decision="correct" if i % 8 >= 4 else "wrong") for i in range(32)]
    put_verdicts(planted.path, verdicts)
    found = curve(reader, "yard", "Dog", *SPAN[1:])
    assert (found.correct, found.wrong, found.note) == (16, 16, "")
    points = {point.threshold: point for point in found.points}
    assert points[0.5].events == 80
    assert points[0.5].precision == pytest.approx(0.5, abs=0.08)
    assert points[0.5].recall == pytest.approx(1, abs=0.01)
    assert points[0.79].events == 30
    assert points[0.79].precision_low < 0.95 < points[0.79].precision < points[0.79].precision_high
    assert points[0.79].false_low < points[0.79].false_per_day < points[0.79].false_high < points[0.5].false_high
    assert found.threshold == 0.5
    assert found.share_release == 0.6


def test_other_thresholds_take_some_events_away_and_add_others(yard):
    reader, keys, _ = yard
    found = preview_events(reader, "yard", [ThresholdChange(label="Dog", threshold=0.72)], *SPAN[1:])
    gone = {key for i, key in enumerate(keys[:80]) if LEVELS[i % 8] < 0.72}
    assert {event.key for event in found.gone} == gone
    assert [event.at for event in found.gone] == sorted((event.at for event in found.gone), reverse=True)
    assert found.new == len(gone)  # of the animal, which the dog hid
    assert found.after == pytest.approx(found.before / 2)
    lower = preview_events(reader, None, [ThresholdChange(label="Cat", threshold=0.2)], *SPAN[1:])
    assert (lower.gone, lower.new) == ([], 0)


def test_of_an_early_start_nobody_knows_whether_it_would_be_there(yard):
    reader, _, planted = yard
    early = planted.event("Dog", 500 * STEP_S, 502 * STEP_S, 0.2)
    found = preview_events(reader, "yard", [ThresholdChange(label="Dog", threshold=0.95)], *SPAN[1:])
    assert len(found.gone) == 80
    assert early not in {event.key for event in found.gone}


def test_a_change_of_one_source_goes_before_that_of_all(yard):
    reader, *_ = yard
    all_, own = ThresholdChange(label="Dog", threshold=0.72), ThresholdChange(source="yard", label="Dog", threshold=0.5)
    assert preview_events(reader, None, [own, all_], *SPAN[1:]).gone == []
    other = ThresholdChange(source="porch", label="Dog", threshold=0.9)
    assert preview_events(reader, None, [other], *SPAN[1:]) == ([], 0, 0, 0)


def test_events_that_a_rule_leaves_out_do_not_count(yard):
    reader, *_ = yard
    rules = RulesConfig.model_validate({"cooldown_s": {"Dog": 1.5 * EVERY * STEP_S}})
    found = overview(reader, *SPAN, rules)
    assert next(one.rate.count for one in found.classes if one.label == "Dog") == 40
    suppress = RulesConfig.model_validate({"suppress": {"Cat": {"while": "Dog", "within_s": 300}}})
    change = ThresholdChange(label="Dog", threshold=0.95)
    changed = preview_events(reader, "yard", [change], *SPAN[1:], suppress)
    assert {event.label for event in changed.gone} == {"Dog"}
    assert next(one.rate.count for one in overview(reader, *SPAN, suppress).classes if one.label == "Cat") == 0


def test_nothing_heard_is_a_sentence(yard):
    reader, *_ = yard
    found = overview(reader, "yard", BEGIN + 1e6, BEGIN + 1e6 + 100)
    assert (found.classes, found.listened_h) == ([], 0)
    assert found.note.startswith("No scores of this period are stored")
    with pytest.raises(HtsatEdgeError, match="Dog: No scores of this period"):
        curve(reader, "yard", "Dog", BEGIN + 1e6, BEGIN + 1e6 + 100)
    with pytest.raises(HtsatEdgeError, match="per_day: 0 is no number of events a day"):
        overview(reader, *SPAN, per_day=0)
