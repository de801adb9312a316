"""When a recording was made: by an option, else by what it says itself."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

from htsat_edge.runtime.archive.recorded import parse_zone, read_origin
from htsat_edge.runtime.archive.records import Origin
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.outputs.clip_names import parse_clip_name


def option_zone(args: argparse.Namespace) -> tzinfo | None:
    """Return the zone of times that name none, where --timezone says one; raise an HtsatEdgeError where it is none."""
    try:
        return None if args.timezone is None else parse_zone(args.timezone)
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"--timezone: {error}") from None


def option_start(args: argparse.Namespace) -> datetime | None:
    """Return when a recording began, where --start says it; local time where no option names a zone."""
    start: datetime | None = args.start
    if start is None or start.tzinfo is not None or args.timezone is not None:
        return start
    return start.astimezone()


def origin_of(path: Path, args: argparse.Namespace) -> Origin:
    """Return when and where a recording was made; for a person that of a clip of ours in local time.

    For other programs it is as `scan` has it: as the recording says it.
    """
    origin = read_origin(path, option_zone(args), option_start(args))
    if args.format is not None:
        return origin
    is_clip = origin.said_by == "clip" or parse_clip_name(path.name) is not None
    if origin.start is None or origin.start.tzinfo is None or not is_clip:
        return origin
    return replace(origin, start=origin.start.astimezone())
