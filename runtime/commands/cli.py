"""The command line, `htsat-edge`. Each command's libraries are imported when it runs, so that --help comes at once."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from contextlib import nullcontext
from pathlib import Path

import htsat_edge
from htsat_edge.runtime.commands.arguments import (
    add_bundle,
    add_config,
    channel,
    counts,
    moment,
    names,
    port,
    recording,
    seconds,
    share,
)
from htsat_edge.runtime.common.command import Parser, count, run
from htsat_edge.runtime.common.interrupt import end_at_interrupt, ignoring_hangups

MODULES = {"bench": "bench.command"}
"""Of commands that are more than one file; the others are in a module of their name."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    if arguments is None:  # this is the whole program, and not called from another
        end_at_interrupt()
    return run("htsat-edge", lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no bars gets question marks
    args = make_parser().parse_args(arguments)
    # The daemon reads its configuration again at SIGHUP, which may come before it is there.
    with ignoring_hangups() if args.module.endswith(".listen") else nullcontext():
        return int(importlib.import_module(args.module).run(args))


def make_parser() -> Parser:
    """Return the parser of every command and option."""
    parser = Parser(prog="htsat-edge", description="Sound event detection with HTS-AT: what sounds, and when.")
    parser.add_argument("--version", action="version", version=f"htsat-edge {htsat_edge.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, add, text, description in (
        ("detect", _add_detect, "events of recordings", "Print the events of recordings."),
        ("listen", _add_listen, "listen for months", "Listen to microphones and streams."),
        (
            "web",
            _add_web,
            "the page",
            "Serve a page that shows what is heard, what was heard, and why something was not.",
        ),
        ("check", add_config, "is this machine ready", "Check everything that `listen` needs."),
        ("devices", _add_devices, "microphones, and their levels", "List microphones."),
        ("bench", _add_bench, "how fast is it here", "Time the model in every form that fits this machine."),
        ("schema", _add_schema, "JSON Schemas", "Print the JSON Schema of messages or of the configuration."),
    ):
        command = commands.add_parser(name, help=text, description=description)
        command.set_defaults(module=f"htsat_edge.runtime.commands.{MODULES.get(name, name)}")
        add(command)
    return parser


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        type=recording,
        help="wav, flac, ogg, mp3, or what ffmpeg knows; any rate, any channels; - is standard input",
    )
    add_bundle(parser, "an engine that was built for this machine, else onnxruntime")
    parser.add_argument(
        "--precision", metavar="P", help="of the engine, or of the bundle's graph (default: the best by measurement)"
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="of onnxruntime (default: one for each core, which wait asleep)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON Lines in place of a table")
    parser.add_argument(
        "--plot", type=Path, metavar="PNG", help="draw a timeline; into a folder where there are several files"
    )
    parser.add_argument("--top", type=count, metavar="N", help="also print the N classes that scored highest")
    parser.add_argument("--threshold", type=share, metavar="T", help="for every class, in place of the model's own")
    parser.add_argument("--labels", metavar="A,B", help="only these classes")
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
        type=seconds,
        metavar="S",
        help="from one run of the model to the next (default: a step of the model, 0.32)",
    )
    parser.add_argument("--start", type=moment, metavar="TIME", help="when the recording began, ISO 8601, for `time`")


def _add_listen(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--print-config", action="store_true", help="print the whole configuration, and end")


def _add_web(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--config", type=Path, metavar="FILE", help="the daemon's configuration, with outputs.store")
    shown.add_argument("--database", type=Path, metavar="PATH", help="a store, in place of a configuration")
    shown.add_argument("--demo", action="store_true", help="a recording that is played over and over, in real time")
    shown.add_argument(
        "--set-password", type=Path, metavar="FILE", help="ask for a password, write its hash to FILE, and end"
    )
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="of --database")
    parser.add_argument("--port", type=port, metavar="N", help="in place of the configured one (default 8480)")
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write the events with a verdict as a labelled data set, and end"
    )


def _add_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON Lines")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser, "engines that are there, and onnxruntime")
    parser.add_argument(
        "--precision", type=names, metavar="A,B", help="of engines and graphs (default: all that fit this machine)"
    )
    parser.add_argument(
        "--threads", type=counts, metavar="A,B", help="of onnxruntime (default: one, and one for each core)"
    )
    parser.add_argument("--sources", type=count, default=1, metavar="N", help="also time so many windows at once")
    parser.add_argument(
        "--hop-s", type=seconds, metavar="S", help="from one run of the model to the next (default: 0.32)"
    )
    parser.add_argument("--runs", type=count, default=25, metavar="N", help="of each candidate, in turn (default 25)")
    parser.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        help="also time public models, with random weights (default: where transformers is installed)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the times")


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", choices=["messages", "config"], help="what the schema is of")
