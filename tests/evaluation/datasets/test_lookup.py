"""Recordings that a table names, wherever they lie."""

import pytest

from htsat_edge.evaluation.datasets.files import list_files
from htsat_edge.evaluation.datasets.lookup import Lookup, stem
from htsat_edge.runtime.common.errors import HtsatEdgeError


def look(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Lookup(list_files([folder]), beside=folder)


@pytest.mark.parametrize("name", ["64760", "64760.wav", "64760.flac", "x/64760.mp3", "C:\\x\\64760.WAV"])
def test_in_whatever_format(tmp_path, name):
    assert look(tmp_path, "deep/er/64760.ogg", "64761.ogg").find("row", name) == tmp_path / "deep" / "er" / "64760.ogg"


def test_dots_belong_to_names(tmp_path):
    lookup = look(tmp_path, "Y-x_30.000_40.000.wav", "Y-x_30.000_50.000.wav")
    assert lookup.find("row", "Y-x_30.000_40.000") == tmp_path / "Y-x_30.000_40.000.wav"
    assert lookup.find("row", "Y-x_30") is None
    assert [stem(name) for name in ("a.b", "a.WAV", ".wav", "a")] == ["a.b", "a", ".wav", "a"]


def test_the_nearest_of_several(tmp_path):
    lookup = look(tmp_path, "weak/a.wav", "weak_16k/a.wav", "weak/b.wav", "weak/b.flac")
    assert lookup.find("row", "a.wav", near=["weak"]) == tmp_path / "weak" / "a.wav"
    assert lookup.find("row", "weak_16k/a.wav") == tmp_path / "weak_16k" / "a.wav"
    assert lookup.find("row", "b.flac") == tmp_path / "weak" / "b.flac"
    assert lookup.find("row", "a", fits=lambda path: path.parent.name == "weak_16k") == tmp_path / "weak_16k" / "a.wav"
    with pytest.raises(
        HtsatEdgeError, match=r"row 3 names a.wav, which is both .*weak.*a\.wav and .*a\.wav; leave one"
    ):
        lookup.find("row 3", "a.wav")


def test_copies_below(tmp_path):
    """A set on Kaggle has audio/a.wav and audio/16000/a.wav."""
    lookup = look(tmp_path, "audio/audio/a.wav", "audio/audio/16000/a.wav", "audio/audio/44100/a.wav")
    assert lookup.find("row", "a.wav", near=["audio"]) == tmp_path / "audio" / "audio" / "a.wav"
    with pytest.raises(HtsatEdgeError, match="which is both"):
        look(tmp_path, "1/b.wav", "2/x/b.wav").find("row", "b.wav")


def test_forms_of_unicode(tmp_path):
    assert look(tmp_path, "Mu\u0308nze.wav").find("row", "M\u00fcnze.wav") == tmp_path / "Mu\u0308nze.wav"


def test_taken_once(tmp_path):
    lookup = look(tmp_path, "a.wav")
    assert lookup.take("row 1", "a.wav", ()) == lookup.take("row 1", "a", ())
    with pytest.raises(HtsatEdgeError, match="row 2 names a, as row 1 does"):
        lookup.take("row 2", "a", ())


def test_one_recording_under_two_folders_is_not_both(tmp_path):
    """That of the other folder is missing, and its labels are none of this one's."""
    lookup = look(tmp_path, "day1/001.wav")
    assert lookup.find("row 1", "C:\\bats\\day1\\001.wav") == tmp_path / "day1" / "001.wav"
    assert lookup.find("row 2", "D:/day1/001.flac") == tmp_path / "day1" / "001.wav"
    with pytest.raises(
        HtsatEdgeError, match=r"row 3 names day2/001.wav, and row 1 one in day1, but .*001.wav is there"
    ):
        lookup.find("row 3", "day2/001.wav")
