"""Speech Commands V2: its lists, its speakers, its noise."""

import shutil
from collections import Counter

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.runtime.common.errors import HtsatEdgeError


def test_lists_speakers_and_noise(layouts, tmp_path):
    found = read_dataset([layouts.speech_commands(tmp_path)])
    assert (found.name, found.missing, found.left_out) == ("speech-commands", 0, {})
    words = [recording for recording in found.recordings if recording.labels]
    assert Counter((min(r.labels), r.split) for r in words) == {
        **{(word, "train"): 5 for word in ("yes", "no")},
        **{(word, split): 1 for word in ("yes", "no") for split in ("val", "test")},
    }
    assert {r.group for r in words if r.split == "val"} == {"c0ffee01"}
    assert {r.group for r in words if r.split == "test"} == {"beef0002"}
    assert {r.group for r in words if r.split == "train"} == {f"0000000{i}" for i in range(1, 5)}
    (noise,) = [recording for recording in found.recordings if not recording.labels]
    assert noise.path == tmp_path / "_background_noise_" / "white_noise.wav"
    assert (noise.labels, noise.events, noise.split) == (frozenset(), (), "train")


def test_speakers_of_the_lists_are_not_learned_from(layouts, tmp_path):
    layouts.record(layouts.speech_commands(tmp_path) / "yes" / "beef0002_nohash_3.wav")
    found = read_dataset([tmp_path])
    assert found.left_out == {"of a speaker who is in a list of another split": 1}
    assert len(found.recordings) == 15


def test_other_places_than_folders_of_words(layouts, tmp_path):
    """They are of no word: neither those beside the lists nor those further below."""
    before = read_dataset([layouts.speech_commands(tmp_path)])
    layouts.record(tmp_path / "00000001_nohash_7.wav")
    layouts.record(tmp_path / "yes" / "more" / "00000001_nohash_8.wav")
    found = read_dataset([tmp_path])
    assert found.recordings == before.recordings
    assert found.left_out == {"no label": 2}


def test_speakers_of_two_lists_are_refused(layouts, tmp_path):
    layouts.record(layouts.speech_commands(tmp_path) / "yes" / "beef0002_nohash_3.wav")
    with (tmp_path / "validation_list.txt").open("a") as file:
        file.write("yes/beef0002_nohash_3.wav\n")
    with pytest.raises(HtsatEdgeError, match=r"group 'beef0002' is in the splits '(val|test)' and '(val|test)'"):
        read_dataset([tmp_path])


def test_one_list_is_enough(layouts, tmp_path):
    (layouts.speech_commands(tmp_path) / "validation_list.txt").unlink()
    assert Counter(r.split for r in read_dataset([tmp_path]).recordings) == {"train": 13, "test": 2}


def test_converted_in_place(layouts, tmp_path):
    before = read_dataset([layouts.speech_commands(tmp_path)])
    (tmp_path / "no" / "beef0002_nohash_0.wav").rename(tmp_path / "no" / "beef0002_nohash_0.flac")
    shutil.copy(tmp_path / "yes" / "c0ffee01_nohash_0.wav", tmp_path / "yes" / "c0ffee01_nohash_0.flac")
    found = read_dataset([tmp_path])
    assert sorted((r.group, r.split) for r in found.recordings) == sorted((r.group, r.split) for r in before.recordings)
    assert found.left_out == {"in a second format": 1}


def test_what_is_not_there(layouts, tmp_path):
    layouts.speech_commands(tmp_path)
    (tmp_path / "yes" / "beef0002_nohash_0.wav").unlink()
    assert read_dataset([tmp_path]).missing == 1
    for word in ("yes", "no", "_background_noise_"):
        shutil.rmtree(tmp_path / word)
    with pytest.raises(HtsatEdgeError, match=r"has no folder of recordings for each word beside validation_list.txt"):
        read_dataset([tmp_path])


def test_bad_lists(layouts, tmp_path):
    layouts.speech_commands(tmp_path)
    lists = tmp_path / "testing_list.txt"
    lists.write_text("yes/beef0002_nohash_0.wav\nbeef0002_nohash_0.wav\n")
    with pytest.raises(
        HtsatEdgeError, match=r"testing_list.txt: line 2 has 'beef0002_nohash_0', want a word and a rec"
    ):
        read_dataset([tmp_path])
    lists.write_text("yes/c0ffee01_nohash_0.wav\n")
    with pytest.raises(
        HtsatEdgeError, match=r"line 1 has yes/c0ffee01_nohash_0, which is in .*validation_list.txt: line 1"
    ):
        read_dataset([tmp_path])
    with pytest.raises(
        HtsatEdgeError, match=r"want one folder with Speech Commands' validation_list.txt and testing_list"
    ):
        read_dataset([tmp_path / "yes"], "speech-commands")
