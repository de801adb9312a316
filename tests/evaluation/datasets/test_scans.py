"""What `htsat-edge scan` writes is read as labels, in every format, from wherever its RESULTS lie."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.runtime.archive.formats import FORMATS, FileEvents, TableEvent, TableFile
from htsat_edge.runtime.common.errors import HtsatEdgeError

NAMES = ["north/a.flac", "north/a.wav", "north/b.wav", "south/a.wav"]
LABELS = (
    *("Dog", "Domestic animals, pets", "Change ringing (campanology)", "it's; mine", "Säge", "犬の声", "Whip!"),
    *('Bang "loud"', "x/y", "sub-bass #2", "A; B", "a|b", "[c]"),
)
NEEDS = {"parquet": "pyarrow", "textgrid": "praatio"}


def write_scan(results, recordings, events, formats=("csv",), **end_files):
    """Write what a scan does, by its own writers; `events` has those of each name."""
    results.mkdir()
    heard = []
    for name in NAMES:
        path = recordings / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = TableFile(str(path), 10.0, 32000, 2, "2026-05-01T04:00:00.000", events=len(events.get(name, ())))
        rows = [
            TableEvent(str(path), channel, label, onset, offset, 0.5, end_file=end_files.get(name, ""))
            for channel, label, onset, offset in events.get(name, ())
        ]
        heard.append(FileEvents(file, rows))
    for name in formats:
        write_format(results, recordings, FORMATS[name], heard)
    (results / "failed.csv").write_text("file,reason\ngone.wav,vanished\n")
    return results


def write_format(results, recordings, form, heard):
    with (results / (form.files_name or "files.csv")).open("wb") as stream:
        (form.write_files or FORMATS["csv"].write_files)(stream, [one.file for one in heard])
    if not form.each:
        with (results / form.file_name).open("wb") as stream:
            form.write(stream, heard, any(event.end_file for one in heard for event in one.events))
        return
    for name, one in zip(NAMES, heard, strict=True):
        path = results / "labels" / f"{name}{form.file_name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert path.resolve().is_relative_to(results.resolve())
        assert recordings not in path.parents
        with path.open("wb") as stream:
            form.write(stream, [one], False)


def found_in(recordings, *paths):
    """The events of each recording, by its name."""
    return {
        str(r.path.relative_to(recordings)): sorted((e.label, e.onset_s, e.offset_s) for e in r.events)
        for r in read_dataset(paths).recordings
    }


@st.composite
def archives(draw):
    """Draw events of each recording: those of a class in a channel do not overlap, as a tracker has them."""
    events = {}
    for name in NAMES:
        for label in draw(st.lists(st.sampled_from(LABELS), unique=True, max_size=4)):
            edges = draw(st.lists(st.integers(0, 9999), min_size=2, max_size=6, unique=True))
            for onset, offset in zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False):
                events.setdefault(name, []).append((0, label, onset / 1000, offset / 1000))
    return events


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None)
@given(events=archives())
def test_every_format_comes_back_to_the_millisecond(tmp_path_factory, name, events):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    folder = tmp_path_factory.mktemp("scan")
    if not events and name == "audacity":  # empty files, of which nothing says what they are
        return
    results = write_scan(folder / "RESULTS", folder / "recordings", events, [name])
    want = {file: sorted(row[1:] for row in events.get(file, ())) for file in NAMES}
    assert found_in(folder / "recordings", results, folder / "recordings") == want


@pytest.mark.parametrize("name", ["csv", "parquet", "jsonl", "kaleidoscope", "desed"])
def test_tables_alone_know_where_the_recordings_are(tmp_path, name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    events = {"north/a.wav": [(0, "Dog", 0.32, 1.28)]}
    results = write_scan(tmp_path / "RESULTS", tmp_path / "recordings", events, [name])
    want = {file: [("Dog", 0.32, 1.28)] if file in events else [] for file in NAMES}
    assert found_in(tmp_path / "recordings", results) == want
    assert found_in(tmp_path / "recordings", results / FORMATS[name].file_name) == want


def test_recordings_that_have_moved(tmp_path):
    events = {"north/a.wav": [(0, "Dog", 0.32, 1.28)]}
    results = write_scan(tmp_path / "RESULTS", tmp_path / "recordings", events)
    want = found_in(tmp_path / "recordings", results)
    (tmp_path / "recordings").rename(tmp_path / "disk")
    assert found_in(tmp_path / "disk", results / "events.csv", tmp_path / "disk") == want
    with pytest.raises(HtsatEdgeError, match=r"events\.csv: 4 of 4 recordings are missing"):
        read_dataset([results])


def test_a_scan_in_several_forms_is_one_set(tmp_path):
    pytest.importorskip("praatio")
    events = {"north/a.wav": [(0, "Dog", 0.32, 1.28)], "south/a.wav": [(0, "Speech", 1.0, 2.0)]}
    forms = [name for name in FORMATS if name != "parquet"]
    results = write_scan(tmp_path / "RESULTS", tmp_path / "recordings", events, forms)
    found = read_dataset([results, tmp_path / "recordings"])
    assert (found.name, len(found.recordings), found.missing, found.left_out) == ("manifest", 4, 0, {})
    assert read_dataset([results / "kaleidoscope.csv", results, tmp_path / "recordings"]).name == "kaleidoscope"
    assert found.classes is None  # Dog and Speech alone do not make it DESED


def test_a_sound_in_both_channels_is_one(tmp_path):
    events = {"north/a.wav": [(1, "Dog", 0.5, 1.5), (2, "Dog", 1.0, 2.0), (2, "Cat", 1.0, 2.0)]}
    results = write_scan(tmp_path / "RESULTS", tmp_path / "recordings", events)
    assert found_in(tmp_path / "recordings", results)["north/a.wav"] == [("Cat", 1.0, 2.0), ("Dog", 0.5, 2.0)]


@pytest.mark.parametrize("name", ["csv", "kaleidoscope"])
def test_recordings_that_break_off_are_not_silent(tmp_path, name):
    events = {"north/a.wav": [(0, "Dog", 0.5, 1.5)]}
    results = write_scan(tmp_path / "RESULTS", tmp_path / "recordings", events, [name])
    text = (results / "files.csv").read_text()
    head, *rows = text.splitlines()
    rows = [f"{row}breaks off" if "b.wav" in row else row for row in rows]
    (results / "files.csv").write_text("\n".join([head, *rows]))
    found = found_in(tmp_path / "recordings", results)
    assert sorted(found) == ["north/a.flac", "north/a.wav", "south/a.wav"]
    (results / "files.csv").unlink()
    assert sorted(found_in(tmp_path / "recordings", results)) == ["north/a.wav"]


def test_rows_that_a_person_took_out(tmp_path):
    events = {"north/a.wav": [(0, "Dog", 0.5, 1.5)], "north/b.wav": [(0, "Dog", 0.5, 1.5)]}
    results = write_scan(tmp_path / "RESULTS", tmp_path / "recordings", events)
    kept = [row for row in (results / "events.csv").read_text().splitlines() if "b.wav" not in row]
    (results / "events.csv").write_text("\n".join(kept))
    assert found_in(tmp_path / "recordings", results)["north/b.wav"] == []


def test_events_that_go_on_in_another_file(tmp_path):
    """Of those between, nobody knows what sounds in them; those without an event of their own are silent."""
    events = {"north/a.flac": [(0, "Rain", 9.0, 21.0)], "north/a.wav": [(0, "Dog", 1.0, 2.0)]}
    recordings = tmp_path / "recordings"
    end = str(recordings / "south" / "a.wav")
    results = write_scan(tmp_path / "RESULTS", recordings, events, **{"north/a.flac": end})
    found = read_dataset([results, recordings])
    assert [(r.path.relative_to(recordings).as_posix(), r.events) for r in found.recordings] == [
        ("north/a.wav", (Occurrence(1.0, 2.0, "Dog"),)),
        ("north/b.wav", ()),
    ]
    assert found.left_out == {"with an event that goes on in another file": 2}
    kept = [row for row in (results / "events.csv").read_text().splitlines() if ",Dog," not in row]
    (results / "events.csv").write_text("\n".join(kept))
    assert sorted(found_in(recordings, results)) == ["north/b.wav"]
    (results / "files.csv").unlink()
    with pytest.raises(HtsatEdgeError, match="RESULTS: has only recordings with an event that goes on in another file"):
        read_dataset([results])


def test_messages_of_detect_are_no_labels(tmp_path):
    """Its JSON Lines in a folder of recordings leave the folder what it is."""
    (tmp_path / "a.wav").touch()
    (tmp_path / "out.jsonl").write_text(json.dumps({"type": "end", "label": "Dog", "onset": 1.0, "offset": 2.0}))
    assert read_dataset([tmp_path]).name == "recordings"


def test_an_empty_table_beside_no_other_is_refused(tmp_path):
    results = write_scan(tmp_path / "RESULTS", tmp_path / "recordings", {}, ["jsonl"])
    assert set(map(tuple, found_in(tmp_path / "recordings", results / "events.jsonl").values())) == {()}
    (results / "files.jsonl").unlink()
    with pytest.raises(HtsatEdgeError, match=r"events\.jsonl: is empty"):
        read_dataset([results / "events.jsonl"])
