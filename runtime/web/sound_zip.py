"""An enrolled sound as a ZIP: what `htsat-edge enroll --export` writes into a folder."""

from __future__ import annotations

import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.enrolment.recordings import LONGEST_S
from htsat_edge.runtime.models.sounds import KEPT_NAME
from htsat_edge.runtime.models.sounds import MOST_BYTES as MOST_FILE_BYTES

ENTRY = re.compile(rf"(?P<name>[a-z0-9][a-z0-9-]{{0,60}})(\.json|\.npz|/{KEPT_NAME.pattern})")
MOST_ENTRIES, MOST_BYTES = 1000, 200_000_000
"""Of a sound: files, what they hold together, which is also the most that a ZIP has."""
HIGHEST_HZ = 192_000


def pack(library: Library, label: str) -> IO[bytes]:
    """Return a sound as a ZIP, in a file without a name that is gone once it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  whoever sends it closes it
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(file, "w") as archive:
            whole = Path(folder) / "sound"
            library.export(label, whole)
            for path in sorted(whole.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(whole))
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Write the sound of a ZIP into a folder.

    Raises
    ------
    HtsatEdgeError
        It is no ZIP of one sound, or would hold more than a sound does.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            entries = [entry for entry in content.infolist() if not entry.is_dir()]
            _check_entries(entries)
            for entry in entries:
                path = folder / entry.filename
                path.parent.mkdir(exist_ok=True)
                with content.open(entry) as stream, path.open("xb") as file:
                    shutil.copyfileobj(stream, file)
        for path in folder.rglob("*.npz"):
            with zipfile.ZipFile(path) as head:
                if sum(entry.file_size for entry in head.infolist()) > MOST_FILE_BYTES:
                    raise HtsatEdgeError(f"{path.name}: is too large to be a sound's")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, OSError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split()) or "it breaks off"
        raise HtsatEdgeError(f"the ZIP cannot be read: {reason}") from None
    for path in folder.rglob("*.flac"):
        _check_recording(path)


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    """Raise an HtsatEdgeError where these are not the files of one sound."""
    wanted = "want the ZIP of a sound, as this page exports it"
    if len(entries) > MOST_ENTRIES or sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise HtsatEdgeError(f"the ZIP holds more than a sound does; {wanted}")
    names = [entry.filename for entry in entries]
    sounds = {found["name"] if (found := ENTRY.fullmatch(name)) else None for name in names}
    if len(sounds) != 1 or None in sounds or len(set(names)) < len(names) or f"{sounds.pop()}.json" not in names:
        raise HtsatEdgeError(f"the ZIP holds something else; {wanted}")


def _check_recording(path: Path) -> None:
    """Raise an HtsatEdgeError where a recording would be longer than any that is kept, once decoded."""
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError:
        raise HtsatEdgeError(f"{path.name}: is no recording") from None
    if info.channels != 1 or info.samplerate > HIGHEST_HZ or info.duration > max(LONGEST_S.values()):
        raise HtsatEdgeError(f"{path.name}: is no recording of a sound's")
