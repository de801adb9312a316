"""Curves of stored scores: planted rates, chosen thresholds, periods, and what does not count as listening."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.tuning import heard
from htsat_edge.runtime.tuning.curves import read_curves
from htsat_edge.runtime.tuning.plan import grid_of

TRUTH = Path(__file__).parents[2] / "tune_truth.py"
BEGIN, STEP_S, DAY_S = 1_777_593_600.0, 0.32, 86_400.0
HIGH, LOW = (int(np.searchsorted(SCORES, x)) for x in (0.8, 0.4))


@pytest.fixture(scope="module")
def truth():
    spec = importlib.util.spec_from_file_location("tune_truth", TRUTH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spikes(every, count, code=HIGH, length=2):
    """Return codes (n, 1) of events that are so many steps apart."""
    codes = np.zeros((every * count, 1), np.uint8)
    for i in range(length):
        codes[every // 2 + i :: every] = code
    return codes


def test_planted_rates_are_within_the_intervals(tmp_path, truth):
    """A store of 32 classes is as 32 seeds; python tests/tune_truth.py has a hundred weeks of it."""
    results = [truth.check_truth(tmp_path, seed, classes=32, days=4) for seed in (1,)]
    held = [inside for found, _ in results for inside in found.values()]
    assert np.mean(held) >= 0.9
    assert np.mean([likely for _, days in results for _, likely in days]) >= 0.9


def test_counts_and_what_was_listened(planted, make_setup):
    planted.add(make_setup(["Dog"]), spikes(100, 50))
    planted.add(make_setup(["Dog"]), spikes(100, 10, LOW), onset=10_000.0)  # after a gap
    with StoreReader(planted.path) as reader:
        curve = read_curves(reader, "yard", BEGIN, BEGIN + 20_000).curves["Dog"]
        part = read_curves(reader, "yard", BEGIN + 320, BEGIN + 640).curves["Dog"]
    assert curve.listened_s == pytest.approx(6000 * STEP_S)
    assert [curve.rate(x).count for x in (0.3, 0.38, 0.5, 0.79, 0.82)] == [60, 60, 50, 50, 0]
    assert part.listened_s == pytest.approx(1000 * STEP_S)
    assert part.rate(0.5).count == 10


def test_parts_and_rows_of_any_length_give_the_same(planted, make_setup, tmp_path, monkeypatch):
    codes = np.random.default_rng(0).choice([0, 0, 0, 60, LOW, HIGH], (400, 2)).astype(np.uint8)
    setup, found = make_setup(["Animal", "Dog"], below=[(1, 0)], min_length=2), []
    for rows, most in ((187, 10_000), (187, 100), (7, 1)):
        planted.path = tmp_path / f"{rows}-{most}.db"
        monkeypatch.setattr(heard, "MOST_CODES", most)
        planted.add(setup, codes, rows=rows)
        with StoreReader(planted.path) as reader:
            found.append(read_curves(reader, "yard", BEGIN, BEGIN + 2000).curves)
    for label in setup.labels:
        assert found[0][label].counts.max() > 8
        for other in found[1:]:
            np.testing.assert_array_equal(found[0][label].peaks, other[label].peaks)


def test_the_lowest_threshold_is_chosen_with_which_there_are_no_more_than_wanted(planted, make_setup):
    codes = np.maximum(spikes(8000, 4), spikes(320, 100, LOW))  # 2.8 h
    planted.add(make_setup(["Dog"], 0.1), codes)
    with StoreReader(planted.path) as reader:
        curve = read_curves(reader, "yard", BEGIN, BEGIN + DAY_S).curves["Dog"]
    choice = curve.choose(100)
    assert choice.threshold == pytest.approx(SCORES[LOW] + 0.01, abs=0.01)
    assert (choice.rate.count, choice.certain, choice.note) == (4, True, "")
    much = curve.choose(40)
    assert much.rate == choice.rate
    assert much.note == "it may be up to 86 a day"
    nothing = curve.choose(1)
    assert nothing.rate.count == 0
    assert not nothing.certain
    assert nothing.note.startswith("2.8 h of listening are too few to promise 1 a day: it may be up to 31; ")
    assert nothing.note.endswith("; even without any event that takes 3.7 days")


def test_a_threshold_is_lowered_only_where_that_is_certain_to_keep_to_the_rate(planted, make_setup):
    planted.add(make_setup(["Dog"], 0.5), np.zeros((20_000, 1), np.uint8))
    with StoreReader(planted.path) as reader:
        curve = read_curves(reader, "yard", BEGIN, BEGIN + DAY_S).curves["Dog"]
    assert curve.choose(1).threshold == 0.5
    assert curve.choose(100).threshold == pytest.approx(0.02)


def test_all_in_one_event_at_a_low_threshold_is_no_way_to_have_few(planted, make_setup):
    codes = np.maximum(spikes(20, 500), np.uint8(60))
    planted.add(make_setup(["Dog"], 0.05), codes)
    with StoreReader(planted.path) as reader:
        curve = read_curves(reader, "yard", BEGIN, BEGIN + DAY_S).curves["Dog"]
    assert curve.counts[0] == 1
    assert curve.choose(100).threshold > SCORES[HIGH]
    assert curve.choose(1e6).threshold == pytest.approx(0.02)


def test_none_is_high_enough_for_what_always_scores_1(planted, make_setup):
    planted.add(make_setup(["Dog"]), spikes(20, 500, code=255))
    with StoreReader(planted.path) as reader:
        assert read_curves(reader, "yard", BEGIN, BEGIN + DAY_S).curves["Dog"].choose(1) is None


def test_another_model_says_nothing_of_this_one_and_new_classes_were_not_listened_for(planted, make_setup):
    planted.add(make_setup(["Dog"], model="old"), spikes(100, 10))
    planted.add(make_setup(["Dog"]), spikes(100, 10), onset=1000.0, uid="two")
    planted.add(make_setup(["Cat", "Dog"]), np.hstack([spikes(100, 10)] * 2), onset=2000.0, uid="three")
    with StoreReader(planted.path) as reader:
        found = read_curves(reader, "yard", BEGIN, BEGIN + DAY_S)
    assert (found.listened_s, found.other_s) == (pytest.approx(640), pytest.approx(320))
    assert [(label, curve.listened_s) for label, curve in found.curves.items()] == [
        ("Cat", pytest.approx(320)),
        ("Dog", pytest.approx(640)),
    ]
    assert [curve.rate(0.5).count for curve in found.curves.values()] == [10, 20]


def test_only_what_is_in_force_now_decides_which_stored_events_are_early(planted, make_setup):
    """Half of the period had another threshold, with which there were more events."""
    planted.add(make_setup(["Dog"], 0.3), spikes(100, 10, LOW))
    planted.add(make_setup(["Dog"], 0.5), spikes(100, 10), onset=320.0, setup_onset=320.0)
    planted.events([("Dog", (100 * i + 50) * STEP_S, (100 * i + 52) * STEP_S, 0.8) for i in range(20)])
    planted.event("Dog", 620.16, 620.48)
    with StoreReader(planted.path) as reader:
        curve = read_curves(reader, "yard", BEGIN, BEGIN + DAY_S).curves["Dog"]
    assert (curve.early.unborne, curve.early.shift) == (1, 3)  # what was lower before counts for nothing


def test_a_class_with_few_events_is_as_early_as_all_together(planted, make_setup):
    """Half of the dog's stored events are early starts, and score lower at last."""
    codes = np.hstack([np.maximum(spikes(200, 40), np.roll(spikes(200, 40, LOW), 100, axis=0)), spikes(4000, 2)])
    codes[2050::4000, 1] = LOW
    planted.add(make_setup(["Dog", "Cat"]), codes)
    planted.events([("Dog", 100 * i * STEP_S, (100 * i + 2) * STEP_S, 0.8) for i in range(80)])
    planted.events([("Cat", (4000 * i + 2000) * STEP_S, (4000 * i + 2002) * STEP_S, 0.8) for i in range(2)])
    with StoreReader(planted.path) as reader:
        dog, cat = read_curves(reader, "yard", BEGIN, BEGIN + DAY_S).curves.values()
    assert (dog.early.unborne, cat.early.unborne) == (40, 0)
    assert dog.early.shift == cat.early.shift == pytest.approx(0.6, abs=0.21)
    assert (dog.rate(0.5).count, cat.rate(0.5).count) == (80, 4)


def test_only_thresholds_are_tried_whose_release_is_stored(make_setup):
    setup = make_setup(["Dog"], 0.5, releases=[0.1])
    assert grid_of(setup, "Dog")[0] == np.float32(0.05)
    assert np.float32(0.437) in grid_of(setup, "Dog", 0.437)


@pytest.mark.parametrize(
    ("source", "labels", "span", "error"),
    [
        ("yrad", None, (0, 1), "source: 'yrad' is none .*, meant yard"),
        ("yard", ["Dgo"], (0, 1), "label: 'Dgo' is no class that yard reports, meant Dog"),
        ("yard", ["Cat"], (0, 1), "label: 'Cat' is no class that yard reports"),
        ("yard", None, (1, 1), "to_at: want a time after from_at"),
        ("yard", None, (0, 32), "to_at: .* at most 31 days"),
    ],
)
def test_what_is_not_there_is_one_line(planted, make_setup, source, labels, span, error):
    planted.add(make_setup(["Dog", "Cat"], thresholds=[0.5, None], releases=[0.3, None]), np.zeros((9, 2), np.uint8))
    span = (BEGIN + days * DAY_S for days in span)
    with StoreReader(planted.path) as reader, pytest.raises(HtsatEdgeError, match=error):
        read_curves(reader, source, *span, labels)
