"""Raven's selection tables, and BirdNET's."""

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError

HEAD = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)"


def test_a_table_for_each_recording(layouts, tmp_path):
    found = read_dataset([layouts.raven(tmp_path)])
    assert (found.name, found.missing, found.left_out) == ("raven", 0, {"no label": 1})
    robin, wren = Occurrence(0.1, 0.3, "Robin"), Occurrence(0.25, 0.5, "Wren")
    assert found.recordings == [
        Labelled(tmp_path / "a.wav", frozenset(["Robin", "Wren"]), (robin, wren)),
        Labelled(tmp_path / "b.wav", frozenset(), ()),
    ]
    assert read_dataset([tmp_path / "a.Table.1.selections.txt"]).recordings == found.recordings[:1]


def test_one_table_of_birdnet(layouts, tmp_path):
    """Begin times count on from file to file, file offsets do not."""
    found = read_dataset([layouts.birdnet(tmp_path)])
    assert found.recordings == [
        Labelled(tmp_path / name, frozenset([bird]), (Occurrence(onset_s, offset_s, bird),))
        for name, onset_s, offset_s, bird in [
            ("a.wav", 0.0, 0.3, "Eurasian Blackbird"),
            ("b.wav", 0.2, 0.4, "Common Chaffinch"),
        ]
    ]


@pytest.mark.parametrize("name", ["a.BirdNET.selection.table.txt", "a.selections.txt", "a_selections.txt", "a.txt"])
def test_names_of_tables(layouts, tmp_path, name):
    layouts.record(tmp_path / "a.wav")
    layouts.write(tmp_path / name, f"{HEAD}\tSpecies\n1\tSpectrogram 1\t1\t0.1\t0.3\tRobin\n")
    assert [r.events for r in read_dataset([tmp_path]).recordings] == [(Occurrence(0.1, 0.3, "Robin"),)]


@pytest.mark.parametrize("column", ["Annotation", "Species", "Label", "Common Name", "species code", "Call Type"])
def test_columns_that_people_add(layouts, tmp_path, column):
    layouts.record(tmp_path / "a.wav")
    rows = "1\tSpectrogram 1\t1\t0,1\t0,3\tRobin\n1\tSpectrogram 1\t2\t0,1\t0,3\tRobin\n"
    layouts.write(tmp_path / "a.Table.1.selections.txt", f"{HEAD}\t{column}\n{rows}")
    assert [r.events for r in read_dataset([tmp_path]).recordings] == [(Occurrence(0.1, 0.3, "Robin"),)]


def test_the_column_that_is_filled(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    layouts.write(
        tmp_path / "a.selections.txt", f"{HEAD}\tAnnotation\tSpecies\n1\tSpectrogram 1\t1\t0.1\t0.3\t\tRobin\n"
    )
    assert read_dataset([tmp_path]).labels == ["Robin"]


def test_several_files_in_one_table(layouts, tmp_path):
    for name in ("a.wav", "b.wav", "c.wav"):
        layouts.record(tmp_path / name)
    rows = [
        "1\tSpectrogram 1\t1\t0.2\t0.4\ta.wav\ta.wav\t0.2\tRobin",
        "2\tSpectrogram 1\t1\t0.4\t0.6\ta.wav\tb.wav\t0.4\tRobin",
        "3\tSpectrogram 1\t1\t0.75\t0.9\tb.wav\tb.wav\t0.25\tWren",
        "4\tSpectrogram 1\t1\t1.1\t1.2\tgone.wav\tgone.wav\t0.1\tWren",
        "5\tSpectrogram 1\t1\t1.3\t1.4\tc.wav\tc.wav\t0.1\tWren",
    ]
    head = f"{HEAD}\tBegin File\tEnd File\tFile Offset (s)\tAnnotation"
    layouts.write(tmp_path / "all.selections.txt", "\n".join([head, *rows]) + "\n")
    found = read_dataset([tmp_path])
    # The robin sounds at the end of a.wav and the beginning of b.wav, nobody knows until when: neither is without it.
    assert [(r.path.name, r.events) for r in found.recordings] == [("c.wav", (Occurrence(0.1, 0.2, "Wren"),))]
    assert (found.missing, found.left_out) == (1, {"with a selection that goes on in another file": 2})
    assert found.firsts == {"with a selection that goes on in another file": str(tmp_path / "a.wav")}
    layouts.write(tmp_path / "all.selections.txt", "\n".join([head, *rows[:4]]) + "\n")
    with pytest.raises(HtsatEdgeError, match="has only recordings with a selection that goes on in another file"):
        read_dataset([tmp_path])


def test_recordings_of_one_name(layouts, tmp_path):
    for site in ("north", "south"):
        layouts.record(tmp_path / site / "a.wav")
    rows = [
        "1\tS\t1\t0.1\t0.3\tD:\\night\\north\\a.wav\ta.wav\tRobin",
        "2\tS\t1\t0.2\t0.4\tD:\\night\\south\\a.wav\ta.wav\tWren",
    ]
    layouts.write(tmp_path / "all.txt", "\n".join([f"{HEAD}\tBegin Path\tBegin File\tAnnotation", *rows]) + "\n")
    assert {r.path.parent.name: set(r.labels) for r in read_dataset([tmp_path]).recordings} == {
        "north": {"Robin"},
        "south": {"Wren"},
    }


def test_bad_tables(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    table = tmp_path / "a.selections.txt"
    for head, row, message in [
        (
            "\tNotes",
            "\tRobin",
            r"none of its columns \(selection, .*, notes\) names what sounds, want one of annotation",
        ),
        ("\tAnnotation", "\t", "row 1 has no class"),
        ("\tAnnotation\tFile Offset (s)", "\tRobin\tx", "row 1 has the file offset 'x', want seconds"),
    ]:
        layouts.write(table, f"{HEAD}{head}\n1\tSpectrogram 1\t1\t0.1\t0.3{row}\n")
        with pytest.raises(HtsatEdgeError, match=message):
            read_dataset([tmp_path])
    layouts.write(table, f"{HEAD}\tAnnotation\n1\tSpectrogram 1\t1\t0.3\t0.1\tRobin\n")
    with pytest.raises(HtsatEdgeError, match=r"row 1 has onset '0.3' and offset '0.1'"):
        read_dataset([tmp_path])
    table.rename(tmp_path / "other.selections.txt")
    with pytest.raises(HtsatEdgeError, match=r"none of its 1 recordings is in .*, which holds 1 of other names"):
        read_dataset([tmp_path])
    with pytest.raises(HtsatEdgeError, match="want Raven's selection tables, with 'Begin Time"):
        read_dataset([tmp_path / "a.wav"], "raven")


def test_tables_in_folders_like_those_of_the_recordings(layouts, tmp_path):
    """A table that names no recording, since it has no selection, is that of the folder of the same name."""
    for site in ("north", "south"):
        layouts.record(tmp_path / "recordings" / site / "a.wav")
    layouts.write(tmp_path / "labels" / "south" / "a.wav.Table.1.selections.txt", layouts.RAVEN_HEADER)
    (found,) = read_dataset([tmp_path / "labels", tmp_path / "recordings"]).recordings
    assert (found.path.parent.name, found.events) == ("south", ())
