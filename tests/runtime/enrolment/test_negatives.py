"""What sounds are told from: kept in 8 bits with the bundle, and only used for the graph that it was made with."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.enrolment.negatives import (
    BACKGROUND,
    NEGATIVES_FILE,
    Negatives,
    no_negatives,
    read_negatives,
    spread,
    write_negatives,
)
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle


def some(seed=0):
    rng = np.random.default_rng(seed)
    found = no_negatives(4, 0.32)
    found = found.plus("Bell", ["a", "b"], [rng.normal(0, 1, (3, 4)).astype(np.float32) for _ in range(2)])
    return found.plus(BACKGROUND, ["c"], [rng.normal(0, 5, (10, 4)).astype(np.float32)])


@pytest.fixture
def bundle(tmp_path):
    for name in ("model.json", "fp32.onnx"):
        shutil.copy(BUNDLED / name, tmp_path / name)
    return load_bundle(tmp_path)


def test_they_come_back_within_their_eight_bits(bundle):
    wanted = some()
    assert read_negatives(bundle) is None
    write_negatives(wanted, bundle)
    found = read_negatives(bundle)
    step = np.ptp(wanted.embeddings, axis=0) / 255
    assert (np.abs(found.embeddings - wanted.embeddings) <= 0.51 * step).all()
    assert found.recordings.tolist() == wanted.recordings.tolist() == [0] * 3 + [1] * 3 + [2] * 10
    assert (found.labels, found.groups) == (["Bell", "Bell", BACKGROUND], ["a", "b", "c"])
    assert found.background_h == pytest.approx(10 * 0.32 / 3600)


def test_those_of_another_graph_are_none_and_damaged_ones_are_named(bundle):
    path = write_negatives(some(), bundle)
    with (bundle.path / "fp32.onnx").open("ab") as file:
        file.write(b"\0")
    assert read_negatives(bundle) is None
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HtsatEdgeError, match=f"{NEGATIVES_FILE}: is damaged"):
        read_negatives(bundle)


def test_a_class_can_be_left_out():
    left = some().without("bell")
    assert left.labels == [BACKGROUND]
    assert left.recordings.tolist() == [0] * 10
    assert np.array_equal(left.embeddings, some().embeddings[6:])


def test_the_bundle_ships_an_hour_of_background_and_many_sounds():
    shipped = read_negatives(load_bundle())
    assert isinstance(shipped, Negatives)
    assert shipped.background_h >= 1
    assert len({*shipped.labels}) > 40
    assert set(load_bundle().info.labels) <= {*shipped.labels}


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**31))
@settings(deadline=None)
def test_steps_that_are_kept_lie_far_apart(count, most, seed):
    rows = np.random.default_rng(seed).normal(0, 1, (count, 3))
    kept = spread(rows, most)
    assert len(kept) == min(count, most)
    places = [int(np.flatnonzero((rows == row).all(axis=1))[0]) for row in kept]
    assert places == sorted(set(places))
    if 2 <= most < count:  # none that was left out is farther from those that were kept than these from each other
        gaps = np.linalg.norm(kept[:, None] - kept[None], axis=-1) + np.diag(np.full(len(kept), np.inf))
        assert np.linalg.norm(rows[:, None] - kept[None], axis=-1).min(axis=1).max() <= gaps.min() + 1e-9
