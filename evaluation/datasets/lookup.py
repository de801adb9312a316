"""Find the recordings that a table names, in whatever folder they lie and in whatever format."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

from htsat_edge.evaluation.datasets.files import Files, list_files
from htsat_edge.evaluation.labels import is_there
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import SUFFIXES


class Lookup:
    """Recordings by their names; people convert and move what they download."""

    def __init__(self, files: Files, beside: Path) -> None:
        """Take the recordings among the files, or, where only tables were named, those in the folder `beside`."""
        self.files = files if files.recordings else list_files([beside])
        self._anywhere = not files.recordings
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._taken: dict[Path, str] = {}
        self._folders: dict[Path, tuple[str, str]] = {}
        for path in self.files.recordings:
            self._by_stem[stem(path.name)].append(path)

    def __len__(self) -> int:
        """Return how many recordings there are."""
        return len(self.files.recordings)

    def find(
        self, where: str, name: str, near: Collection[str] = (), fits: Callable[[Path], bool] | None = None
    ) -> Path | None:
        """Return the recording of a name, or None where there is none.

        Parameters
        ----------
        where
            Who names it, for messages.
        name
            With or without folders and a suffix, which may be that of another format. A path that is there is taken
            as it is where only tables were named.
        near
            Names of folders: where there are several recordings of the name, it is the one that has most of them in its
            path; one in a folder below another is a copy of it.
        fits
            Whether a recording of that name may be meant; by default each may.

        Raises
        ------
        HtsatEdgeError
            Several are equally near.
        """
        named = name.replace("\\", "/").split("/")
        if self._anywhere and Path(name).is_absolute() and is_there(Path(name)):
            return Path(name)
        found = [path for path in self._by_stem.get(stem(named[-1]), ()) if fits is None or fits(path)]
        if not found:
            return None
        folders = {*near, *named[:-1]}

        def nearness(path: Path) -> tuple[int, bool]:
            return len(folders.intersection(path.parts[:-1])), path.name == named[-1]

        found.sort(key=nearness, reverse=True)
        nearest = [path for path in found if nearness(path) == nearness(found[0])]
        first = min(nearest, key=lambda path: len(path.parts))
        for other in nearest:
            if other != first and first.parent not in other.parents[1:]:
                raise HtsatEdgeError(f"{where} names {name}, which is both {first} and {other}; leave one of them out")
        if len(named) > 1:
            folder, earlier, by = named[-2], *self._folders.setdefault(first, (named[-2], where))
            if folder != earlier:
                raise HtsatEdgeError(
                    f"{where} names {name}, and {by} one in {earlier}, but {first} is there alone; leave one out"
                )
        return first

    def take(self, where: str, name: str, near: Collection[str]) -> Path | None:
        """Return the recording of a row, as `find` does; raise an HtsatEdgeError where an earlier row has taken it."""
        path = self.find(where, name, near)
        if path is not None and (earlier := self._taken.setdefault(path, where)) != where:
            raise HtsatEdgeError(f"{where} names {name}, as {earlier} does; leave one of them out")
        return path

    def none_of(self, where: Path | str, named: int) -> HtsatEdgeError:
        """Return the error for tables of whose recordings none is there."""
        return HtsatEdgeError(
            f"{where}: none of its {named} recordings is in {self.files}, which holds {len(self)} of other names"
        )


def stem(name: str) -> str:
    """Return a file name in composed form (NFC), without the suffix of a recording; other dots belong to the name."""
    suffix = Path(name).suffix
    return unicodedata.normalize("NFC", name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name)
