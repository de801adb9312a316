"""Tables in Parquet and JSON Lines are manifests as tables of text are."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.rows import columns_of
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError

ROWS = [
    {"file": "a.wav", "label": "Dog", "onset": 0.32, "offset": 1, "score": None},
    {"file": "a.wav", "label": "Cat, tame", "onset": 0.1, "offset": 0.5, "score": 0.25},
    {"file": "b.wav", "label": "background", "onset": None, "offset": float("nan"), "score": 0.5},
]
WANT = [
    (frozenset(["Dog", "Cat, tame"]), (Occurrence(0.32, 1, "Dog"), Occurrence(0.1, 0.5, "Cat, tame"))),
    (frozenset(), ()),
]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8")


def write_parquet(path, rows):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame(rows).to_parquet(path)


FORMS = {"jsonl": write_lines, "parquet": write_parquet}


def recordings(folder):
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()


@pytest.mark.parametrize("form", FORMS)
def test_a_manifest(form, tmp_path):
    recordings(tmp_path)
    path = tmp_path / f"list.{form}"
    FORMS[form](path, ROWS)
    assert columns_of(path) == ["file", "label", "onset", "offset", "score"]
    found = read_dataset([path])
    assert (found.name, [(r.labels, r.events) for r in found.recordings]) == ("manifest", WANT)
    assert read_dataset([tmp_path]).name == "recordings"  # where nobody names it, it may hold anything
    path.rename(path.with_stem("metadata"))
    assert read_dataset([tmp_path]).recordings == found.recordings


def test_lists_and_columns_that_come_later(tmp_path):
    recordings(tmp_path)
    rows = [{"file": "a.wav", "labels": ["Dog", "Cat"]}, {"labels": "Dog", "group": "kennel", "file": "b"}]
    write_lines(tmp_path / "list.jsonl", rows)
    assert [(sorted(r.labels), r.group) for r in read_dataset([tmp_path / "list.jsonl"]).recordings] == [
        (["Cat", "Dog"], "a.wav"),
        (["Dog"], "kennel"),
    ]


def test_birdnets_table(tmp_path):
    """BirdNET-Analyzer's columns, in Parquet as in CSV."""
    recordings(tmp_path)
    row = {"Start (s)": 0.0, "End (s)": 3.0, "Scientific name": "Erithacus rubecula", "Common name": "Robin"}
    write_parquet(tmp_path / "BirdNET_CombinedTable.parquet", [{**row, "Confidence": 0.44, "File": "/data/1/a.wav"}])
    (found,) = read_dataset([tmp_path / "BirdNET_CombinedTable.parquet", tmp_path]).recordings
    assert (found.path.name, found.events) == ("a.wav", (Occurrence(0.0, 3.0, "Robin"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{", "line 1 is no JSON: "),
        ('\n["a.wav"]', "line 2 is no object, want one a line, such as "),
        ("[" * 100000, "line 1 is no JSON: "),
        ('{"file": "a\\u0000.wav"}', r"line 1 holds 'a\\x00.wav', which is no text"),
        ('{"file": "\\ud800.wav"}', r"line 1 holds '\\ud800.wav', which is no text"),
        ('{"name": "a.wav"}', "has no column of files; its columns are name"),
        ('{"file": {"path": "a.wav"}, "label": "Dog"}', "1 of 1 recordings are missing"),
    ],
)
def test_bad_lines(text, message, tmp_path):
    recordings(tmp_path)
    path = tmp_path / "list.jsonl"
    path.write_text(text)
    with pytest.raises(HtsatEdgeError, match=rf"list\.jsonl: {message}") as caught:
        read_dataset([path])
    assert "\n" not in str(caught.value)


def test_damaged_parquet(tmp_path):
    recordings(tmp_path)
    path = tmp_path / "list.parquet"
    write_parquet(path, ROWS)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(HtsatEdgeError, match=r"list\.parquet: is no Parquet table: ") as caught:
            read_dataset([path])
        assert "\n" not in str(caught.value)
    assert columns_of(path) == []


def test_parquet_without_pyarrow_is_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    (tmp_path / "list.parquet").touch()
    with pytest.raises(HtsatEdgeError, match=r'Parquet needs pyarrow: pip install "htsat-edge\[archive\]"'):
        read_dataset([tmp_path / "list.parquet"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["file", "label", "onset", "offset", "split", "channel", "end_file"]),
            st.none()
            | st.booleans()
            | st.floats()
            | st.text()
            | st.sampled_from(["a.wav", "b.wav", "Dog"])
            | st.lists(st.text(max_size=3), max_size=2),
        ),
        max_size=3,
    )
)
def test_any_objects_are_a_set_or_are_refused(tmp_path, rows):
    recordings(tmp_path)
    write_lines(tmp_path / "list.jsonl", rows)
    try:
        found = read_dataset([tmp_path / "list.jsonl"])
    except HtsatEdgeError:
        return
    assert all(isinstance(recording, Labelled) for recording in found.recordings)
