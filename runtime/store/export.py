"""Export what people say of events as labelled recordings: clips, and a manifest that training and tuning read.

A clip is exported where somebody has judged every event in it: only then is it known what sounds in it, and that
nothing else does. Clips that overlap are cut, so that nothing is both learned from and measured on.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple

import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing_folder
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.store.judged import ClipContent
from htsat_edge.runtime.store.reader import StoreReader

COLUMNS = ("file", "onset", "offset", "class", "group")
MANIFEST, AUDIO = "manifest.csv", "audio"
BACKGROUND = "background"
"""The class of a clip in which nothing sounds that has one."""
GONE = "clips that are gone"


class ManifestRow(NamedTuple):
    """A sound in a clip, or that there is none; named as the columns of a manifest are, but for the class."""

    clip: str
    onset: float | None
    """Seconds from the beginning of the clip; None where nothing sounds."""
    offset: float | None
    label: str
    group: str
    """Of its own, since no other clip has heard the same."""


class ClipPart(NamedTuple):
    """A clip, or what is left of it where others have heard the same."""

    name: str
    path: Path
    begin_s: float = 0.0
    """In seconds of the clip."""
    end_s: float | None = None
    """None: all of it."""

    @classmethod
    def of(cls, whole: ClipContent, part: ClipContent, path: Path) -> ClipPart:
        """Return what a part of a clip is of its file."""
        end_s = None if part.offset == whole.offset else part.offset - whole.onset
        return cls(whole.name, path, part.onset - whole.onset, end_s)

    def read(self) -> bytes:
        """Return it as a file of its own, sample by sample the same.

        Raises
        ------
        OSError
            It is gone, or cannot be read.
        soundfile.SoundFileError
            It is no recording.
        """
        content = self.path.read_bytes()
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            if self.begin_s == 0 and self.end_s is None:
                return content
            begin = round(self.begin_s * sound.samplerate)
            count = -1 if self.end_s is None else round(self.end_s * sound.samplerate) - begin
            sound.seek(begin)
            samples, cut = sound.read(count, dtype="int32"), io.BytesIO()
            soundfile.write(cut, samples, sound.samplerate, sound.subtype, format=sound.format)
        return cut.getvalue()


@dataclass(frozen=True)
class Export:
    """What can be exported."""

    rows: list[ManifestRow]
    clips: list[ClipPart]
    """No two of which hold the same moment."""
    left_out: Counter[str]
    """Clips and events that cannot be exported, by the reason; clips that cannot be read are added by `read`."""

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield the names and contents of the clips that can be read; count the others."""
        for part in self.clips:
            try:
                content = part.read()
            except FileNotFoundError:  # the daemon has just made room
                self.left_out[GONE] += 1
            except (OSError, soundfile.SoundFileError):
                self.left_out["clips that are damaged"] += 1
            else:
                yield part.name, content


def plan_export(reader: StoreReader, clips_folder: Path) -> Export:
    """Return what can be exported of the events with a verdict.

    Raises
    ------
    HtsatEdgeError
        It is nothing; the message says why.
    StoreError
        The store cannot be read.
    """
    contents, without = reader.judged()
    left_out = Counter({"events in no clip": without} if without else {})
    good: dict[str, ClipContent] = {}
    for content in contents:
        if (reason := _reason_against(content, clips_folder / content.name)) is not None:
            left_out[reason] += 1
        else:
            good[content.name] = content
    rows, clips = list[ManifestRow](), list[ClipPart]()
    for content in _apart(good.values()):
        rows += _rows_of(content)
        clips.append(ClipPart.of(good[content.name], content, clips_folder / content.name))
    if within := len(good) - len(clips):
        left_out["clips that lie within another"] = within
    if not clips:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise HtsatEdgeError(
            f"there is nothing to export: {why or 'no event has a verdict'}; say of each event of a clip whether it is "
            "correct"
        )
    return Export(rows, clips, left_out)


def write_folder(export: Export, folder: Path) -> set[str]:
    """Write a manifest and clips into a new folder, all or nothing; return the names of the clips.

    Raises
    ------
    HtsatEdgeError
        There is something in the folder, or it cannot be written.
    """
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise HtsatEdgeError(f"{folder}: is there, and not an empty folder; give another")
    except OSError as error:
        raise HtsatEdgeError(f"{folder}: cannot be read: {error.strerror}") from None
    with replacing_folder(folder, keep=lambda _: False) as new:
        (new / AUDIO).mkdir()
        written = set()
        for name, content in export.read():
            (new / AUDIO / name).write_bytes(content)
            written.add(name)
        (new / MANIFEST).write_text(_manifest(export.rows, written), encoding="utf-8")
    return written


def write_zip(export: Export, stream: IO[bytes]) -> None:
    """Write a manifest and clips as a ZIP archive to a stream, which needs not be seekable."""
    with zipfile.ZipFile(stream, "w") as archive:
        written = set()
        for name, content in export.read():
            archive.writestr(f"{AUDIO}/{name}", content)
            written.add(name)
        archive.writestr(MANIFEST, _manifest(export.rows, written))


def _reason_against(content: ClipContent, path: Path) -> str | None:
    """Return why a clip is not exported."""
    if any(event.decision is None for event in content.events):
        return "clips with an event that has no verdict"
    if content.rules_left_out:
        return "clips with an event that a rule has left out"
    if any(event.offset is None for event in content.events):
        return "clips with an event whose end was not heard"
    if path.name != content.name or path.is_symlink() or not path.is_file():
        return GONE
    return None


def _rows_of(content: ClipContent) -> list[ManifestRow]:
    group = Path(content.name).stem
    spans: dict[str, list[tuple[float, float]]] = {}
    for event in content.events:
        label = event.label if event.decision == "correct" else event.real_label
        if label is not None and event.offset is not None:
            onset, offset = max(event.onset, content.onset), min(event.offset, content.offset)
            span = round(onset - content.onset, DECIMALS), round(offset - content.onset, DECIMALS)
            if span[0] < span[1]:
                spans.setdefault(label, []).append(span)
    if not spans:
        return [ManifestRow(content.name, None, None, BACKGROUND, group)]
    return [ManifestRow(content.name, *span, label, group) for label in sorted(spans) for span in _joined(spans[label])]


def _joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans with those that overlap as one, in order."""
    joined: list[tuple[float, float]] = []
    for onset, offset in sorted(spans):
        if joined and onset <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(offset, joined[-1][1])
        else:
            joined.append((onset, offset))
    return joined


def _apart(contents: Iterable[ClipContent]) -> list[ClipContent]:
    """Return the clips cut so that none share audio; what lies within another is left out, since that has all of it."""
    apart: list[ClipContent] = []
    for content in sorted(contents, key=lambda content: (content.place, content.onset, -content.offset)):
        before = apart[-1] if apart else None
        if before is None or before.place != content.place or before.offset <= content.onset:
            apart.append(content)
        elif before.offset < content.offset:
            at = _find_cut(before, content)
            apart[-1] = replace(before, offset=at)
            apart.append(replace(content, onset=at))
    return [content for content in apart if content.onset < content.offset]


def _find_cut(before: ClipContent, after: ClipContent) -> float:
    """Return where to cut two clips that overlap: in the middle, or at the nearest edge of an event that is there."""
    low, high = max(before.onset, after.onset), before.offset
    middle = (low + high) / 2
    spans = [(event.onset, event.offset) for event in {*before.events, *after.events} if event.offset is not None]

    def is_inside(at: float) -> bool:
        return any(onset < at < offset for onset, offset in spans)

    edges = [edge for span in spans for edge in span if low <= edge <= high and before.onset < edge < after.offset]
    free = [at for at in (middle, *edges) if not is_inside(at)]
    return min(free, key=lambda at: abs(at - middle), default=middle)


def _manifest(rows: Sequence[ManifestRow], written: Collection[str]) -> str:
    """Return a manifest of those clips as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        if row.clip in written:
            table.writerow([f"{AUDIO}/{row.clip}", *row[1:3], _cell(row.label), row.group])
    return text.getvalue()


def _cell(label: str) -> str:
    """Return a class as a manifest has it: as a list, where it would be read as several."""
    return json.dumps([label], ensure_ascii=False) if re.search(r"[;|\[]|,(?! )", label) else label
