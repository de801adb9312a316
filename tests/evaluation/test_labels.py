"""What is known of recordings, and what contradicts itself."""

from pathlib import Path

import pytest

from htsat_edge.evaluation.labels import Labelled, Occurrence, join, refuse_missing, refuse_mixed, unknown_label
from htsat_edge.runtime.common.errors import HtsatEdgeError


def test_what_is_known_must_be_known_of_all():
    timed = Labelled(Path("a"), frozenset(["Dog"]), (Occurrence(0, 1, "Dog"),))
    nothing, untimed, unlabelled = (
        Labelled(Path("b"), frozenset(), ()),
        Labelled(Path("c"), frozenset()),
        Labelled(Path("d")),
    )
    refuse_mixed("--clips", [timed, nothing])
    refuse_mixed("--clips", [untimed, nothing])
    refuse_mixed("--clips", [unlabelled, unlabelled])
    with pytest.raises(HtsatEdgeError, match="--clips: c has no onset and offset, but others have"):
        refuse_mixed("--clips", [timed, untimed])
    with pytest.raises(HtsatEdgeError, match="--clips: d has no class, but others have"):
        refuse_mixed("--clips", [timed, unlabelled])


def test_joined_events():
    events = [Occurrence(*e) for e in [(4, 5, "a"), (0, 2, "a"), (1, 3, "a"), (3.1, 3.5, "a"), (2.5, 2.6, "b")]]
    assert join(events) == [(0, 3, "a"), (2.5, 2.6, "b"), (3.1, 3.5, "a"), (4, 5, "a")]
    assert join(events, pause_s=0.2) == [(0, 3.5, "a"), (2.5, 2.6, "b"), (4, 5, "a")]
    assert join([Occurrence(0, 9, "a"), Occurrence(1, 2, "a")]) == [(0, 9, "a")]


def test_a_label_that_is_nearly_right_is_suggested():
    assert str(unknown_label("x.csv: row 1", "dgo", ["Dog", "Rain"])) == (
        "x.csv: row 1 has class 'dgo', which is no label of the model, meant Dog?"
    )
    assert "leave such rows out, or give their class as background" in str(unknown_label("x", "Piano", ["Dog"]))


def test_missing_recordings_are_counted_once(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(HtsatEdgeError, match=r"x: 1 of 2 recordings are missing, first .*b"):
        refuse_missing(Path("x"), [tmp_path / "a", tmp_path / "b", tmp_path / "b"])
