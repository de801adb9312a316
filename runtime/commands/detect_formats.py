"""Write what `htsat-edge detect` finds in the forms that other programs read."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Literal

from htsat_edge.runtime.archive.formats import FORMATS, FileEvents, Format, rows_of
from htsat_edge.runtime.archive.journal import KeptEvent
from htsat_edge.runtime.archive.records import FoundEvent, FoundInRecording, Origin, Quality
from htsat_edge.runtime.archive.tables import name_beside
from htsat_edge.runtime.commands.report import Detections
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, refuse_unwritable_folder, replacing
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.channels import Channel, channel_number
from htsat_edge.runtime.dsp.formats.pipe import STDIN


@dataclass(frozen=True)
class FormatOutput:
    """Where --format and --out have events written."""

    format: Format
    channel: Channel | Literal["each"]
    """The one that is heard, as the option has it."""
    out: Path | None
    """A file; None: stdout."""
    places: Mapping[Path, Path] = field(default_factory=dict)
    """By recording, where each has a file of its own in a folder."""

    def write(self, found: Iterable[tuple[AudioFile, Sequence[Detections]]]) -> None:
        """Write recordings as they come; raise an HtsatEdgeError where that cannot be."""
        heard = ((file, heard_recording(file, each, self.channel)) for file, each in found)
        if not self.format.each:
            self._write_to(self.out, (recording for _, recording in heard))
            return
        for file, recording in heard:  # one that cannot be read gets no file: an empty one says that nothing sounds
            self._write_to(self.places.get(file.path, self.out), [recording])

    def _write_to(self, path: Path | None, recordings: Iterable[FileEvents]) -> None:
        if path is None:
            self.format.write(sys.stdout.buffer, recordings, False)
            return
        with replacing(path) as part, part.open("wb") as stream:
            self.format.write(stream, recordings, False)


def plan_output(args: argparse.Namespace) -> FormatOutput | None:
    """Return how events are written, None where no format was asked for; raise where that cannot be, before any work.

    Files of a folder are named by us, and so they may not be there yet.
    """
    if args.format is None:
        if args.out is not None:
            raise HtsatEdgeError(f"--out {args.out}: in which format? give --format, too: {', '.join(FORMATS)}")
        return None
    if args.json or args.top is not None:
        raise HtsatEdgeError(f"--format {args.format}: not together with {'--json' if args.json else '--top'}")
    chosen, out, named = FORMATS[args.format], args.out, f"--format {args.format}"
    if out is None and not chosen.is_text:
        raise HtsatEdgeError(f"{named}: is no text; give --out FILE, such as {chosen.file_name}")
    chosen.require()
    is_folder = out is not None and out.is_dir()
    if chosen.each and (is_folder or len(args.files) > 1):
        if out is None:
            raise HtsatEdgeError(f"{named}: has a file for each recording; give --out FOLDER")
        return FormatOutput(chosen, args.channel, out, _plan_places(args.files, out, chosen))
    if out is not None:
        out = out / chosen.file_name if is_folder else out
        if is_folder and os.path.lexists(out):
            raise HtsatEdgeError(
                f"--out: {out} is there already; give another name, or delete it: rm {quote(str(out))}"
            )
        if any(out.samefile(file) for file in args.files if out.exists() and file.exists()):
            raise HtsatEdgeError(f"--out {out}: is the recording itself; give another name")
        refuse_unwritable(out)
    return FormatOutput(chosen, args.channel, out)


def heard_recording(file: AudioFile, found: Sequence[Detections], channel: Channel | Literal["each"]) -> FileEvents:
    """Return a recording with the events of its channels, in the order of those, as rows of tables."""
    events = [
        KeptEvent(number if channel == "each" else channel_number(channel), end.label, end.onset, end.offset, end.score)
        for number, one in enumerate(found, 1)
        for end in one.ended
    ]
    heard = FoundInRecording(
        max(one.duration_s for one in found),
        file.sample_rate,
        file.channels,
        Quality(),
        tuple(FoundEvent(*event[:5]) for event in events),
        Origin(found[0].start),
        "" if found[0].failure is None else str(found[0].failure),
    )
    return rows_of(Path("stdin") if file.path == STDIN else file.path, heard, events)


def _plan_places(files: Sequence[Path], folder: Path, format: Format) -> dict[Path, Path]:
    """Return the file of each recording; raise where two would have one, or it cannot be written."""
    places: dict[Path, Path] = {}
    recordings: dict[Path, Path] = {}
    for file in files:
        place = places[file] = folder / name_beside("stdin" if file == STDIN else file.name, format.file_name)
        if (first := recordings.setdefault(place, file)) != file:
            raise HtsatEdgeError(
                f"--out {folder}: {first} and {file} would both be written as {place.name}; give them one by one, "
                "with a folder for each"
            )
        if os.path.lexists(place):
            raise HtsatEdgeError(f"--out: {place} is there already; give another folder, or delete it")
    refuse_unwritable_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HtsatEdgeError(f"--out {folder}: cannot be made: {error.strerror}") from None
    return places
