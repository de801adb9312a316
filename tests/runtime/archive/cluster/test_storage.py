"""Recordings at URLs; fsspec's own memory and this disk stand for a store of objects."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from htsat_edge.runtime.archive.cluster.storage import local_copy, look_at_url, walk_urls
from htsat_edge.runtime.archive.walk import Unreadable, walk
from htsat_edge.runtime.common.errors import HtsatEdgeError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(memory_store):
    """Files in a bucket."""
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
        memory_store.pipe(f"/{name}", name.encode())
    return memory_store


def names(*args):
    return [str(file.path) for file in walk_urls(*args)]


def test_recordings_below_a_url_are_found(store):
    assert names("memory://b") == ["memory:/b/a.flac", "memory:/b/site/1.WAV", "memory:/b/site/2.wav"]
    assert names("memory://b", ["*.flac"]) == ["memory:/b/a.flac"]
    assert names("memory://b", [], ["site/*"]) == ["memory:/b/a.flac"]
    assert names("memory://b/site/2.wav") == ["memory:/b/site/2.wav"]


NAMES = (
    *("1.wav", "2.WAV", "A_DAWN.WAV", "notes.txt", ".hidden.wav", "._1.wav", "x_dawn.flac", "odd [1]\n?.wav"),
    *("Site3/a.wav", "Site3/deep/b.mp3", "other/site3.wav", "@eaDir/1.wav", "other/lost+found/1.wav", ".trash/3.wav"),
)


@pytest.mark.parametrize(
    ("include", "exclude"),
    [
        ((), ()),
        (("*_dawn.wav",), ()),
        (("*.wav", "*.MP3"), ("site3",)),
        ((), ("Site3/*",)),
        (("site3/*",), ("*/B.mp3",)),
        ((), ("SITE3*",)),
    ],
)
def test_the_same_is_found_in_a_store_as_on_a_disk(store, tmp_path, include, exclude):
    for name in NAMES:
        store.pipe(f"/twin/{name}", b"x")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = {str(file.path.relative_to("memory:/twin")) for file in walk_urls("memory://twin", include, exclude)}
    assert found == {str(file.path.relative_to(tmp_path)) for file in walk([tmp_path], include, exclude)}
    assert found


def test_a_recording_that_is_named_itself_is_taken_whatever_it_is_called(store):
    assert names("memory://b/notes.txt") == ["memory:/b/notes.txt"]


def test_a_folder_that_is_excluded_is_not_listed(store, monkeypatch):
    listed, ls = [], type(store).ls
    monkeypatch.setattr(
        type(store), "ls", lambda self, path, **options: listed.append(path) or ls(self, path, **options)
    )
    assert names("memory://b", [], ["SITE"]) == ["memory:/b/a.flac"]
    assert listed == ["/b"]


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_are_walked(store, monkeypatch):
    ls = type(store).ls

    def refuse(self, path, **options):
        if path == "/b/site":
            raise PermissionError("Access Denied")
        return ls(self, path, **options)

    monkeypatch.setattr(type(store), "ls", refuse)
    assert list(walk_urls("memory://b"))[1:] == [Unreadable(Path("memory:/b/site"), "cannot be read: Access Denied")]


@dataclass
class Hosts:
    """A file system whose names lack the host, as that of ftp, or are whole URLs, as that of http."""

    names: dict[str, str]

    def info(self, name):
        return {"name": name, "type": "directory" if name in self.names else "file", "size": 1}

    def ls(self, name, detail):
        assert detail
        return [self.info(self.names[name])]


@pytest.mark.parametrize(
    ("url", "root", "name", "found"),
    [
        ("ftp://host/d", "/d", "/d/a.wav", "ftp:/host/d/a.wav"),
        ("https://host/d", "https://host/d", "https://host/d/a.wav", "https:/host/d/a.wav"),
        ("https://host/d", "https://host/d", "https://other/a.wav", None),
        ("s3://bucket/d", "bucket/d", "bucket/d//a.wav", None),
    ],
)
def test_a_recording_keeps_its_host_or_is_refused(monkeypatch, url, root, name, found):
    system = Hosts({root: name})

    def url_to_fs(wanted):
        scheme, _, rest = wanted.partition("://")
        return system, {"ftp": "/" + rest.partition("/")[2], "https": wanted}.get(scheme, rest)

    monkeypatch.setattr(fsspec, "url_to_fs", url_to_fs)
    (one,) = walk_urls(url)
    if found is None:
        assert "leads elsewhere" in one.reason
    else:
        assert str(one.path) == found
        assert look_at_url(one.path) == one


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
        ("ftp://me:secret@host/d", "ftp://host/d: tables would show its password; give it to fsspec's own library"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(store, url, said):
    with pytest.raises(HtsatEdgeError, match=f"^{said}$"):
        list(walk_urls(url))


def test_a_missing_library_is_named(monkeypatch, store):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(HtsatEdgeError, match=r"^s3://bucket: Install s3fs"):
        list(walk_urls("s3://bucket"))
