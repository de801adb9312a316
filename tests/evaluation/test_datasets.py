"""Each test set as it lies on disk, in small."""

from pathlib import Path

import pytest

from htsat_edge.evaluation.datasets import audioset, desed, esc50, speech_commands
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError

CONFIGS = Path(__file__).parent.parent.parent / "configs" / "labels"
AUDIOSET = [row["label"] for row in read_csv(CONFIGS / "audioset.csv", ["label"])]
ESC50 = [row["label"] for row in read_csv(CONFIGS / "esc50.csv", ["label"])]
COMMANDS = [row["label"] for row in read_csv(CONFIGS / "speech-commands-v2.csv", ["label"])]


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


SEGMENTS = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"
YBfyYJ86Ewk, 30.000, 40.000, "/m/09x0r"
gone5678901, 30.000, 40.000, "/m/09x0r"
-0SdAVK79lg, 30.000, 40.000, "/m/09x0r,/m/05zppz"
"""


@pytest.fixture
def audioset_folder(tmp_path):
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS)
    audio = tmp_path / "eval"
    touch(audio / "Y--4gqARaEJE.wav", audio / "YBfyYJ86Ewk_30000.flac", audio / "-0SdAVK79lg.wav", audio / "notes.txt")
    return tmp_path


def test_audioset(audioset_folder):
    found = audioset([audioset_folder / "eval_segments.csv", audioset_folder / "eval"], AUDIOSET)
    assert found.missing == 1
    assert found.recordings == [
        Labelled(audioset_folder / "eval" / name, frozenset(labels))
        for name, labels in [
            ("Y--4gqARaEJE.wav", ["Domestic animals, pets", "Squeak", "Dog", "Animal"]),
            ("YBfyYJ86Ewk_30000.flac", ["Speech"]),
            ("-0SdAVK79lg.wav", ["Speech", "Male speech, man speaking"]),
        ]
    ]
    assert audioset([audioset_folder], AUDIOSET) == found


def test_audioset_needs_its_table_and_its_audio(audioset_folder):
    (audioset_folder / "balanced_train_segments.csv").write_text(SEGMENTS)
    with pytest.raises(HtsatEdgeError, match="there are 2, name one"):
        audioset([audioset_folder], AUDIOSET)
    with pytest.raises(HtsatEdgeError, match="there is none"):
        audioset([audioset_folder / "eval"], AUDIOSET)
    with pytest.raises(HtsatEdgeError, match="none of its 4 segments has a recording"):
        audioset([audioset_folder / "eval_segments.csv"], AUDIOSET)
    (audioset_folder / "x_segments.csv").write_text("a, 0, 10\n")
    with pytest.raises(HtsatEdgeError, match="segment 1 has 3 columns"):
        audioset([audioset_folder / "x_segments.csv"], AUDIOSET)
    with pytest.raises(HtsatEdgeError, match="has class 'Domestic animals, pets', which is no label of the model"):
        audioset([audioset_folder / "eval_segments.csv"], ["Speech"])


@pytest.fixture
def esc50_folder(tmp_path):
    touch(tmp_path / "meta" / "esc50.csv", tmp_path / "audio" / "1-1-A-0.wav", tmp_path / "audio" / "2-1-A-49.wav")
    (tmp_path / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-1-A-0.wav,1,0,dog,True,1,A\n2-1-A-49.wav,2,49,hand_saw,False,1,A\n"
    )
    return tmp_path


def test_esc50(esc50_folder):
    dog, saw = (
        Labelled(esc50_folder / "audio" / "1-1-A-0.wav", frozenset(["dog"])),
        Labelled(esc50_folder / "audio" / "2-1-A-49.wav", frozenset(["hand_saw"])),
    )
    assert esc50([esc50_folder], ESC50).recordings == [dog, saw]
    assert esc50([esc50_folder], ESC50, fold=2).recordings == [saw]
    with pytest.raises(HtsatEdgeError, match="has no fold 6, only 1, 2"):
        esc50([esc50_folder], ESC50, fold=6)
    (esc50_folder / "audio" / "1-1-A-0.wav").unlink()
    with pytest.raises(HtsatEdgeError, match="1 of 2 recordings are missing"):
        esc50([esc50_folder], ESC50)


def test_speech_commands(tmp_path):
    touch(tmp_path / "yes" / "0_nohash_0.wav", tmp_path / "bed" / "1_nohash_0.wav", tmp_path / "bed" / "other.wav")
    (tmp_path / "testing_list.txt").write_text("bed/1_nohash_0.wav\nyes/0_nohash_0.wav\n")
    assert speech_commands([tmp_path], COMMANDS).recordings == [
        Labelled(tmp_path / "bed" / "1_nohash_0.wav", frozenset(["bed"])),
        Labelled(tmp_path / "yes" / "0_nohash_0.wav", frozenset(["yes"])),
    ]


@pytest.fixture
def desed_folder(tmp_path):
    (tmp_path / "public.tsv").write_text(
        "filename\tonset\toffset\tevent_label\n"
        "a.wav\t0.5\t2.0\tDog\na.wav\t1.0\t3.0\tRunning_water\na.wav\t1.5\t2.5\tDog\nb.wav\t\t\t\n"
    )
    touch(tmp_path / "audio" / "eval" / "public" / "a.wav", tmp_path / "audio" / "eval" / "public" / "b.wav")
    return tmp_path


def test_desed(desed_folder):
    found = desed([desed_folder / "public.tsv", desed_folder / "audio"], AUDIOSET)
    audio = desed_folder / "audio" / "eval" / "public"
    assert found.recordings == [
        Labelled(
            audio / "a.wav",
            frozenset(["Dog", "Running_water"]),
            (Occurrence(0.5, 2.5, "Dog"), Occurrence(1, 3, "Running_water")),
        ),
        Labelled(audio / "b.wav", frozenset(), ()),
    ]
    assert len(found.classes) == 10
    assert found.classes["Dog"] == ["Dog", "Bark", "Yip", "Howl", "Bow-wow", "Growling"]


def test_desed_for_a_model_of_its_own_classes(desed_folder):
    ten = list(desed([desed_folder / "public.tsv", desed_folder / "audio"], AUDIOSET).classes)
    found = desed([desed_folder / "public.tsv", desed_folder / "audio"], ten)
    assert found.classes == {name: [name] for name in ten}


def test_desed_with_what_does_not_fit(desed_folder):
    paths = [desed_folder / "public.tsv", desed_folder / "audio"]
    with pytest.raises(HtsatEdgeError, match=r"desed\.csv: the model has none of the labels that belong to Frying"):
        desed(paths, ["Speech", "Dog"])
    with pytest.raises(HtsatEdgeError, match="want one of DESED's TSV files"):
        desed(paths[1:], AUDIOSET)
    with pytest.raises(HtsatEdgeError, match=r"none of its 2 recordings is in .*public\.tsv"):
        desed(paths[:1], AUDIOSET)
    (paths[1] / "eval" / "public" / "b.wav").unlink()
    assert desed(paths, AUDIOSET).missing == 1
    paths[0].write_text("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tDgo\n")
    with pytest.raises(HtsatEdgeError, match=r"row 1 has class 'Dgo'.* meant Dog\?"):
        desed(paths, AUDIOSET)
    paths[0].write_text("filename\tevent_label\tonset\toffset\na.wav\tDog\n")
    with pytest.raises(HtsatEdgeError, match="row 1 has onset '' and offset ''"):
        desed(paths, AUDIOSET)
    paths[0].write_text("filename\tonset\toffset\tevent_label\na.wav\t0\t1\n")
    with pytest.raises(HtsatEdgeError, match="row 1 has no class"):
        desed(paths, AUDIOSET)
    paths[0].write_text("filename,onset\n")
    with pytest.raises(HtsatEdgeError, match="separated by tabs"):
        desed(paths, AUDIOSET)
