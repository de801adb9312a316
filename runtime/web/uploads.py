"""Recordings that a browser has sent, until a sound is learned from them: few, short, and not for long."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.dsp.audio import SUFFIXES
from htsat_edge.runtime.enrolment.recordings import take_recording

PREFIX = "htsat-edge-uploads-"
"""Of the name of the folder they are kept in."""
MOST = 50
"""At a time, with those that are coming."""
KEPT_S = 3600.0
HEAD = 4096
"""Bytes within which whatever holds audio has a zero."""


@dataclass(frozen=True)
class Upload:
    """A recording, as a sound is learned from it."""

    id: str
    name: str
    """As the browser calls the file."""
    path: Path
    seconds: float
    at_s: float
    """When it came, by the monotonic clock."""


class Uploads:
    """The recordings of a page; a folder of its own holds them until they are used, old, or the page ends."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._folder: Path | None = None
        self._kept: dict[str, Upload] = {}
        self._coming: dict[str, Path] = {}
        """Where those are written that have not come whole."""
        self._changing = threading.Lock()

    def begin(self, name: str) -> tuple[str, Path]:
        """Return an id, and the file to write a recording to that a browser calls `name`; `end` must follow.

        Raise an HtsatEdgeError where there are too many already, or none can be kept.
        """
        with self._changing:
            self._expire()
            if len(self._kept) + len(self._coming) >= MOST:
                raise HtsatEdgeError(f"{MOST} recordings wait already; learn a sound from them, or delete some")
            try:
                if self._folder is None or not self._folder.is_dir():
                    _remove_left()
                    self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            except OSError as error:
                raise HtsatEdgeError(f"no recording can be kept here: {error.strerror}") from None
            token, suffix = secrets.token_hex(16), PurePath(name).suffix.lower()
            path = self._folder / f"coming-{token}{suffix if suffix in SUFFIXES else ''}"
            self._coming[token] = path
        return token, path

    def keep(self, token: str, name: str, sample_rate: int) -> Upload:
        """Keep a recording that has come, at the model's rate in Hz; raise an HtsatEdgeError where it is none."""
        came, shown = self._coming[token], visible(PurePath(name).name)[:100] or "the recording"
        try:
            _refuse_text(came)
            with tempfile.TemporaryDirectory(dir=came.parent) as folder:
                taken = take_recording(came, "positive", sample_rate, Path(folder))
                path = taken.path.replace(came.with_name(f"{token}.flac"))
        except HtsatEdgeError as error:
            raise HtsatEdgeError(f"{shown}: {str(error).removeprefix(f'{came}: ')}") from None
        except OSError as error:
            raise HtsatEdgeError(f"{shown}: cannot be kept: {error.strerror}") from None
        upload = Upload(token, shown, path, taken.seconds, time.monotonic())
        with self._changing:
            self._kept[token] = upload
        return upload

    def end(self, token: str) -> None:
        """Delete what has come, if it was not kept."""
        with self._changing:
            path = self._coming.pop(token)
        path.unlink(missing_ok=True)

    def find(self, tokens: Iterable[str]) -> list[Upload]:
        """Return some; raise an HtsatEdgeError where one is not there."""
        with self._changing:
            self._expire()
            found = {token: self._kept.get(token) for token in tokens}
        uploads = [upload for upload in found.values() if upload is not None]
        if missing := len(found) - len(uploads):
            raise HtsatEdgeError(f"uploads: {missing} of them are gone, as after an hour they are; send them again")
        return uploads

    def remove(self, tokens: Iterable[str]) -> int:
        """Delete some; return how many there were."""
        with self._changing:
            gone = [upload for token in tokens if (upload := self._kept.pop(token, None)) is not None]
        for upload in gone:
            upload.path.unlink(missing_ok=True)
        return len(gone)

    def close(self) -> None:
        """Delete all."""
        with self._changing:
            self._kept.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def expire(self) -> None:
        """Delete what has waited for too long."""
        with self._changing:
            self._expire()

    def _expire(self) -> None:
        old_s = time.monotonic() - KEPT_S
        for upload in [upload for upload in self._kept.values() if upload.at_s < old_s]:
            del self._kept[upload.id]
            upload.path.unlink(missing_ok=True)


def _refuse_text(path: Path) -> None:
    """Raise an HtsatEdgeError where a file is text, which is said before anything decodes it."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head and b"\0" not in head:
        raise HtsatEdgeError("is text, want a recording")


def _remove_left() -> None:
    """Delete what a page that was killed has left: nothing of it is used after so long."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            age_s = time.time() - folder.lstat().st_mtime
        except OSError:
            continue
        if age_s > 2 * KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)
