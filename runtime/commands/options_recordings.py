"""The options of the commands that are about recordings."""

from __future__ import annotations

import argparse
from pathlib import Path

from htsat_edge.runtime.commands.arguments import (
    add_bundle,
    add_sounds,
    channel,
    gpu_share,
    moment,
    names,
    recording,
    seconds,
    share,
)
from htsat_edge.runtime.common.command import count
from htsat_edge.runtime.common.suggest import suggest

SENSITIVITIES = ("few_false_alarms", "balanced", "miss_little")
"""Those of runtime/models/levels.py."""
FORMATS = ("csv", "parquet", "jsonl", "raven", "audacity", "kaleidoscope", "desed", "textgrid")
"""Those of runtime/archive/formats."""
CONTINUOUS_S = 2.0
"""The pause that a recorder may make between two files, which its clock rounds as well."""


def add_detect(parser: argparse.ArgumentParser) -> None:
    """Add the options of `detect`."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        type=recording,
        help="wav, flac, ogg, mp3, or what ffmpeg knows; any rate, any channels; - is standard input",
    )
    _add_model(parser, "the one in a clip's name, or all's")
    parser.add_argument(
        "--threads", type=count, metavar="N", help="of onnxruntime (default: one for each core, which wait asleep)"
    )
    parser.add_argument("--json", action="store_true", help="print messages as JSON Lines in place of a table")
    parser.add_argument(
        "--format", choices=FORMATS, help="print the events of all recordings for other programs, in place of a table"
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="of --format: a file, or a folder where each recording has a file"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="PNG", help="draw a timeline; into a folder where there are several files"
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="CSV",
        help="what does sound in the recording, a row of the picture: columns onset, offset, label (or class)",
    )
    parser.add_argument("--top", type=count, metavar="N", help="also print the N classes that scored highest")
    add_hearing(parser)


def add_scan(parser: argparse.ArgumentParser) -> None:
    """Add the options of `scan`."""
    _add_files(parser)
    parser.add_argument(
        "--processes", type=count, metavar="N", help="worker processes, a thread each (default: one a core)"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="hear on a Ray cluster: that of the environment, or the one at ADDRESS, such as HOST:6379",
    )
    parser.add_argument(
        "--gpus",
        type=gpu_share,
        metavar="SHARE",
        help="of a GPU, that each worker of --ray takes, up to 1 (default: 1 for an engine of TensorRT, else a CPU)",
    )
    parser.add_argument("--scores", action="store_true", help="also keep all scores, as .npz in RESULTS/scores")
    _add_model(parser, "all's")
    parser.set_defaults(threads=None)  # a process each has one
    add_hearing(parser)


def _add_model(parser: argparse.ArgumentParser, source: str) -> None:
    """Add which model hears, on what; `source` says whose settings count by default."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the daemon's: its model, sounds, detection and rules, and none of its outputs; options count more",
    )
    parser.add_argument("--source", metavar="NAME", help=f"of --config: whose settings count (default: {source})")
    add_bundle(parser, "an engine that was built for this machine, else onnxruntime")
    parser.set_defaults(backend=None)  # so that it is known whether it was given, beside --config
    parser.add_argument(
        "--precision", metavar="P", help="of the engine, or of the bundle's graph (default: the best by measurement)"
    )
    add_sounds(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    """Add which recordings are heard, and what is written of them."""
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="with all that is below it; a recording, or a quoted pattern such as '/data/**/*.wav'; with --ray also a "
        "URL, such as s3://bucket/folder",
    )
    parser.add_argument(
        "--out",
        type=folder,
        required=True,
        metavar="RESULTS",
        help="folder for tables, summary.html and the journal; the same command goes on where it was stopped",
    )
    parser.add_argument(
        "--format", type=formats, default=["csv"], metavar="A,B", help=f"of {', '.join(FORMATS)} (default: csv)"
    )
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only recordings whose name or path below FOLDER is like it, such as '*_dawn.wav'; may be given again",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="no recordings, or folders, that are like it"
    )
    parser.add_argument("--newest-first", action="store_true", help="begin with the recordings changed last")
    parser.add_argument(
        "--continuous",
        nargs="?",
        const=CONTINUOUS_S,
        type=seconds,
        metavar="S",
        help="recordings that follow each other within S seconds are one: what sounds across their border is one event "
        f"(default of S: {CONTINUOUS_S:g})",
    )


def folder(text: str) -> Path:
    """Return a folder that has a name; an empty one, of a variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("has an empty name; write . for the current folder")
    return Path(text)


def formats(text: str) -> list[str]:
    """Return the names of formats between commas, each once."""
    wanted = names(text)
    for name in wanted:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}{suggest(name, FORMATS)}")
    return wanted


def add_hearing(parser: argparse.ArgumentParser) -> None:
    """Add which events of recordings are reported."""
    parser.add_argument(
        "--threshold", type=share, metavar="T", help="of every class, or of --labels, in place of its own"
    )
    parser.add_argument(
        "--sensitivity",
        choices=SENSITIVITIES,
        help="which of the model's own thresholds count, of those that `htsat-edge labels` lists (default: --config's, "
        "or balanced)",
    )
    parser.add_argument("--labels", metavar="A,B", help="show only these classes")
    parser.add_argument(
        "--groups",
        metavar="FILE",
        help="groups of labels, reported in their place; audioset is one that ships with this",
    )
    parser.add_argument(
        "--channel",
        type=channel,
        default="mix",
        metavar="C",
        help="mix, first, loudest, a number from 1 on, or each, as sources of their own (default: mix, or the loudest "
        "where channels cancel each other)",
    )
    parser.add_argument(
        "--hop-s",
        "--hop",
        type=seconds,
        metavar="S",
        help="from one run of the model to the next (default: a step of the model, 0.32)",
    )
    parser.add_argument(
        "--start", type=moment, metavar="TIME", help="when the recording began, ISO 8601 (default: as it says itself)"
    )
    parser.add_argument(
        "--timezone",
        metavar="ZONE",
        help="of times that name none: Europe/Berlin, UTC-5, local (default: they stay without one; --start is local)",
    )
