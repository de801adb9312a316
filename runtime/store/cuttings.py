"""Cut events, false alarms and background out of clips, as recordings to learn a sound from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.export import ClipPart
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, StoredClip, StoredEvent

MARGIN_S = 0.5
"""Before and after an event: its edges are those of steps, and roughly known."""
SHORTEST_S = 2.0
"""Of a background."""
MOST_EVENTS, MOST_BACKGROUNDS = 500, 20
"""The newest that are looked at, and that are cut."""


def cut_events(
    reader: StoreReader, keys: Iterable[int], clips: Path, folder: Path, margin_s: float = MARGIN_S
) -> list[Path]:
    """Write the audio of events, with a margin, as files into a folder; return these, in the order of the keys.

    Parameters
    ----------
    reader
        The store.
    keys
        Of events whose clips are kept; one that is there twice is cut once.
    clips
        Folder of the clips.
    folder
        Where the files are written to, KEY.flac or KEY.wav.
    margin_s
        Before and after each event, as far as its clip has it.

    Raises
    ------
    HtsatEdgeError
        There is no such event, it has no clip, or this cannot be read.
    """
    files = []
    for key in dict.fromkeys(keys):
        event = reader.event(key)
        if event is None:
            raise HtsatEdgeError(f"event {key}: does not exist")
        if event.clip is None:
            raise HtsatEdgeError(f"event {key}: has no clip; `outputs.clips` keeps one of each event from then on")
        try:
            files.append(_write(_part_of(event, event.clip, clips, margin_s), folder / str(key)))
        except FileNotFoundError:
            raise HtsatEdgeError(f"event {key}: its clip {event.clip.name} is gone: the oldest make room") from None
        except (OSError, soundfile.SoundFileError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "it is damaged"
            raise HtsatEdgeError(f"event {key}: its clip {event.clip.name} cannot be read: {reason}") from None
    return files


def cut_false_alarms(reader: StoreReader, label: str, clips: Path, folder: Path) -> list[Path]:
    """Write the audio of the newest events of a class that people have called wrong; leave out what is gone."""
    wanted = EventFilter(labels=[label], decision="wrong", has_clip=True)
    events = reader.events(wanted, MOST_EVENTS).events
    parts = ((_part_of(event, event.clip, clips, MARGIN_S), event.key) for event in events if event.clip is not None)
    return list(_written((part, folder / f"wrong_{key}") for part, key in parts))


def cut_backgrounds(
    reader: StoreReader, clips: Path, folder: Path, without: Collection[int] = (), most: int = MOST_BACKGROUNDS
) -> list[Path]:
    """Write parts of the newest clips in which no event is, of each clip the longest; leave out what is gone.

    No part is of a clip that holds one of the events `without`, such as those that a sound is learned from.
    """
    by_clip: dict[StoredClip, StoredEvent] = {}
    for event in reader.events(EventFilter(has_clip=True), MOST_EVENTS).events:
        if event.clip is not None:
            by_clip.setdefault(event.clip, event)
    parts = (
        (part, folder / f"background_{number}")
        for number, (clip, event) in enumerate(by_clip.items(), 1)
        if (part := _quiet_part(reader, clip, event, clips, without)) is not None
    )
    files = []
    for path in _written(parts):
        files.append(path)
        if len(files) == most:
            break
    return files


def _quiet_part(
    reader: StoreReader, clip: StoredClip, one: StoredEvent, clips: Path, without: Collection[int]
) -> ClipPart | None:
    """Return the longest part of a clip, which holds event `one`, in which no event is; None where that is short."""
    at = one.at + clip.onset - one.onset  # of a recording without a time of day, that of a clip is when it was stored
    near = reader.events_within(one.source, at, at + clip.offset - clip.onset)
    events = [event for event in near if event.session == one.session]
    if any(event.key in without for event in events):
        return None
    begin, best = clip.onset, (0.0, 0.0)
    for event in sorted(events, key=lambda event: event.onset):
        best = max(best, (event.onset - MARGIN_S - begin, begin))
        begin = max(begin, clip.offset if event.offset is None else event.offset + MARGIN_S)
    length, begin = max(best, (clip.offset - begin, begin))
    if length < SHORTEST_S:
        return None
    return ClipPart(clip.name, _path_of(clip, clips), begin - clip.onset, begin - clip.onset + length)


def _part_of(event: StoredEvent, clip: StoredClip, clips: Path, margin_s: float) -> ClipPart:
    """Return the part of a clip in which an event is."""
    begin_s = max(0.0, event.onset - clip.onset - margin_s)
    end_s = None if event.offset is None else event.offset - clip.onset + margin_s
    return ClipPart(clip.name, _path_of(clip, clips), begin_s, end_s)


def _path_of(clip: StoredClip, clips: Path) -> Path:
    """Return where a clip is; a name that leads elsewhere is none of ours."""
    return clips / Path(clip.name).name


def _written(parts: Iterable[tuple[ClipPart, Path]]) -> Iterator[Path]:
    """Write parts of clips to files; yield those of clips that can be read."""
    for part, target in parts:
        try:
            path = _write(part, target)
        except (OSError, soundfile.SoundFileError):  # the daemon has made room, or it is damaged
            continue
        yield path


def _write(part: ClipPart, target: Path) -> Path:
    """Write a part of a clip to a file; return it, with its suffix."""
    if part.path.is_symlink():
        raise FileNotFoundError
    path = target.with_suffix(part.path.suffix)
    path.write_bytes(part.read())
    return path
