"""Faults are injected at every move: nothing is lost, and nothing that is not ours is touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import (
    is_part,
    refuse_unwritable,
    refuse_unwritable_folder,
    replacing,
    replacing_folder,
    replacing_several,
)

FULL = OSError(28, "No space left on device")


def contents(folder):
    """Return what a folder holds at any depth, by path; links as what they point at."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def put(folder, /, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# One file


def test_a_file_is_there_whole_when_all_is_written(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_umask_is_obeyed_and_no_link_is_followed(umask, tmp_path):
    """Whoever may write into the folder cannot foresee the name of what is written first."""
    path, theirs = tmp_path / "a.txt", put(tmp_path / "theirs", key="secret") / "key"
    (tmp_path / ".a.txt.part").symlink_to(theirs)
    before = os.umask(umask)
    try:
        refuse_unwritable(path)
        with replacing(path) as part:
            assert part.name.startswith(".htsat-edge-")
            assert is_part(part)
            part.write_text("new")
            part.chmod(0o600)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert contents(tmp_path) == {".a.txt.part": f"-> {theirs}", "a.txt": "new", "theirs/key": "secret"}
    assert not is_part(tmp_path / ".a.txt.part")


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path):
    path = tmp_path / ("a" * 200 + "." + "b" * 54)
    with replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"


def write(path, error, *errors):
    with replacing(path, *errors) as part:
        part.write_text("half")
        raise error


@pytest.mark.parametrize("error", [FULL, ValueError("the\nlibrary's own")])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(HtsatEdgeError) as raised:
        write(path, error, ValueError)
    reason = "No space left on device" if isinstance(error, OSError) else "the library's own"
    assert str(raised.value) == f"{path}: cannot be written: {reason}; what was there is as it was"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_no_failure_of_writing_goes_on_its_way(tmp_path, error):
    with pytest.raises(error):
        write(tmp_path / "a.txt", error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path):
    put(tmp_path, a__precious="thesis")
    with pytest.raises(HtsatEdgeError, match="a: cannot be written: Is a directory"), replacing(tmp_path / "a") as part:
        part.write_text("new")
    assert contents(tmp_path) == {"a/precious": "thesis"}


def test_no_folder_to_write_into_is_one_line(tmp_path):
    for target in (tmp_path / "absent" / "a", put(tmp_path, file="") / "file" / "a", Path("/proc/nowhere/a")):
        with pytest.raises(HtsatEdgeError, match="a: cannot be written: "), replacing(target) as part:
            part.write_text("new")


def test_what_cannot_be_written_is_known_before(tmp_path):
    refuse_unwritable(tmp_path / "a")
    with pytest.raises(HtsatEdgeError, match="is a folder, want the name of a file"):
        refuse_unwritable(tmp_path)
    with pytest.raises(HtsatEdgeError, match="a: cannot be written: No such file or directory"):
        refuse_unwritable(tmp_path / "absent" / "a")
    refuse_unwritable_folder(tmp_path / "to" / "be" / "made")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HtsatEdgeError, match="nowhere: cannot be written: "):
        refuse_unwritable_folder(Path("/proc/nowhere"))


# Several entries of a folder


NAMES = ("changed", "added", "removed", "folder", "absent", "last")
OLD = {"changed": "old", "removed": "old", "folder__old": "old", "last": "old", "foreign": "theirs"}
AFTER = {"added": "new", "changed": "new", "folder/new": "new", "foreign": "theirs", "last": "new"}


def exchange(folder, error=None):
    with replacing_several(folder, NAMES) as new:
        put(new, changed="new", added="new", folder__new="new", last="new", foreign="not one of the names")
        assert (folder / "last").read_text() == "old"
        if error is not None:
            raise error


@pytest.fixture
def folder(tmp_path):
    return put(tmp_path / "folder", **OLD)


def fail_at(monkeypatch, *moves, error=FULL):
    """Let the moves of these numbers fail; return the list of all that were tried."""
    tried = []
    for method in ("replace", "unlink"):
        original = getattr(Path, method)

        def fails(path, *arguments, original=original, **options):
            tried.append(path)
            if len(tried) - 1 in moves:
                raise error
            return original(path, *arguments, **options)

        monkeypatch.setattr(Path, method, fails)
    return tried


def test_several_change_places_together(folder):
    exchange(folder)
    assert contents(folder) == AFTER


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_all_of_them(folder, error):
    before = contents(folder)
    with pytest.raises((HtsatEdgeError, KeyboardInterrupt)) as raised:
        exchange(folder, error)
    if error is FULL:
        assert str(raised.value) == (
            f"{folder}: cannot be written: No space left on device; what was there is as it was"
        )
    assert contents(folder) == before


@pytest.mark.parametrize("number", range(7))
def test_a_failure_at_any_move_leaves_all_of_them(number, folder, monkeypatch):
    before = contents(folder)
    with monkeypatch.context() as patch:
        fail_at(patch, number)
        with pytest.raises(HtsatEdgeError, match="No space left on device; what was there is as it was"):
            exchange(folder)
    assert contents(folder) == before


def test_a_folder_takes_two_moves_and_every_other_name_one(folder, monkeypatch):
    tried = fail_at(monkeypatch)
    exchange(folder)
    assert len(tried) == 7  # as many as the test above lets fail


def test_a_second_interrupt_while_the_old_ones_are_put_back_loses_nothing(folder, monkeypatch):
    before = contents(folder)
    with monkeypatch.context() as patch:
        fail_at(patch, 3, 4, error=KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            exchange(folder)
    (kept,) = folder.glob(".replacing.*/old")
    there = {name: text for name, text in contents(folder).items() if not name.startswith(".")}
    assert before.items() <= {**there, **contents(kept)}.items()  # beside what was added


def test_a_failure_that_cannot_be_undone_says_where_everything_is(folder, monkeypatch):
    before = contents(folder)
    with monkeypatch.context() as patch:
        fail_at(patch, 6, 7)  # the last move, and taking it back
        with pytest.raises(HtsatEdgeError) as raised:
            exchange(folder)
    (kept,) = folder.glob(".replacing.*/old")
    assert str(raised.value) == (
        f"{folder}: cannot be written: No space left on device; nor could everything be put back: what is missing is "
        f"in {kept}"
    )
    there = {name: text for name, text in contents(folder).items() if not name.startswith(".")}
    assert {**there, **contents(kept)} == before


def test_a_file_in_the_place_of_a_folder_is_refused(folder):
    (folder / "changed").unlink()
    put(folder, changed__precious="thesis")
    before = contents(folder)
    with pytest.raises(HtsatEdgeError, match="cannot be written: Is a directory; what was there is as it was"):
        exchange(folder)
    assert contents(folder) == before


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / "folder" / "old").unlink()
    (folder / "folder").rmdir()
    (folder / "folder").write_text("precious")
    before = contents(folder)
    with pytest.raises(HtsatEdgeError, match="cannot be written: Not a directory; what was there is as it was"):
        exchange(folder)
    assert contents(folder) == before


def test_links_are_put_back_as_links(folder, monkeypatch):
    (folder / "changed").unlink()
    (folder / "changed").symlink_to("foreign")
    before = contents(folder)
    assert before["changed"] == "-> foreign"
    fail_at(monkeypatch, 6)
    with pytest.raises(HtsatEdgeError):
        exchange(folder)
    assert contents(folder) == before


def test_without_hard_links_copies_serve(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    before = contents(folder)
    with monkeypatch.context() as patch:
        fail_at(patch, 5)
        with pytest.raises(HtsatEdgeError):
            exchange(folder)
    assert contents(folder) == before
    exchange(folder)
    assert contents(folder) == AFTER


KILLED = """
import os, sys
from pathlib import Path
from htsat_edge.runtime.common.files import replacing_several
replace, number = Path.replace, int(sys.argv[2])
def killed(path, target):
    global number
    if number == 0:
        os._exit(9)
    number -= 1
    return replace(path, target)
Path.replace = killed
with replacing_several(Path(sys.argv[1]), ["a", "b", "c"]) as new:
    for name in "abc":
        (new / name).write_text("new")
"""


@pytest.mark.parametrize("number", range(3))
def test_a_kill_between_two_moves_loses_nothing(number, tmp_path):
    put(tmp_path, a="old", b="old", c="old")
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path, str(number)], check=False).returncode == 9
    assert [(tmp_path / name).read_text() for name in "abc"] == ["new"] * number + ["old"] * (3 - number)
    (kept,) = tmp_path.glob(".replacing.*/old")
    assert contents(kept) == {"a": "old", "b": "old", "c": "old"}
    with replacing_several(tmp_path, ["a", "b", "c"]) as new:
        put(new, a="newer", b="newer", c="newer")
    assert [(tmp_path / name).read_text() for name in "abc"] == ["newer"] * 3


# A whole folder


def replace_folder(path, error=None):
    with replacing_folder(path, lambda entry: entry.name != "made") as new:
        put(new, model="new")
        if error is not None:
            raise error


def test_a_folder_takes_the_place_of_another(tmp_path):
    path = put(
        tmp_path / "a" / "folder", model="old", made__x="old", made__y="old", notes__card="theirs", card="theirs"
    )
    (path / "link").symlink_to("card")
    replace_folder(path)
    assert contents(path) == {"card": "theirs", "link": "-> card", "model": "new", "notes/card": "theirs"}
    assert list(path.parent.iterdir()) == [path]


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    replace_folder(tmp_path / "a" / "b" / "folder")
    assert contents(tmp_path) == {"a/b/folder/model": "new"}


def test_a_link_to_a_folder_stays_one(tmp_path):
    put(tmp_path / "folder", model="old")
    (tmp_path / "link").symlink_to("folder")
    replace_folder(tmp_path / "link")
    assert contents(tmp_path) == {"folder/model": "new", "link": "-> folder"}


@pytest.mark.parametrize("move", [None, 0, 1])
def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(move, tmp_path, monkeypatch):
    path = put(tmp_path / "folder", model="old", card="theirs")
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        if move is not None:
            fail_at(patch, move)
        with pytest.raises(HtsatEdgeError) as raised:
            replace_folder(path, FULL if move is None else None)
    assert str(raised.value) == f"{path}: cannot be written: No space left on device; what was there is as it was"
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    put(tmp_path, file="precious")
    for path in (tmp_path / "file" / "folder", tmp_path / "file", Path("/proc/nowhere/folder")):
        with pytest.raises(HtsatEdgeError, match=f"{path}: cannot be written: "):
            replace_folder(path)
    assert contents(tmp_path) == {"file": "precious"}
