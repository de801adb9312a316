"""Kaleidoscope's tables, and those of programs that write them."""

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError


def test_clusters(layouts, tmp_path):
    """The person's answer counts, a call in both channels is one, and noise is nothing."""
    found = read_dataset([layouts.kaleidoscope(tmp_path)])
    assert (found.name, found.missing, found.left_out) == ("kaleidoscope", 0, {"no label": 1})
    assert found.recordings == [
        Labelled(tmp_path / "north" / "a.wav", frozenset(["Robin"]), (Occurrence(0.1, 0.3, "Robin"),)),
        Labelled(tmp_path / "south" / "a.wav", frozenset(["Wren"]), (Occurrence(0.05, 0.45, "Wren"),)),
        Labelled(tmp_path / "south" / "b.wav", frozenset(), ()),
    ]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST", "{folder},,a.wav,0.1,0.2,Robin,0.4"),
        ("INDIR,FOLDER,IN FILE*,OFFSET,DURATION,TOP1MATCH*,MANUAL ID", '"{folder}/",,a.wav,0.1,0.2,Wren,Robin'),
        ("IN FILE,OFFSET,DURATION,AUTO ID*,MANUAL ID", "a.wav,0.1,0.2,Robin,"),
        ("IN FILE;OFFSET;DURATION;MANUAL ID", "a.wav;0,1;0,2;Robin"),
        (
            "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat,lon,week,overlap",
            "/data,night,a.wav,0.1,0.2,Erithacus rubecula,Robin,0.8,-1,-1,-1,0.0",
        ),
    ],
)
def test_dialects(layouts, tmp_path, header, row):
    layouts.record(tmp_path / "a.wav")
    table = layouts.write(tmp_path / "id.csv", f"{header}\n{row.format(folder=tmp_path)}\n")
    for given in (tmp_path, table):
        found = read_dataset([given])
        assert found.name == "kaleidoscope"
        assert [r.events for r in found.recordings] == [(Occurrence(0.1, 0.3, "Robin"),)]


def test_a_class_without_a_time(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    layouts.write(tmp_path / "id.csv", "FOLDER,IN FILE,DURATION,AUTO ID\n,a.wav,0.5,PIPPIP\n")
    (found,) = read_dataset([tmp_path]).recordings
    assert (found.labels, found.events) == ({"PIPPIP"}, None)


def test_recordings_elsewhere_are_found_by_their_paths(layouts, tmp_path):
    path = layouts.record(tmp_path / "far" / "a.wav")
    text = "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH\n{},far,a.wav,0,0.2,Robin\n"
    table = layouts.write(tmp_path / "tables" / "events.csv", text.format(tmp_path))
    assert [r.path for r in read_dataset([table]).recordings] == [path]
    layouts.write(table, text.format("/elsewhere"))
    assert [r.path for r in read_dataset([table, tmp_path / "far"]).recordings] == [path]
    other = layouts.write(tmp_path / "tables" / "other.csv", text.format(tmp_path).replace("Robin", "Wren"))
    assert read_dataset([other, tmp_path]).labels == ["Wren"]
    with pytest.raises(HtsatEdgeError, match=r"events\.csv: none of its 1 recordings is in "):
        read_dataset([table])


def test_bad_rows(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    for row, message in [
        ("a.wav,0,1,", "row 1 has no class"),
        (",0,1,Robin", "row 1 has no file"),
        ("a.wav,x,1,Robin", "row 1 has onset 'x' and offset '1'"),
        ("a.wav,0.5,,Robin", "row 1 has onset '0.5' and offset ''"),
        ("a.wav,0.5,-0.2,Robin", "row 1 has onset '0.5' and offset '0.3'"),
    ]:
        layouts.write(tmp_path / "id.csv", f"IN FILE,OFFSET,DURATION,MANUAL ID\n{row}\n")
        with pytest.raises(HtsatEdgeError, match=message):
            read_dataset([tmp_path])
    with pytest.raises(HtsatEdgeError, match="want tables of Kaleidoscope, with IN FILE and MANUAL ID or AUTO ID"):
        read_dataset([tmp_path / "a.wav"], "kaleidoscope")
