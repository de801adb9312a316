"""Write files and folders that appear whole or not at all.

What is new is written under a hidden name beside its target and takes the target's place at the end. Where anything
fails, everything stays as it was, and the error is one line. The hidden name cannot be foreseen, so that nobody can put
a link there, and it carries a mark, so that what a power cut has left of ours can be told from what is not.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError

PREFIX = ".replacing."
"""How the name of a folder begins in which several files wait for their places."""
PART_PREFIX, PART_SUFFIX = ".htsat-edge-", ".part"
"""Of the name of a file that waits for its place."""


def sha256_of(*paths: Path) -> str:
    """Return the hash of the content of files, one after the other; files may be larger than memory."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from every other one: its device and its number there."""
    status = path.lstat()
    return status.st_dev, status.st_ino


def is_part(path: Path) -> bool:
    """Return whether a file is one of ours that was not finished."""
    return path.name.startswith(PART_PREFIX) and path.name.endswith(PART_SUFFIX)


def begin_part(path: Path) -> tuple[Path, int]:
    """Make an empty file that is to take the place of `path`; return it with its permissions, which obey the umask."""
    part = path.with_name(f"{PART_PREFIX}{secrets.token_hex(8)}{path.suffix[:16]}{PART_SUFFIX}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        return part, stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def place_part(part: Path, path: Path) -> bool:
    """Give a file of `begin_part` that is finished the name `path`, unless that is taken; return whether it was free.

    Raises
    ------
    OSError
        It cannot be given, or somebody else has deleted the file.
    """
    try:
        os.link(part, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except (OSError, NotImplementedError):  # not every file system has hard links
        if os.path.lexists(path):
            return False
        part.replace(path)
    part.unlink(missing_ok=True)
    return True


def refuse_unwritable(path: Path) -> None:
    """Raise an HtsatEdgeError if `replacing` could not write the file `path`; for use before long work."""
    if path.is_dir():
        raise HtsatEdgeError(f"{path}: is a folder, want the name of a file")
    try:
        begin_part(path)[0].unlink()
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be written: {_reason(error)}") from None


def refuse_unwritable_folder(path: Path) -> None:
    """Raise an HtsatEdgeError if nothing could be written into the folder `path`, which may have to be made."""
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        begin_part(there / "file")[0].unlink()
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be written: {_reason(error)}") from None


def take_after(path: Path, like: os.stat_result) -> int:
    """Give a file the permissions and the owner of another; return the permissions, or raise an OSError."""
    mode = stat.S_IMODE(like.st_mode)
    path.chmod(mode & 0o600)
    if (like.st_uid, like.st_gid) != (path.stat().st_uid, path.stat().st_gid):
        os.chown(path, like.st_uid, like.st_gid)
    path.chmod(mode)
    return mode


@contextmanager
def replacing(path: Path, *errors: type[Exception], like: os.stat_result | None = None) -> Iterator[Path]:
    """Yield a path to write to; at the end the file there takes the place of `path`, in one move.

    Parameters
    ----------
    path
        The file to write. It may exist, but not as a folder.
    *errors
        Exceptions of the library that writes, to be reported like an OSError.
    like
        Permissions and owner are those of such a file, from before anything is written; by default as the umask has it.

    Raises
    ------
    HtsatEdgeError
        The file cannot be written. What was there is as it was.
    """
    with _reported(path, errors):
        part, mode = begin_part(path)
        try:
            if like is not None:
                mode = take_after(part, like)
            yield part
            part.chmod(mode)  # safetensors would have it read by its owner alone
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def replacing_several(folder: Path, names: Sequence[str], *errors: type[Exception]) -> Iterator[Path]:
    """Yield an empty folder to write into; at the end its entries take the places of those in `folder`, all or none.

    Each entry changes places in one move, in the order of `names`: the file that describes the others comes last. If
    the process is killed between two moves, some entries are new, and copies of the old ones are in a hidden folder
    beside them.

    Parameters
    ----------
    folder
        An existing folder.
    names
        The entries of `folder` that change. One that was not written is removed; all others are left alone.
    *errors
        Exceptions of the library that writes, to be reported like an OSError.

    Raises
    ------
    HtsatEdgeError
        An entry cannot be written. What was there is as it was, or the message says where it is.
    """
    with _staging(folder, names, folder, errors) as new:
        yield new


@contextmanager
def replacing_folder(path: Path, keep: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder to write into; at the end it takes the place of the folder `path`.

    Parameters
    ----------
    path
        The folder to write; its parents are made where they are missing. A link to a folder stays a link.
    keep
        Says of an entry of the old folder whether it is kept, unless a new one has its name.

    Raises
    ------
    HtsatEdgeError
        The folder cannot be written. What was there is as it was, or the message says where it is.
    """
    with _reported(path, ()):
        whole = path.resolve()
        whole.parent.mkdir(parents=True, exist_ok=True)
    with _staging(whole.parent, [whole.name], path, ()) as staged:
        new = staged / whole.name
        new.mkdir()
        yield new
        for entry in whole.iterdir() if whole.exists() else ():
            if keep(entry) and not os.path.lexists(new / entry.name):
                _copy(entry, new / entry.name)


@contextmanager
def _staging(folder: Path, names: Sequence[str], target: Path, errors: Sequence[type[Exception]]) -> Iterator[Path]:
    """Do what `replacing_several` says; errors name `target`."""
    work: Path | None = None
    try:
        with _reported(target, errors):
            work = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
            new, old = work / "new", work / "old"
            new.mkdir()
            old.mkdir()
            yield new
            written = [name for name in names if os.path.lexists(new / name)]
            for name in names:
                _save(folder / name, old / name, new / name)
            try:
                for name in names:
                    _change_places(folder / name, old / name, new / name)
            except BaseException as error:
                kept, work = work, None  # another interrupt may come while the old ones are put back
                if _put_back(folder, names, written, new, old):
                    work = kept
                else:
                    raise HtsatEdgeError(
                        f"{target}: cannot be written: {_reason(error)}; nor could everything be put back: what is "
                        f"missing is in {old}"
                    ) from None
                raise
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _save(target: Path, old: Path, new: Path) -> None:
    """Keep a second name, or a copy, of what a target holds. A folder that a folder replaces is moved later."""
    if not os.path.lexists(target) or (new.is_dir() and target.is_dir()):
        return
    try:
        os.link(target, old, follow_symlinks=False)
    except (OSError, NotImplementedError):  # not every file system has hard links
        shutil.copy2(target, old, follow_symlinks=False)


def _change_places(target: Path, old: Path, new: Path) -> None:
    if not os.path.lexists(new):
        target.unlink(missing_ok=True)
        return
    if new.is_dir() and target.is_dir():
        target.replace(old)
    new.replace(target)


def _put_back(folder: Path, names: Sequence[str], written: Sequence[str], new: Path, old: Path) -> bool:
    """Undo `_change_places` as far as it came; return whether everything is as it was."""
    whole = True
    for name in reversed(names):
        spare, moved = old / name, name in written and not os.path.lexists(new / name)
        try:
            if moved and (spare.is_dir() or not os.path.lexists(spare)):
                (folder / name).replace(new / name)
            if os.path.lexists(spare):
                spare.replace(folder / name)
        except OSError:
            whole = False
    return whole


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


@contextmanager
def _reported(path: Path, errors: Sequence[type[Exception]]) -> Iterator[None]:
    """Turn an OSError, or one of `errors`, into an HtsatEdgeError of one line."""
    caught: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except caught as error:
        raise HtsatEdgeError(f"{path}: cannot be written: {_reason(error)}; what was there is as it was") from None


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split()) or type(error).__name__
