"""Walks find the recordings of an archive, in an order that does not change, whatever else lies there."""

import glob
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.archive import walk as module
from htsat_edge.runtime.archive.records import ArchiveFile
from htsat_edge.runtime.archive.walk import Unreadable, common_folder, look_at, walk
from htsat_edge.runtime.common.errors import HtsatEdgeError


@pytest.fixture
def archive(tmp_path):
    """Make files of so many bytes each, and the folders that they lie in."""

    def make(*names):
        for count, name in enumerate(names, 1):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(count))
        return tmp_path

    return make


def names(root, found):
    """Paths from a root on; what is unreadable with a ! before it."""
    return ["!" * isinstance(one, Unreadable) + str(one.path.relative_to(root)) for one in found]


def test_recordings_by_name_in_the_order_of_names(archive):
    root = archive("b/2.wav", "b/1.FLAC", "a.mp3", "c.W64", "notes.txt", "b/CONFIG.TXT", "b/deep/er/x.opus")
    assert names(root, walk([root])) == ["a.mp3", "b/1.FLAC", "b/2.wav", "b/deep/er/x.opus", "c.W64"]


def test_size_and_time_of_change(archive):
    root = archive("a.wav", "b.wav")
    os.utime(root / "b.wav", ns=(0, 1_234_567_890_123_456_789))
    assert list(walk([root]))[1] == ArchiveFile(root / "b.wav", 2, 1_234_567_890_123_456_789)
    assert look_at(root / "b.wav") == list(walk([root]))[1]


def test_a_time_of_change_that_no_journal_can_keep(archive):
    root = archive("a.wav")

    class Late:
        st_size, st_mtime_ns = 1, 15_000_000_000 * 10**9

    assert module._archive_file(root / "a.wav", Late).mtime_ns == 2**63 - 1


def test_hidden_files_our_own_parts_and_folders_of_systems_are_left_out(archive):
    hidden = ("._a.wav", ".hidden.wav", ".git/a.wav", ".htsat-edge-0123456789abcdef.wav.part")
    systems = ("$RECYCLE.BIN/a.wav", "System Volume Information/a.wav", "lost+found/a.wav", "x/@eaDir/a.wav")
    systems += ("GUANO_BACKUP/a.wav",)
    root = archive("a.wav", *hidden, *systems)
    assert names(root, walk([root])) == ["a.wav"]


def test_what_is_named_itself_is_taken_whatever_it_is_called(archive, monkeypatch):
    root = archive("a.raw", "b/.hidden/c.wav")
    monkeypatch.chdir(root)
    assert names(root, walk([Path("a.raw"), Path("b/.hidden")])) == ["a.raw", "b/.hidden/c.wav"]
    assert [one.path for one in walk([Path("b/../a.raw")])] == [root / "a.raw"]


def test_names_with_newlines_and_bytes_that_are_no_text(archive):
    odd = ["new\nline.wav", os.fsdecode(b"caf\xe9.wav"), "tab\t.wav", "ünï.wav"]
    root = archive(*odd)
    assert names(root, walk([root])) == sorted(odd, key=os.fsencode)


def test_links_are_followed_but_never_round_in_a_circle_nor_twice(archive):
    root = archive("a/1.wav", "b/2.wav")
    outside = root / "b" / "up"
    outside.symlink_to(root, target_is_directory=True)
    (root / "c").symlink_to(root / "a", target_is_directory=True)
    (root / "d.wav").symlink_to(root / "a" / "1.wav")
    (root / "loop.wav").symlink_to(root / "loop.wav")
    (root / "gone.wav").symlink_to(root / "nowhere.wav")
    (root / "gone").symlink_to(root / "nowhere")
    found = list(walk([root]))
    assert names(root, found) == ["a/1.wav", "b/2.wav", "d.wav", "!gone.wav", "!loop.wav"]
    assert [one.reason for one in found if isinstance(one, Unreadable)] == [
        "is a link to what is not there",
        "cannot be read: Too many levels of symbolic links",
    ]


def test_a_pipe_is_no_recording_and_nobody_waits_for_it(archive):
    root = archive("a.wav")
    os.mkfifo(root / "b.wav")
    found = []
    thread = threading.Thread(target=lambda: found.extend(walk([root])), daemon=True)
    thread.start()
    thread.join(60)
    assert names(root, found) == ["a.wav", "!b.wav"]
    with pytest.raises(HtsatEdgeError, match=r"b\.wav: is no folder and no regular file"):
        walk([root / "b.wav"])


def test_a_folder_that_may_not_be_read_is_named_and_the_others_are_walked(archive, monkeypatch):
    root = archive("a/1.wav", "b/2.wav", "c/3.wav")
    real = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(walk([root]))
    assert names(root, found) == ["a/1.wav", "!b", "c/3.wav"]
    assert found[1].reason == "cannot be read: Permission denied"


def test_what_is_deleted_during_the_walk_is_not_there(archive):
    root = archive("a.wav", "b.wav", "c/d.wav", "e.wav")
    walking = walk([root])
    first = next(walking)
    (root / "b.wav").unlink()
    (root / "c" / "d.wav").unlink()
    (root / "c").rmdir()
    assert names(root, [first, *walking]) == ["a.wav", "e.wav"]


def test_folders_that_are_nested_deeper_than_calls_may_be(tmp_path):
    folders = [tmp_path]
    for _ in range(1100):
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    (folders[-1] / "a.wav").write_bytes(b"1")
    try:
        assert [one.path for one in walk([tmp_path])] == [folders[-1] / "a.wav"]
        assert [one.path for one in walk([tmp_path / "**" / "*.wav"])] == [folders[-1] / "a.wav"]
    finally:
        (folders[-1] / "a.wav").unlink()
        for folder in reversed(folders[1:]):
            folder.rmdir()


def test_the_results_are_not_walked_by_whatever_path(archive):
    root = archive("a.wav", "results/clip.wav", "other/b.wav")
    (root / "same").symlink_to(root / "results", target_is_directory=True)
    assert names(root, walk([root], skip=[root / "other" / ".." / "results"])) == ["a.wav", "other/b.wav"]
    assert len(list(walk([root], skip=[root / "not made yet"]))) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include": ["*.WAV"]}, ["site1/a.wav", "site1/old/b.wav", "site2/c.Wav"]),
        ({"include": ["site1/*"]}, ["site1/a.wav", "site1/d.mp3", "site1/old/b.wav"]),
        ({"exclude": ["old"]}, ["site1/a.wav", "site1/d.mp3", "site2/c.Wav"]),
        ({"exclude": ["site1/old"]}, ["site1/a.wav", "site1/d.mp3", "site2/c.Wav"]),
        ({"exclude": ["*.mp3", "site2/*"]}, ["site1/a.wav", "site1/old/b.wav"]),
        ({"include": ["*.wav"], "exclude": ["SITE1"]}, ["site2/c.Wav"]),
    ],
)
def test_include_and_exclude(archive, options, expected):
    root = archive("site1/a.wav", "site1/old/b.wav", "site1/d.mp3", "site2/c.Wav")
    assert names(root, walk([root], **options)) == expected


def test_what_is_excluded_is_not_even_listed(archive, monkeypatch):
    root = archive("a/1.wav", "b/2.wav", "c/3.wav")
    listed, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or real(path))
    assert names(root, walk([root / "[ab]" / "*.wav"], exclude=["b"])) == ["a/1.wav"]
    assert listed == [root.name, "a"]


PARTS = st.sampled_from(["*", "**", "a", "a*", "?", "*.wav", "[ab]"])


@given(pattern=st.lists(PARTS, min_size=1, max_size=4))
def test_patterns_match_what_the_shell_would(tmp_path_factory, pattern):
    """The shell names files and folders; what lies in such a folder is wanted, too."""
    root = tmp_path_factory.getbasetemp() / "patterns"
    if not root.exists():
        for name in ("1.wav", "a/1.wav", "a/b/1.wav", "a/b/c/2.wav", "ab/1.wav", "b/a/2.wav", "b/b/b/1.wav"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"")
    if not any(letter in part for part in pattern for letter in "*?["):
        pattern = [*pattern, "*"]
    matched = [Path(path) for path in glob.glob(str(root.joinpath(*pattern)), recursive=True)]  # noqa: PTH207
    expected = {file for path in matched for file in [path, *path.rglob("*")] if file.is_file()}
    try:
        assert {one.path for one in walk([root.joinpath(*pattern)])} == expected
    except HtsatEdgeError:  # the part before the first * is not there
        assert expected == set()


def test_a_name_with_brackets_that_exists_is_no_pattern(archive):
    root = archive("[2026]/a.wav", "2/b.wav")
    assert names(root, walk([root / "[2026]"])) == ["[2026]/a.wav"]
    assert names(root, walk([root / "[2026]" / "*.wav"])) == ["[2026]/a.wav"]
    with pytest.raises(HtsatEdgeError, match=r"b\.wav: no such file"):
        walk([root / "[2026]" / "b.wav"])


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("nothing", "nothing: no such file or folder"),
        ("nothing/*.wav", "*.wav: no such file or folder"),
        ("a.wav/*", "a.wav: is no folder"),
        ("a.wav/b", "cannot be read: Not a directory"),
        ("a\0b", "cannot be read: embedded null byte"),
    ],
)
def test_a_root_that_is_not_there_is_an_error_before_the_walk(archive, root, reason):
    there = archive("a.wav")
    with pytest.raises(HtsatEdgeError, match=re.escape(reason)):
        walk([there, there / root])


def test_the_common_folder(archive):
    root = archive("x/a/1.wav", "x/b/2.wav", "y/3.wav")
    assert common_folder([root / "x" / "a"]) == root / "x" / "a"
    assert common_folder([root / "x" / "a" / "1.wav"]) == root / "x" / "a"
    assert common_folder([root / "x" / "a", root / "x" / "b" / "*.wav"]) == root / "x"
    assert common_folder([root / "x" / "a", root / "y" / "3.wav"]) == root
