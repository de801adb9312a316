"""Which recordings are held back, and in which no class of a model sounds."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.held import read_held, refuse_without_class, without_labels
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError


@pytest.fixture
def manifests(tmp_path):
    """Noise of each split, and some of none."""
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(0).normal(0, 0.05, 16_000), 16_000)
    (tmp_path / "split.csv").write_text("file,class,split\na.wav,Rain,train\nb.wav,Rain,val\nc.wav,Rain,test\n")
    (tmp_path / "whole.csv").write_text("file,class\nd.wav,Rain\n")
    return [tmp_path / "split.csv", tmp_path / "whole.csv"]


@pytest.mark.parametrize(("split", "names"), [(None, "bcd"), ("val", "bd"), ("test", "cd")])
def test_a_split_is_of_what_is_held_back_and_what_names_none_is_in_each(manifests, split, names):
    assert [recording.path.stem for recording in read_held(manifests, split)] == [*names]


def test_only_what_is_held_is_looked_at_and_much_damage_is_refused(manifests):
    folder = manifests[0].parent
    (folder / "a.wav").write_bytes(b"")
    assert len(read_held(manifests)) == 3
    (folder / "b.wav").write_bytes(b"")
    assert [recording.path.stem for recording in read_held(manifests, "test")] == ["c", "d"]
    with pytest.raises(HtsatEdgeError, match="1 of 3 recordings are not decodable"):
        read_held(manifests)


def test_recordings_of_no_such_label_come_with_their_class():
    classes = {"a": ["Rain"], "b": ["Dog", "Rain"], "c": [], "d": ["Insect"]}
    recordings = [Labelled(Path(name), frozenset(own)) for name, own in classes.items()]
    recordings += [Labelled(Path("e")), Labelled(Path("d"), frozenset(["Bird"]))]
    found = [("c", "background"), ("d", "Bird"), ("e", "background")]
    assert without_labels(recordings, ["Rain"]) == [(Path(name), label) for name, label in found]
    refuse_without_class("--clips", recordings[:4])
    with pytest.raises(HtsatEdgeError, match=r"^d has class 'Insect', which is no label of the model, meant insect,\?"):
        without_labels(recordings, ["Rain", "insect,"])
    with pytest.raises(HtsatEdgeError, match=r"^--clips: e has no class"):
        refuse_without_class("--clips", recordings)
