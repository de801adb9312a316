"""Find what the columns of a manifest hold, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import SUFFIXES

SINGULAR = (
    *("class", "class_name", "classname", "category", "display_name", "label", "label_name", "event_label", "event"),
    *("sound", "sound_class", "sound_event", "scene_label", "tag", "word", "species", "common_name", "annotation"),
)
PLURAL = ("labels", "classes", "categories", "tags", "events", "display_names", "class_names", "label_names")
NAMES: Mapping[str, tuple[str, ...]] = {
    "file": (
        *("file", "path", "file_path", "filepath", "relative_path", "audio_path", "audio_filepath", "wav_path", "uri"),
        *("filename", "file_name", "fname", "audio_file", "audio_filename", "audio", "wav", "clip", "clip_name"),
        *("recording", "slice_file_name", "wav_file", "sound_file"),
    ),
    "class": (*SINGULAR, *PLURAL),
    "number": (
        *("target", "class_id", "classid", "class_index", "class_idx", "class_number", "label_id", "labelid"),
        *("label_index", "label_idx", "target_id", "category_id", "mid", "mids", "event_id", "tag_id"),
    ),
    "onset": ("onset", "start", "begin", "beginning", "t_start", "tmin"),
    "offset": ("offset", "end", "stop", "t_end", "tmax"),
    "duration": ("duration", "dur", "length"),
    "split": ("split", "set", "subset", "partition", "dataset_split", "data_split"),
    "fold": ("fold", "cv_fold", "fold_id"),
    "channel": ("channel",),
    "end_file": ("end_file",),
    "group": ("group", "speaker", "speaker_id", "src_file", "fsid", "session", "author", "uploader", "group_id"),
}
"""What each kind of column is called; of several, the first is taken. `number` is that of a class."""
SHOWN = {
    "file": "file, path, filename, fname, audio",
    "class": "class, category, label, labels, display_name, event_label, tags",
    "onset": "onset, start, begin",
    "offset": "offset, end",
    "split": "split, set, subset",
    "fold": "fold",
    "group": "group, speaker, src_file",
}
SECONDS = {"s", "sec", "secs", "second", "seconds", "time", "timestamp"}
TIMES = {"onset", "offset", "start", "end", "begin", "stop"}
STRONG = ("filename", "onset", "offset", "event_label")
"""Those of tables of DESED and DCASE, where a row with nothing but the file says that nothing sounds."""
SCAN = ("file", "channel", "label", "onset", "offset")
"""Those of `htsat-edge scan`, which writes a row for each class."""
DECISIVE = {"is_test", "is_train", "is_val", "is_valid", "present", "absent"}
"""Columns that would change what a row means."""
OTHER_UNITS = {"ms", "msec", "millis", "millisecond", "milliseconds", "sample", "samples", "frame", "frames"}


@dataclass(frozen=True)
class Columns:
    """Where each kind of column stands."""

    header: tuple[str, ...]
    by_kind: Mapping[str, tuple[int, ...]]
    """The places of the columns of each kind, the first choice first."""

    def first(self, kind: str) -> int | None:
        """Return the place of the column to take."""
        found = self.by_kind.get(kind, ())
        return found[0] if found else None

    @property
    def plain(self) -> set[str]:
        """The names of the columns in lower case."""
        return {name.lower() for name in self.header}

    @property
    def unknown(self) -> list[str]:
        """The names of the columns that are of no kind."""
        known = {place for places in self.by_kind.values() for place in places}
        return [name for place, name in enumerate(self.header) if place not in known]


def find_columns(path: Path, header: Sequence[str]) -> Columns:
    """Return what the columns of a table are.

    Raise an HtsatEdgeError, which lists those that are there and those that are known, where there is none of files;
    and one where there is a time in another unit than seconds.
    """
    plain = [_plain(name) for name in header]
    for name, column in zip(header, plain, strict=True):
        if TIMES & {*column.split("_")} and OTHER_UNITS & {*column.split("_")}:
            raise HtsatEdgeError(f"{path}: has the column '{name}'; want times in seconds")
    by_kind = {
        kind: tuple(sorted((i for i, name in enumerate(plain) if name in names), key=lambda i: names.index(plain[i])))
        for kind, names in NAMES.items()
    }
    if not by_kind["class"]:  # numbers, or names in a column that others keep numbers in
        by_kind |= {"class": by_kind["number"][:1], "number": by_kind["number"][1:]}
    columns = Columns(tuple(header), by_kind)
    if columns.first("file") is None:
        raise unknown_columns(path, header, "no column of files")
    for name in columns.unknown:
        if columns.first("onset") is None and TIMES & {*_plain(name).split("_")}:
            raise HtsatEdgeError(f"{path}: has the column '{name}'; call it onset or offset, or take it out")
        if _plain(name) in DECISIVE:
            raise HtsatEdgeError(f"{path}: has the column '{name}'; say it in a column split or class, or take it out")
    return columns


def unknown_columns(path: Path, header: Sequence[str], what: str) -> HtsatEdgeError:
    """Return the error for a table whose columns are not known."""
    known = "; ".join(f"{kind}: {names}" for kind, names in SHOWN.items())
    return HtsatEdgeError(f"{path}: has {what}; its columns are {', '.join(header) or 'none'}; known are {known}")


def is_header(cells: Sequence[str]) -> bool:
    """Return whether the first row of a table names its columns: one that is of files, or else is known."""
    plain = [_plain(cell) for cell in cells]
    named = any(name in names for name in plain for names in NAMES.values())
    return named and not any(is_recording(cell) for cell in cells)


def is_plural(name: str) -> bool:
    """Return whether a column of classes may hold several in a cell."""
    return _plain(name) in PLURAL


def is_recording(cell: str) -> bool:
    """Return whether a cell has the name of a recording."""
    return any(cell.lower().endswith(suffix) for suffix in SUFFIXES)


def _plain(name: str) -> str:
    """Return a column's name in lower case, with underscores, and without the unit of seconds."""
    words = [word for word in re.split(r"[\W_]+", name.strip().casefold()) if word]
    if words and words[0] in ("onset", "offset", "start", "end", "begin", "stop", "duration", "length"):
        words = [word for word in words if word not in SECONDS]
    return "_".join(words)
