import json

import numpy as np
import pytest

from htsat_edge.calibration.sensitivity import fewest_in_float, measure
from htsat_edge.calibration.structure import Linear
from htsat_edge.evaluation.metrics import snr_db

LAYERS = [Linear(f"layer {i}", "x", f"w{i}") for i in range(8)]


def test_snr_of_a_worked_example():
    assert snr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20)
    assert snr_db(np.ones(3), np.ones(3)) == float("inf")


def test_a_stopped_measurement_goes_on_where_it_was(tmp_path):
    path, asked = tmp_path / "sensitivity.json", []

    def damage(linears):
        (linear,) = linears
        asked.append(linear.name)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return 60.0 - int(linear.name[-1])

    with pytest.raises(KeyboardInterrupt):
        measure(LAYERS, damage, ["a"], path)
    ranking = measure(LAYERS, damage, ["a"], path)
    assert list(ranking) == [f"layer {i}" for i in reversed(range(8))]
    assert sorted(asked) == sorted([*(f"layer {i}" for i in range(8)), "layer 3"])
    assert json.loads(path.read_text())["logit_snr_db"] == ranking
    asked[:] = [""] * 9
    measure(LAYERS, damage, ["another"], path)
    assert len(asked) == 9 + 8


def test_a_file_that_was_cut_off_is_begun_anew(tmp_path):
    path = tmp_path / "sensitivity.json"
    path.write_text('{"key": "x", "logit')
    assert len(measure(LAYERS, lambda linears: 1.0, ["a"], path)) == 8


@pytest.mark.parametrize(("bad", "budget", "count"), [(0, 40, 0), (1, 40, 1), (3, 40, 3), (4, 40, 4), (6, 40, 4)])
def test_as_few_layers_as_possible_stay_in_float(bad, budget, count):
    """Some layers alone break the budget; half of all may be put back."""
    harmful = {f"layer {i}" for i in range(bad)}

    def damage(linears):
        return 30.0 if harmful & {linear.name for linear in linears} else 50.0

    names, reached = fewest_in_float(LAYERS, [linear.name for linear in LAYERS], damage, budget)
    assert names == [f"layer {i}" for i in range(count)]
    assert (reached >= budget) == (bad <= 4)
