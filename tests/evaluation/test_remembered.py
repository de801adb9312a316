"""Scores that are kept in a file."""

import numpy as np
import pytest

from htsat_edge.evaluation.remembered import AT_ONCE, Remembered, open_remembered
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle


class Counting:
    """Gives the mean of a window as its scores, and counts windows."""

    heard = 0

    def infer(self, log_mel):
        self.heard += len(log_mel)
        means = np.broadcast_to(log_mel.mean(axis=(1, 2))[:, None, None], (len(log_mel), 4, 3)).astype(np.float32)
        return Scores(means, means[:, 0] + 1, np.zeros((len(log_mel), 2), np.float32))

    def close(self):
        pass


@pytest.fixture
def windows():
    return np.random.default_rng(0).normal(size=(5, 8, 2)).astype(np.float32)


def test_what_was_scored_before_is_not_scored_again(tmp_path, windows):
    wanted, model = Counting().infer(windows), Counting()
    for heard in (5, 5, 5):
        remembered = Remembered(model, tmp_path / "kept.sqlite")
        found = remembered.infer(windows)
        np.testing.assert_array_equal(found.framewise, wanted.framewise)
        np.testing.assert_array_equal(found.clipwise, wanted.clipwise)
        found.framewise[:] = 7  # the caller owns the result
        remembered.close()
        assert model.heard == heard


def test_what_is_stopped_keeps_most(tmp_path):
    first = Remembered(Counting(), tmp_path / "kept.sqlite")
    many = np.arange(AT_ONCE + 3, dtype=np.float32)[:, None, None] * np.ones((1, 8, 2), np.float32)
    first.infer(many)  # and never closed
    model = Counting()
    Remembered(model, tmp_path / "kept.sqlite").infer(many[:AT_ONCE])
    assert model.heard == 0


def test_two_at_once_keep_what_either_inferred(tmp_path, windows):
    first, second = (Remembered(Counting(), tmp_path / "kept.sqlite") for _ in range(2))
    first.infer(windows[:4])
    second.infer(windows[1:])  # while the other has not written yet
    second.close()
    first.close()
    model = Counting()
    Remembered(model, tmp_path / "kept.sqlite").infer(windows)
    assert model.heard == 0


def test_each_graph_has_a_file_and_no_folder_means_no_file(tmp_path):
    bundle = load_bundle(BUNDLED)
    for precision in ("fp32", "int8"):
        open_remembered(bundle, precision, tmp_path / "cache").close()
    assert len([*(tmp_path / "cache").iterdir()]) == 2
    open_remembered(bundle).close()


def test_another_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "mine").write_text("not a database, and of no use here" * 50)
    with pytest.raises(HtsatEdgeError, match="not a database"):
        Remembered(Counting(), tmp_path / "mine")
