"""Scores that are kept in a file."""

import sqlite3

import numpy as np
import pytest

from htsat_edge.evaluation import remembered
from htsat_edge.evaluation.remembered import AT_ONCE, Remembered, open_remembered
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle


class Counting:
    """Gives the mean of a window as its scores, and counts windows."""

    heard, closed = 0, False

    def infer(self, log_mel):
        self.heard += len(log_mel)
        means = np.broadcast_to(log_mel.mean(axis=(1, 2))[:, None, None], (len(log_mel), 4, 3)).astype(np.float32)
        return Scores(means, means[:, 0] + 1, np.zeros((len(log_mel), 2), np.float32))

    def close(self):
        self.closed = True


@pytest.fixture
def windows():
    return np.random.default_rng(0).normal(size=(5, 8, 2)).astype(np.float32)


def test_what_was_scored_before_is_not_scored_again(tmp_path, windows):
    wanted, model = Counting().infer(windows), Counting()
    for heard in (5, 5, 5):
        kept = Remembered(model, tmp_path / "kept.sqlite")
        found = kept.infer(windows)
        np.testing.assert_array_equal(found.framewise, wanted.framewise)
        np.testing.assert_array_equal(found.clipwise, wanted.clipwise)
        found.framewise[:] = 7  # the caller owns the result
        kept.close()
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


def test_a_table_of_other_columns_is_refused_in_one_line(tmp_path):
    with sqlite3.connect(tmp_path / "mine") as mine:
        mine.execute("CREATE TABLE scores (player TEXT, points INTEGER)")
    with pytest.raises(HtsatEdgeError, match="no such column"):
        Remembered(Counting(), tmp_path / "mine")


def test_a_file_that_others_hold_too_long_is_one_line_and_all_is_closed(tmp_path, windows, monkeypatch):
    monkeypatch.setattr(remembered, "PATIENCE_S", 0.05)
    model = Counting()
    kept = Remembered(model, tmp_path / "kept.sqlite")
    kept.infer(windows)
    other = sqlite3.connect(tmp_path / "kept.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(HtsatEdgeError, match=r"kept\.sqlite: database is locked; give another folder to --cache"):
        kept.infer(windows + 1)
    with pytest.raises(HtsatEdgeError, match="database is locked"):
        kept.close()
    assert model.closed
    other.close()


def test_a_full_disk_is_one_line(tmp_path):
    kept = Remembered(Counting(), tmp_path / "kept.sqlite")
    kept._file.execute("PRAGMA max_page_count = 4")
    many = np.arange(AT_ONCE, dtype=np.float32)[:, None, None] * np.ones((1, 8, 2), np.float32)
    with pytest.raises(HtsatEdgeError, match="is full"):
        kept.infer(many)
