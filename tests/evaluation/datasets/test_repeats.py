"""One sound is one recording: whatever names it, and however often."""

import os

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.runtime.common.errors import HtsatEdgeError


@pytest.fixture
def folder(layouts, tmp_path):
    for name in ("Dog/0.wav", "Dog/1.wav", "Cat/0.wav"):
        layouts.record(tmp_path / "set" / name)
    return tmp_path / "set"


def manifest(folder, text):
    (folder / "list.csv").write_text(text)
    return [folder / "list.csv"]


def refusal(paths):
    with pytest.raises(HtsatEdgeError) as caught:
        read_dataset(paths)
    return str(caught.value)


def test_a_folder_that_is_named_twice(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    for again in (folder / ".", tmp_path / "link"):
        found = read_dataset([folder, again])
        assert len(found.recordings) == 3


def test_a_link_with_another_label_is_refused(folder):
    (folder / "Cat" / "2.wav").symlink_to(folder / "Dog" / "0.wav")
    assert "again, with other labels" in refusal([folder])


def test_a_link_to_itself_is_no_recording_that_can_be_read(folder):
    (folder / "Dog" / "x.wav").symlink_to("x.wav")
    assert "x.wav" in {recording.path.name for recording in read_dataset([folder]).recordings}


def test_a_name_that_is_not_utf8_is_counted(folder):
    os.link(folder / "Dog" / "0.wav", os.fsencode(folder / "Dog") + b"/\xff.wav")
    found = read_dataset([folder])
    assert (len(found.recordings), found.left_out) == (3, {"with a name that is not UTF-8": 1})


@pytest.mark.parametrize("cell", ["['Dog', 'Cat']", '"[""Dog"", ""Cat""]"', "\"['Dog', 'Cat']\""])
def test_lists_as_pandas_and_json_write_them(folder, cell):
    cell = cell if cell.startswith('"') else f'"{cell}"'
    (found,) = read_dataset(manifest(folder, f"file,labels\nDog/0.wav,{cell}\n")).recordings
    assert found.labels == {"Dog", "Cat"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label,time_start,time_end\nDog/0.wav,Dog,0,1\n", "has the column 'time_start'; call it onset or offset"),
        (
            "file,label,t_start_ms,t_stop_ms\nDog/0.wav,Dog,0,100\n",
            "has the column 't_start_ms'; want times in seconds",
        ),
        ("file,label,is_test\nDog/0.wav,Dog,1\n", "has the column 'is_test'; say it in a column split"),
        ("file,label,present\nDog/0.wav,Dog,0\n", "has the column 'present'"),
        ("file,label\nDog/0.wav,nan\n", "row 1 has no class"),
    ],
)
def test_columns_and_cells_that_would_be_lost_are_refused(folder, text, message):
    assert message in refusal(manifest(folder, text))


def test_segments_of_a_person_are_a_manifest(folder):
    (folder / "my_segments.csv").write_text("file,start,end,label\nDog/0.wav,0.1,0.2,Dog\n")
    found = read_dataset([folder / "my_segments.csv"])
    assert (found.name, found.recordings[0].events[0].label) == ("manifest", "Dog")
