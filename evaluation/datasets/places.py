"""Find the recordings that a manifest names."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import SUFFIXES

BESIDE = ("audio", "clips", "recordings", "sounds", "wav", "wavs", "../audio", "../clips")
"""The folders, beside a manifest, that its names may be relative to."""


class Places:
    """Where the recordings of a manifest are: beside it, in a folder of audio, or in folders that were named, too."""

    def __init__(self, manifest: Path, folders: Sequence[Path] = ()) -> None:
        """Take the manifest's place, and the folders in which to look next."""
        self._home = manifest.parent
        self._folders = folders
        self._roots = [manifest.parent, *folders, *(Path(os.path.normpath(manifest.parent / name)) for name in BESIDE)]
        self._listing = cache(_list_names)
        self._found: dict[str, Path] = {}

    def find(self, where: str, name: str) -> Path:
        """Return the path of a recording, or where it would be beside the manifest if it is in no place.

        Parameters
        ----------
        where
            Who names it, for messages.
        name
            Absolute or relative, with slashes or backslashes, with or without the suffix of a recording.

        Raises
        ------
        HtsatEdgeError
            A name without suffix stands for several recordings.
        """
        if name not in self._found:  # a recording has a row for each of its sounds
            self._found[name] = self._find(where, name)
        return self._found[name]

    def _find(self, where: str, name: str) -> Path:
        forms = [name, name.replace("\\", "/")] if "\\" in name else [name]
        for form in forms:
            for root in [Path()] if Path(form).is_absolute() else self._roots:
                path = root / form
                if (
                    found := self._look(where, Path(os.path.normpath(path)) if ".." in path.parts else path)
                ) is not None:
                    return found
        return self._find_moved(where, forms[-1]) or self._home / forms[-1]

    def _find_moved(self, where: str, name: str) -> Path | None:
        """Return the recording whose folders have the last names of a path, in a folder that was named."""
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        tails = [Path(*parts[start:]) for start in range(len(parts))]
        found = (self._look(where, folder / tail) for tail in tails for folder in self._folders)
        return next((path for path in found if path is not None), None)

    def _look(self, where: str, path: Path) -> Path | None:
        """Return the file at a path, whose name may lack its suffix or be written in another form of Unicode."""
        names, stems = self._listing(path.parent)
        name = unicodedata.normalize("NFC", path.name)
        if name in names:
            return path.parent / names[name]
        found = stems.get(name, [])
        if len(found) > 1:
            raise HtsatEdgeError(f"{where} names {path.name}, which is both {found[0]} and {found[1]}; give the suffix")
        return path.parent / found[0] if found else None


def _list_names(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the names in a folder by their composed form, and those of recordings by it without suffix."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}, {}
    stems = defaultdict(list)
    for name in names:
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
            stems[unicodedata.normalize("NFC", Path(name).stem)].append(name)
    return {unicodedata.normalize("NFC", name): name for name in names}, dict(stems)
