import csv

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.htsat.corpus import Recording, read_corpora, read_mono, trim
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile

RATE = 16_000


def tone(seconds, amplitude=0.5):
    return (amplitude * np.sin(np.arange(round(seconds * RATE)))).astype(np.float32)


def put(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)


def write_manifest(folder, rows):
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_folder_for_each_class(tmp_path):
    for label in ("Kettle", "Drill"):
        for i in range(8):
            put(tmp_path / label / f"{i}.wav", tone(0.3))
    (tmp_path / "Drill" / "notes.txt").write_text("no recording")
    recordings = read_corpora([tmp_path])
    assert len(recordings) == 16
    for label in ("Kettle", "Drill"):
        assert [r.split for r in recordings if r.label == label].count("val") == 2


def test_the_same_recordings_are_held_wherever_the_folder_lies(tmp_path):
    for place in ("here", "there/deeper"):
        for i in range(10):
            put(tmp_path / place / "Kettle" / f"{i}.flac", tone(0.3))
    first, second = (read_corpora([tmp_path / place]) for place in ("here", "there/deeper"))
    assert [r.split for r in first] == [r.split for r in second]


def test_a_manifest_of_events_in_longer_files(tmp_path):
    put(tmp_path / "day.wav", np.concatenate([tone(1, 0.1), tone(1, 0.9), tone(1, 0.1)]))
    put(tmp_path / "night.wav", tone(1))
    write_manifest(
        tmp_path,
        [
            {"file": "day.wav", "class": "Knock", "onset": "1.25", "offset": "1.75"},
            {"file": "night.wav", "class": "Knock", "onset": "", "offset": ""},
        ],
    )
    day, night = read_corpora([tmp_path])
    assert day.group == "day.wav"
    assert {day.split, night.split} == {"train", "val"}
    samples = read_mono(day, RATE)
    assert len(samples) == RATE // 2
    assert np.abs(samples).max() == pytest.approx(0.9, abs=0.01)
    assert len(read_mono(night, 2 * RATE)) == pytest.approx(2 * RATE, rel=0.03)


def test_quiet_ends_are_cut_and_pauses_are_not():
    sound = np.concatenate([tone(0.5, 1e-4), tone(0.2), tone(1, 1e-4), tone(0.2), np.zeros(RATE, np.float32)])
    assert len(trim(sound, RATE)) / RATE == pytest.approx(1.4, abs=0.05)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=2000))
def test_trimming_leaves_a_part_of_the_recording(samples):
    samples = np.array(samples, np.float32)
    trimmed = trim(samples, RATE)
    assert 0 < len(trimmed) <= len(samples)
    assert np.abs(trimmed).max() == np.abs(samples).max()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"onset": "1"}, "row 1 has onset '1' and offset '', want seconds"),
        ({"onset": "2", "offset": "1"}, "row 1 has onset '2' and offset '1', want seconds, with the offset after"),
        ({"split": "held"}, "row 1 has split 'held', want one of train, val, test"),
        ({"class": ""}, "row 1 has no class"),
        ({}, "1 of 1 recordings are missing, first"),
    ],
)
def test_a_bad_row_is_named(row, message, tmp_path):
    write_manifest(tmp_path, [{"file": "x.wav", "class": "Knock", **row}])
    with pytest.raises(HtsatEdgeError, match=r"manifest\.csv") as caught:
        read_corpora([tmp_path])
    assert message in str(caught.value)


def test_what_is_no_corpus(tmp_path):
    with pytest.raises(HtsatEdgeError, match="no recording in"):
        read_corpora([tmp_path])
    with pytest.raises(HtsatEdgeError, match="no such file or folder"):
        read_corpora([tmp_path / "absent"])
    put(tmp_path / "Kettle" / "0.wav", tone(0.1))
    with pytest.raises(HtsatEdgeError, match="has no recording held back"):
        read_corpora([tmp_path])
    (tmp_path / "Drill").mkdir()
    with pytest.raises(HtsatEdgeError, match="Drill: holds no recording"):
        read_corpora([tmp_path])


def test_a_group_that_is_learned_from_and_held_is_refused(tmp_path):
    for i in range(2):
        put(tmp_path / f"{i}.wav", tone(0.1))
    write_manifest(
        tmp_path,
        [
            {"file": f"{i}.wav", "class": "Knock", "group": "one day", "split": split}
            for i, split in enumerate(("train", "val"))
        ],
    )
    with pytest.raises(HtsatEdgeError, match=r"group 'one day' is in the splits 'train' and 'val'"):
        read_corpora([tmp_path])


def test_a_manifest_with_splits_is_taken_as_it_is_and_tests_are_left_out(tmp_path):
    splits = {"a": "val", "b": "train", "c": "test", "d": "train"}
    for name in splits:
        put(tmp_path / f"{name}.wav", tone(0.1))
    write_manifest(tmp_path, [{"file": f"{n}.wav", "class": "Knock", "split": split} for n, split in splits.items()])
    recordings = read_corpora([tmp_path])
    assert [(r.path.stem, r.split, r.held) for r in recordings] == [
        ("a", "val", True),
        ("b", "train", False),
        ("d", "train", False),
    ]


def test_a_background_is_not_trimmed(tmp_path):
    put(tmp_path / "x.wav", np.concatenate([tone(2, 0.001), tone(0.1), tone(2, 0.001)]))
    assert len(read_mono(Recording(tmp_path / "x.wav", "background", "x", "train"), RATE)) == round(4.1 * RATE)


def test_events_of_one_file_are_cut_from_one_reading(tmp_path, monkeypatch):
    from htsat_edge.htsat import corpus

    put(tmp_path / "day.wav", tone(3))
    read = []
    monkeypatch.setattr(corpus, "AudioFile", lambda path: (read.append(path), AudioFile(path))[1])
    for onset in (0.5, 1.0, 2.0):
        recording = Recording(tmp_path / "day.wav", "Knock", "x", "train", onset, onset + 0.5)
        assert len(read_mono(recording, RATE)) == RATE // 2
    assert len(read) == 1


@pytest.mark.parametrize(
    ("onset", "offset", "message"),
    [
        (0.0, 0.5, "is silent where its label is Knock"),
        (1.0, 9.0, "lasts 2.000 s, but has an offset at 9 s"),
        (1.5, 1.50001, "leave nothing of it from 1.5 s on"),
        (1.99999, None, "leave nothing of it from 1.99999 s on"),
    ],
)
def test_a_span_without_sound_is_one_line(onset, offset, message, tmp_path):
    put(tmp_path / "x.wav", np.concatenate([np.zeros(RATE, np.float32), tone(1)]))
    with pytest.raises(HtsatEdgeError) as caught:
        read_mono(Recording(tmp_path / "x.wav", "Knock", "x", "train", onset, offset), RATE)
    assert message in str(caught.value)


def test_an_onset_behind_the_end_is_one_line(tmp_path):
    put(tmp_path / "x.wav", tone(1))
    with pytest.raises(HtsatEdgeError, match=r"x\.wav: lasts 1\.000 s, and its labels leave nothing of it from 3 s on"):
        read_mono(Recording(tmp_path / "x.wav", "Knock", "x", "train", onset_s=3), RATE)
