import numpy as np
import pytest
from pydantic import ValidationError

from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.setup import Setup

INFO = load_bundle(BUNDLED).info
TREE = INFO.model_copy(update={"parents": {"Dog": ["Sheep"], "Fowl": ["Bird"]}})


@pytest.mark.parametrize(
    ("info", "settings"),
    [
        (INFO, Settings()),
        (TREE, Settings(min_length_s=1.0, merge_gap_s=2.0, confirm_s={"Dog": 3.0}, threshold=0.4, release=0.5)),
        (TREE, Settings(groups={"Pets": ["Dog"]}, labels=("Pets", "Bird", "Fowl"), thresholds={"Bird": 0.123})),
    ],
)
def test_its_rule_is_that_of_the_settings_through_json(info, settings):
    setup, wanted = Setup.of(info, settings), settings.rule(info)
    rule = Setup.model_validate_json(setup.model_dump_json()).rule()
    for name in ("threshold", "release"):
        np.testing.assert_array_equal(getattr(rule, name), getattr(wanted, name))
    np.testing.assert_array_equal(rule.min_length, np.broadcast_to(wanted.min_length, len(setup.labels)))
    assert rule.merge_gap == wanted.merge_gap
    assert (rule.below is None) == (wanted.below is None)
    if wanted.below is not None:
        np.testing.assert_array_equal(rule.below, wanted.below)
    assert setup.labels == settings.classes(info).labels


def test_what_is_not_reported_has_no_threshold():
    setup = Setup.of(INFO, Settings(labels=("Dog",), confirm_s={"Dog": 1.0}))
    dog = INFO.labels.index("Dog")
    assert [k for k, threshold in enumerate(setup.thresholds) if threshold is not None] == [dog]
    assert (setup.confirm[dog], setup.min_lengths[dog], setup.min_lengths[0]) == (3, 3, 1)


def test_thresholds_are_those_that_a_person_wrote():
    setup = Setup.of(INFO, Settings(threshold=0.37))
    assert set(setup.thresholds) == {0.37}


@pytest.mark.parametrize("change", [{"thresholds": [0.5]}, {"confirm": []}, {"below": [(0, 99)]}, {"step_s": 0}])
def test_what_contradicts_itself_is_refused(change):
    content = {**Setup.of(INFO, Settings()).model_dump(), **change}
    with pytest.raises(ValidationError):
        Setup.model_validate(content)
