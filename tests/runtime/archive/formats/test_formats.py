"""Every format as it stands in the file, and as programs that are not ours read it."""

import csv
import io
import json
import os
import sys
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from htsat_edge.runtime.archive.formats import FORMATS, FileEvents, TableEvent, TableFile, shown_path, time_at
from htsat_edge.runtime.common.errors import HtsatEdgeError

YARD = TableFile(
    "yard/a.wav",
    10.0,
    48_000,
    1,
    "2026-05-01T21:30:00.000+02:00",
    "guano",
    52.5,
    13.25,
    "SM4",
    -33.5,
    -1.0,
    0.0,
    1.5,
    2,
    3,
)
EMPTY = TableFile("yard/b.wav", 2.0, 32_000, 1)
BIRDS = [
    TableEvent("yard/a.wav", 0, "Dog", 0.32, 1.6, 0.98764, "2026-05-01T21:30:00.320+02:00"),
    TableEvent("yard/a.wav", 0, "Gunshot, gunfire", 0.64, 0.96, 0.5, "2026-05-01T21:30:00.640+02:00"),
    TableEvent("yard/a.wav", 0, "Dog", 9.28, 10.0, 0.25, "2026-05-01T21:30:09.280+02:00"),
]
HEARD = [FileEvents(YARD, BIRDS), FileEvents(EMPTY, [])]


def written(name, recordings=HEARD, continuous=False):
    stream = io.BytesIO()
    FORMATS[name].write(stream, iter(recordings), continuous)
    return stream.getvalue()


def put(tmp_path, name, recordings=HEARD):
    path = tmp_path / f"a{FORMATS[name].file_name}" if FORMATS[name].each else tmp_path / FORMATS[name].file_name
    path.write_bytes(written(name, recordings))
    return path


def spans(events):
    return [(round(onset, 4), round(offset, 4), label) for onset, offset, label in events]


SPANS = [(0.32, 1.6, "Dog"), (0.64, 0.96, "Gunshot, gunfire"), (9.28, 10.0, "Dog")]
GOLDENS = {
    "csv": """\
file,channel,label,onset,offset,score,time
yard/a.wav,0,Dog,0.32,1.6,0.9876,2026-05-01T21:30:00.320+02:00
yard/a.wav,0,"Gunshot, gunfire",0.64,0.96,0.5,2026-05-01T21:30:00.640+02:00
yard/a.wav,0,Dog,9.28,10.0,0.25,2026-05-01T21:30:09.280+02:00
""",
    "kaleidoscope": """\
INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,DATE,TIME,HOUR,TOP1MATCH,TOP1DIST,MANUAL ID
/field/yard,,a.wav,0,0.32,1.28,2026-05-01,21:30:00,21,Dog,0.0124,
/field/yard,,a.wav,0,0.64,0.32,2026-05-01,21:30:00,21,"Gunshot, gunfire",0.5,
/field/yard,,a.wav,0,9.28,0.72,2026-05-01,21:30:09,21,Dog,0.75,
""",
    "desed": """\
filename\tonset\toffset\tevent_label
yard/a.wav\t0.32\t1.6\tDog
yard/a.wav\t0.64\t0.96\tGunshot, gunfire
yard/a.wav\t9.28\t10.0\tDog
yard/b.wav\t\t\t
""",
    "audacity": "0.320000\t1.600000\tDog\n0.640000\t0.960000\tGunshot, gunfire\n9.280000\t10.000000\tDog\n",
    "raven": (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tBegin File\t"
        "Begin Path\tFile Offset (s)\tAnnotation\tConfidence\n"
        "1\tSpectrogram 1\t1\t0.32\t1.6\t0.0\t24000.0\ta.wav\t/field/yard/a.wav\t0.32\tDog\t0.9876\n"
        "2\tSpectrogram 1\t1\t0.64\t0.96\t0.0\t24000.0\ta.wav\t/field/yard/a.wav\t0.64\tGunshot, gunfire\t0.5\n"
        "3\tSpectrogram 1\t1\t9.28\t10.0\t0.0\t24000.0\ta.wav\t/field/yard/a.wav\t9.28\tDog\t0.25\n"
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_what_stands_in_the_file(name, monkeypatch):
    monkeypatch.setattr("os.path.abspath", lambda path: f"/field/{path}")
    recordings = HEARD[:1] if FORMATS[name].each else HEARD
    assert written(name, recordings).decode() == GOLDENS[name]


def test_json_lines_have_the_columns_of_csv():
    first, *_ = map(json.loads, written("jsonl").splitlines())
    assert first == {name: cell for name, cell in BIRDS[0]._asdict().items() if name != "end_file"} | {"score": 0.9876}


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
def test_an_event_that_ends_in_another_recording(name):
    pandas = pytest.importorskip("pandas")
    crossing = BIRDS[2]._replace(offset=13.5, end_file="yard/b.wav")
    content = io.BytesIO(written(name, [FileEvents(YARD, [BIRDS[0], crossing])], continuous=True))
    read = {"csv": pandas.read_csv, "parquet": pandas.read_parquet, "jsonl": partial(pandas.read_json, lines=True)}
    table = read[name](content)
    assert list(table.columns) == list(TableEvent._fields)
    assert [isinstance(cell, str) and cell for cell in table.end_file] == [False, "yard/b.wav"]
    assert FORMATS[name].joins
    assert list(table.offset) == [1.6, 13.5]


def test_csv_is_read_by_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(put(tmp_path, "csv"))
    assert spans(table[["onset", "offset", "label"]].itertuples(index=False)) == SPANS
    assert pandas.to_datetime(table.time)[0] == pandas.Timestamp("2026-05-01T21:30:00.32+02:00")


def test_parquet_has_types_and_is_read_by_pyarrow(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(put(tmp_path, "parquet"))
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        **dict.fromkeys(("file", "label", "time"), "string"),
        **{"channel": "int32", "onset": "double", "offset": "double", "score": "double"},
    }
    assert table.to_pylist() == [json.loads(line) for line in written("jsonl").splitlines()]


def test_parquet_is_written_in_groups_as_events_come(monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("htsat_edge.runtime.archive.formats.parquet.GROUP_ROWS", 100)
    stream, sizes = io.BytesIO(), []

    def events():
        for number in range(350):
            sizes.append(stream.tell())
            yield TableEvent("a.wav", 0, f"class {number}", number, number + 0.5, 0.5)

    FORMATS["parquet"].write(stream, iter([FileEvents(YARD, events())]), False)
    assert sizes[99] < sizes[100] < sizes[200]
    stream.seek(0)
    file = parquet.ParquetFile(stream)
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [100, 100, 100, 50]
    assert file.read(["onset"])["onset"].to_pylist() == list(range(350))


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
def test_the_table_of_recordings(name, tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / FORMATS[name].files_name
    with path.open("wb") as stream:
        FORMATS[name].write_files(stream, iter([YARD, EMPTY]))
    read = {"csv": pandas.read_csv, "parquet": pandas.read_parquet, "jsonl": partial(pandas.read_json, lines=True)}
    table = read[name](path)
    assert list(table.columns) == list(TableFile._fields)
    yard, empty = table.astype(object).where(table.notna(), None).to_dict("records")
    assert {key: cell for key, cell in yard.items() if key not in ("start", "failure")} == {
        key: cell for key, cell in YARD._asdict().items() if key not in ("start", "failure")
    }
    assert pandas.Timestamp(yard["start"]) == pandas.Timestamp(YARD.start)
    known = {"file": "yard/b.wav", "duration": 2.0, "sample_rate": 32_000, "channels": 1, "events": 0}
    assert {key: cell for key, cell in empty.items() if cell is not None} == known


def test_kaleidoscope_counts_channels_from_0_and_names_folders_as_they_are(monkeypatch):
    rows = [TableEvent("s3://yard/a.wav", 2, "Dog", 1, 2, 1.0), TableEvent("/a.wav", 1, "Dog", 1, 2, 1.0)]
    table = list(csv.DictReader(io.StringIO(written("kaleidoscope", [FileEvents(YARD, rows)]).decode())))
    assert [row["CHANNEL"] for row in table] == ["1", "0"]
    assert [(row["INDIR"], row["IN FILE"], row["HOUR"]) for row in table] == [
        ("s3://yard", "a.wav", ""),
        ("/", "a.wav", ""),
    ]


def test_desed_is_read_by_sed_scores_eval(tmp_path):
    io_module = pytest.importorskip("sed_scores_eval.base_modules.io")
    truth = io_module.read_ground_truth_events(put(tmp_path, "desed"))
    assert {name: spans(events) for name, events in truth.items()} == {"yard/a": SPANS, "yard/b": []}


def test_raven_is_read_by_crowsetta(tmp_path):
    crowsetta = pytest.importorskip("crowsetta")
    boxes = crowsetta.formats.bbox.Raven.from_file(put(tmp_path, "raven", HEARD[:1])).to_bbox()
    assert spans((box.onset, box.offset, box.label) for box in boxes) == SPANS
    assert {(box.low_freq, box.high_freq) for box in boxes} == {(0.0, 24_000.0)}


def test_audacity_is_read_by_crowsetta(tmp_path):
    crowsetta = pytest.importorskip("crowsetta")
    track = crowsetta.formats.seq.AudSeq.from_file(put(tmp_path, "audacity", HEARD[:1]))
    assert spans(zip(track.start_times, track.end_times, track.labels, strict=True)) == SPANS


@pytest.mark.parametrize("each", [False, True])
def test_a_textgrid_is_read_by_praat(each, tmp_path):
    parselmouth = pytest.importorskip("parselmouth")
    pytest.importorskip("praatio")
    events = [event._replace(channel=2) for event in BIRDS] if each else BIRDS
    grid = parselmouth.read(str(put(tmp_path, "textgrid", [FileEvents(YARD, events)])))
    names, found, end_s = [], [], 0.0
    for tier in range(1, parselmouth.praat.call(grid, "Get number of tiers") + 1):
        names.append(parselmouth.praat.call(grid, "Get tier name", tier))
        for number in range(1, parselmouth.praat.call(grid, "Get number of intervals", tier) + 1):
            times = [
                parselmouth.praat.call(grid, f"Get {end} time of interval", tier, number) for end in ("start", "end")
            ]
            assert times[0] == (end_s if number > 1 else 0)  # no gap
            end_s = times[1]
            found.append((*times, parselmouth.praat.call(grid, "Get label of interval", tier, number)))
        assert end_s == 10
    assert (grid.xmin, grid.xmax) == (0, 10)
    assert names == [f"{label}{' (channel 2)' * each}" for label in ("Dog", "Gunshot, gunfire")]
    assert sorted(spans(one for one in found if one[2])) == SPANS


@pytest.mark.parametrize("duration", [2.0, 1.99996])
def test_a_textgrid_ends_with_its_recording(duration, tmp_path):
    parselmouth = pytest.importorskip("parselmouth")
    pytest.importorskip("praatio")
    heard = FileEvents(EMPTY._replace(duration=duration), [])
    grid = parselmouth.read(str(put(tmp_path, "textgrid", [heard])))
    assert parselmouth.praat.call(grid, "Get number of tiers") == 1
    assert (grid.xmin, grid.xmax) == (0, 2.0)
    last = [TableEvent("b.wav", 0, "Dog", 1.28, duration, 0.5)]
    grid = parselmouth.read(str(put(tmp_path, "textgrid", [heard._replace(events=last)])))
    assert grid.xmax == 2.0


@pytest.mark.parametrize("name", FORMATS)
def test_an_event_in_the_last_sample_has_a_length(name):
    """Programs refuse one that ends where it begins, or take it for a mark."""
    pytest.importorskip({"textgrid": "praatio", "parquet": "pyarrow"}.get(name, "json"))
    last = TableEvent("yard/a.wav", 0, "Dog", 9.99998, 10.0, 0.5)
    content = written(name, [FileEvents(YARD, [last])])
    if name == "parquet":
        content = str(pytest.importorskip("pyarrow.parquet").read_table(io.BytesIO(content)).to_pylist()).encode()
    assert (b"0.0001" if name == "kaleidoscope" else b"10.0001") in content


ODD = 'Dog\t"big"\nand\x1b[2Jmore\u2028\x85'


@pytest.mark.parametrize("name", FORMATS)
def test_odd_names_break_no_table(name, tmp_path):
    for library in {"parquet": ["pyarrow"], "textgrid": ["praatio", "parselmouth"]}.get(name, ["pandas"]):
        pytest.importorskip(library)
    odd = 'ya\trd/a\n"b".wav'
    heard = [FileEvents(YARD._replace(file=odd), [TableEvent(odd, 0, ODD, 1.0, 2.0, 0.5)])]
    path = put(tmp_path, name, heard)
    if name in ("csv", "kaleidoscope", "jsonl", "parquet"):  # exact
        import pandas

        read = {"jsonl": partial(pandas.read_json, lines=True), "parquet": pandas.read_parquet}.get(
            name, pandas.read_csv
        )
        (row,) = read(path).to_dict("records")
        assert row["TOP1MATCH" if name == "kaleidoscope" else "label"] == ODD
        assert (f"{row['INDIR']}/{row['IN FILE']}" if name == "kaleidoscope" else row["file"]).endswith(odd)
        return
    shown = 'Dog\\t"big"\\nand\\x1b[2Jmore\\u2028\\x85'
    text = path.read_text(encoding="utf-8")
    assert text.isascii()
    assert text.replace('""', '"').count(shown) == (2 if name == "textgrid" else 1)  # the tier, and the interval
    assert {"raven": 2, "desed": 2, "audacity": 1}.get(name, len(text.splitlines())) == len(text.splitlines())


@pytest.mark.parametrize(("name", "library"), [("parquet", "pyarrow"), ("textgrid", "praatio")])
def test_a_library_that_is_missing_is_said_before_any_work(name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, f"{library}.parquet" if name == "parquet" else f"{library}.textgrid", None)
    with pytest.raises(HtsatEdgeError, match=rf"needs {library}: pip install \"htsat-edge\[archive\]\"$"):
        FORMATS[name].require()


def test_formats_without_libraries_need_none():
    for name in FORMATS.keys() - {"parquet", "textgrid"}:
        FORMATS[name].require()


def test_no_two_formats_have_one_file():
    names = [name for one in FORMATS.values() for name in (one.file_name, one.files_name, one.all_name) if name]
    assert len(set(names)) == len(names)
    assert [name for name, one in FORMATS.items() if one.each] == ["raven", "audacity", "textgrid"]


def test_a_path_that_is_no_utf_8():
    assert shown_path(Path(os.fsdecode(b"a\xe9/\xc3\xa9\n.wav"))) == "a\\xe9/é\n.wav"


def test_the_time_of_an_event_is_counted_by_real_seconds():
    start = datetime(2026, 10, 25, 2, 59, 59, tzinfo=ZoneInfo("Europe/Berlin"))
    assert time_at(start, 1.25) == "2026-10-25T02:00:00.250+01:00"
    assert time_at(start.replace(tzinfo=None), 1.25) == "2026-10-25T03:00:00.250"
    assert (
        time_at(datetime(2026, 5, 1, 21, 30, tzinfo=timezone(timedelta(hours=5.5))), 0)
        == "2026-05-01T21:30:00.000+05:30"
    )
    assert time_at(None, 1.25) == ""
