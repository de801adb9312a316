"""Recordings at URLs; fsspec's own memory and this disk stand for a store of objects."""

import sys
from pathlib import Path

import pytest

from htsat_edge.runtime.archive.cluster.storage import is_url, local_copy, look_at_url, walk_urls
from htsat_edge.runtime.common.errors import HtsatEdgeError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store():
    """Files in a bucket."""
    system = fsspec.filesystem("memory")
    names = (
        "b/site/2.wav",
        "b/site/1.WAV",
        "b/a.flac",
        "b/notes.txt",
        "b/.trash/3.wav",
        "b/site/._1.wav",
        "other/4.wav",
    )
    for name in names:
        system.pipe(f"/{name}", name.encode())
    yield system
    system.rm("/", recursive=True)


def names(*args):
    return [str(file.path) for file in walk_urls(*args)]


@pytest.mark.parametrize(
    ("root", "expected"),
    [("s3://bucket/x", True), (Path("s3://bucket/x"), True), ("/data/x", False), ("data/s3:/x", False), ("x", False)],
)
def test_what_is_a_url(root, expected):
    assert is_url(root) is expected


def test_recordings_below_a_url_are_found(store):
    assert names("memory://b") == ["memory:/b/a.flac", "memory:/b/site/1.WAV", "memory:/b/site/2.wav"]
    assert names("memory://b", ["*.flac"]) == ["memory:/b/a.flac"]
    assert names("memory://b", [], ["site/*"]) == ["memory:/b/a.flac"]
    assert names("memory://b/site/2.wav") == ["memory:/b/site/2.wav"]


def test_a_file_says_its_size_and_whether_it_has_changed(store):
    (found,) = walk_urls("memory://b", ["a.flac"])
    assert found.size == len("b/a.flac")
    assert found.mtime_ns > 0
    assert look_at_url(found.path) == found
    store.pipe("/b/a.flac", b"longer than it was")
    assert look_at_url(found.path) != found


def test_a_copy_has_the_name_and_the_bytes_and_goes_away(store):
    with local_copy(Path("memory://b/site/1.WAV")) as copy:
        assert copy.name == "1.WAV"
        assert copy.read_bytes() == b"b/site/1.WAV"
    assert not copy.exists()


def test_files_of_this_disk(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"abc")
    (found,) = walk_urls(f"file://{tmp_path}")
    with local_copy(found.path) as copy:
        assert copy.read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://nothing", "memory://nothing: is not there"),
        ("gopher://x/y", "gopher://x/y: Protocol not known: gopher"),
        ("/data", "/data: is no URL such as s3://bucket/folder"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(store, url, said):
    with pytest.raises(HtsatEdgeError, match=f"^{said}$"):
        list(walk_urls(url))


def test_a_missing_library_is_named(monkeypatch, store):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(HtsatEdgeError, match=r"^s3://bucket: Install s3fs"):
        list(walk_urls("s3://bucket"))
