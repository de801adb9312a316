"""AudioSet: segments, strong labels, names of videos and of classes."""

import shutil

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError

STRONG = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"


def test_segments(layouts, tmp_path):
    found = read_dataset([layouts.audioset(tmp_path)])
    assert (found.name, found.missing) == ("audioset", 2)
    assert found.recordings == [
        Labelled(tmp_path / "audio" / place, frozenset(labels), None, split)
        for place, labels, split in [
            ("balanced_train/Y-0RWZT-miFs.wav", ["Keys jangling", "Car"], "train"),
            ("balanced_train/YBfyYJ86Ewk_30000.wav", ["Speech"], "train"),
            ("eval/--4gqARaEJE_0.000_10.000.wav", ["Domestic animals, pets", "Squeak", "Dog", "Animal"], "test"),
        ]
    ]


def test_a_video_that_is_named_twice(layouts, tmp_path):
    """The same again changes nothing; other labels or another split leave nothing to trust."""
    layouts.audioset(tmp_path)
    again = tmp_path / "eval_segments.csv"
    text = again.read_text()
    again.write_text(text + text.splitlines()[3] + "\n")
    assert len(read_dataset([tmp_path]).recordings) == 3
    again.write_text(text + 'YBfyYJ86Ewk, 30.000, 40.000, "/m/09x0r"\n')
    found = read_dataset([tmp_path])
    assert [(r.path.stem[:12], r.split) for r in found.recordings] == [
        ("Y-0RWZT-miFs", "train"),
        ("--4gqARaEJE_", "test"),
    ]
    assert found.left_out == {"named twice, with other labels or in another split": 1}


def test_two_segments_of_a_video_with_strong_labels(layouts, tmp_path):
    """Times are those in a segment, but only one of the two is there."""
    layouts.audioset_strong(tmp_path)
    with (tmp_path / "audioset_train_strong.tsv").open("a") as file:
        file.write("b0RFKhbpFJA_60000\t0.1\t0.3\t/m/09x0r\n")
    found = read_dataset([tmp_path])
    assert [r.path.stem[:11] for r in found.recordings] == ["s9d-2nhuJCQ"]
    assert found.left_out == {"named twice, with other labels or in another split": 1}


def test_one_table_alone(layouts, tmp_path):
    layouts.audioset(tmp_path)
    for paths in ([tmp_path / "eval_segments.csv"], [tmp_path / "eval_segments.csv", tmp_path / "audio" / "eval"]):
        found = read_dataset(paths)
        assert [(r.path.stem[:11], r.split) for r in found.recordings] == [("--4gqARaEJE", "test")]
        assert found.missing == 1


def test_strong_labels(layouts, tmp_path):
    found = read_dataset([layouts.audioset_strong(tmp_path)])
    assert (found.name, found.missing) == ("audioset", 0)
    audio = tmp_path / "audio"
    tone, speech = Occurrence(0.1, 0.4, "Brief tone"), Occurrence(0.0, 0.3, "Speech")
    assert found.recordings == [
        Labelled(audio / "s9d-2nhuJCQ_30000_40000.wav", frozenset(["Brief tone"]), (tone,), "test"),
        Labelled(
            audio / "b0RFKhbpFJA_30000.wav",
            frozenset(["Speech", "Dog"]),
            (speech, Occurrence(0.2, 0.5, "Dog")),
            "train",
        ),
    ]
    assert found.classes == {"Brief tone": [], "Dog": ["Dog"], "Speech": ["Speech"]}
    (tmp_path / "mid_to_display_name.tsv").unlink()
    assert read_dataset([tmp_path]).labels == ["/t/dd00138", "Dog", "Speech"]


def test_strong_labels_of_a_segment(layouts, tmp_path):
    layouts.audioset(tmp_path)
    layouts.write(tmp_path / "audioset_train_strong.tsv", STRONG + "-0RWZT-miFs_420000\t0.1\t0.3\t/m/0k4j\n")
    found = {r.path.stem: r for r in read_dataset([tmp_path]).recordings}
    assert found["Y-0RWZT-miFs"].events == (Occurrence(0.1, 0.3, "Car"),)
    assert found["Y-0RWZT-miFs"].labels == {"Car"}
    assert found["YBfyYJ86Ewk_30000"].events is None


def test_labels_of_what_does_not_sound_are_not_read(layouts, tmp_path):
    before = read_dataset([layouts.audioset_strong(tmp_path)])
    row = "s9d-2nhuJCQ_30000\t0.000\t0.960\t/m/04rlf\tNOT_PRESENT\n"
    layouts.write(tmp_path / "audioset_eval_strong_framed_posneg.tsv", STRONG.replace("label", "label\tpresent") + row)
    assert read_dataset([tmp_path]) == before


def test_bad_tables(layouts, tmp_path):
    layouts.audioset(tmp_path)
    (tmp_path / "x_segments.csv").write_text("# YTID\na, 0, 10\n")
    with pytest.raises(HtsatEdgeError, match=r"x_segments.csv: segment 1 has 3 columns, want YTID, start_seconds"):
        read_dataset([tmp_path / "x_segments.csv", tmp_path / "audio"])
    for row, message in [
        ("b0RFKhbpFJA\t0.1\t0.3\t/m/0k4j\n", "row 1 has segment_id 'b0RFKhbpFJA', want such as b0RFKhbpFJA_30000"),
        ("b0RFKhbpFJA_30000\t0.3\t0.3\t/m/0k4j\n", "row 1 has onset '0.3' and offset '0.3'"),
        ("b0RFKhbpFJA_30000\t0.1\t0.3\t\n", "row 1 has no class"),
    ]:
        table = layouts.write(tmp_path / "audioset_train_strong.tsv", STRONG + row)
        with pytest.raises(HtsatEdgeError, match=message):
            read_dataset([table, tmp_path / "audio"])
    with pytest.raises(HtsatEdgeError, match=r"want AudioSet's segments, such as eval_segments.csv, or strong labels"):
        read_dataset([tmp_path / "audio"], "audioset")


def test_all_videos_are_gone(layouts, tmp_path):
    shutil.rmtree(layouts.audioset(tmp_path) / "audio")
    layouts.record(tmp_path / "other.wav")
    with pytest.raises(HtsatEdgeError, match="none of its 5 segments has a recording in "):
        read_dataset([tmp_path])
