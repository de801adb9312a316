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
    add_sounds,
    add_store,
    channel,
    counts,
    moment,
    names,
    port,
    positive,
    recording,
    seconds,
    share,
)
from htsat_edge.runtime.common.command import Parser, count, run
from htsat_edge.runtime.common.interrupt import end_at_interrupt, ignoring_hangups

SENSITIVITIES = ("few_false_alarms", "balanced", "miss_little")
"""Those of runtime/models/levels.py."""
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
    parser = make_parser()
    args = parser.parse_args(arguments)
    if "module" not in args:
        parser.print_help()
        return 0
    # The daemon reads its configuration again at SIGHUP, which may come before it is there.
    with ignoring_hangups() if args.module.endswith(".listen") else nullcontext():
        return int(importlib.import_module(args.module).run(args))


def make_parser() -> Parser:
    """Return the parser of every command and option."""
    parser = Parser(prog="htsat-edge", description="Sound event detection with HTS-AT: what sounds, and when.")
    parser.add_argument("--version", action="version", version=f"htsat-edge {htsat_edge.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, add, text, description in (
        ("detect", _add_detect, "events of recordings", "Print the events of recordings."),
        (
            "listen",
            _add_listen,
            "detect on microphones and streams, unattended",
            "Listen to microphones and streams; on a terminal, show it live.",
        ),
        (
            "events",
            _add_events,
            "what was heard",
            "Print the events of the store, newest last, or why one was reported.",
        ),
        (
            "enroll",
            _add_enroll,
            "a sound of your own",
            "Teach the model a sound from 3 to 50 recordings of it, and look after the sounds that it was taught.",
        ),
        (
            "tune",
            _add_tune,
            "thresholds by events a day",
            "Show how often each sound is reported, and set the threshold at which it is as often as you want.",
        ),
        (
            "web",
            _add_web,
            "the page",
            "Serve a page that shows what is heard, what was heard, and why something was not.",
        ),
        ("labels", _add_labels, "what the model knows", "List the sounds that a model knows, with their thresholds."),
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
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the daemon's: its model, sounds, detection and rules, and none of its outputs; options count more",
    )
    parser.add_argument(
        "--source",
        metavar="NAME",
        help="of --config: whose settings count (default: the one in a clip's name, or all's)",
    )
    add_bundle(parser, "an engine that was built for this machine, else onnxruntime")
    parser.set_defaults(backend=None)  # so that it is known whether it was given, beside --config
    parser.add_argument(
        "--precision", metavar="P", help="of the engine, or of the bundle's graph (default: the best by measurement)"
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="of onnxruntime (default: one for each core, which wait asleep)"
    )
    add_sounds(parser)
    parser.add_argument("--json", action="store_true", help="print JSON Lines in place of a table")
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
    _add_hearing(parser)


def _add_hearing(parser: argparse.ArgumentParser) -> None:
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
        type=seconds,
        metavar="S",
        help="from one run of the model to the next (default: a step of the model, 0.32)",
    )
    parser.add_argument("--start", type=moment, metavar="TIME", help="when the recording began, ISO 8601, for `time`")


def _add_listen(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--json", action="store_true", help="print JSON Lines on a terminal, too, in place of the live view"
    )
    parser.add_argument("--print-config", action="store_true", help="print the whole configuration, and end")


def _add_events(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument(
        "--since", metavar="TIME", help="yesterday, today, 2h, 3d, 21:30, or ISO 8601 (default: a day ago); local time"
    )
    parser.add_argument("--until", metavar="TIME", help="the same; a day is meant by its beginning (default: now)")
    parser.add_argument(
        "--class", dest="labels", action="append", metavar="NAME", help="only this class or group; may be repeated"
    )
    parser.add_argument("--source", dest="sources", action="append", metavar="NAME", help="only this; may be repeated")
    parser.add_argument("--why", type=count, metavar="ID", help="say why this event was reported, and end")
    written = parser.add_mutually_exclusive_group()
    written.add_argument("--json", action="store_true", help="print JSON Lines in place of a table")
    written.add_argument("--csv", action="store_true", help="print CSV in place of a table")


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, help="folder of the model (default: the bundled one)")
    add_sounds(parser)
    parser.add_argument("--search", metavar="TEXT", help="only those whose names, or those above them, contain this")
    parser.add_argument("--json", action="store_true", help="print JSON Lines in place of a table")


def _add_enroll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", nargs="?", metavar="LABEL", help='what the sound is called, such as "Our doorbell"')
    parser.add_argument(
        "files", nargs="*", metavar="FILE", type=recording, help="recordings of it, or folders, just after the LABEL"
    )
    parser.add_argument(
        "--events",
        nargs="+",
        type=count,
        metavar="ID",
        help="in place of files: events of the store that are the sound",
    )
    parser.add_argument(
        "--record",
        type=count,
        metavar="N",
        help="in place of files: N recordings from the microphone, made now in turn; each ends when the sound does, "
        "after 5 s at most",
    )
    parser.add_argument("--device", metavar="NAME", help="the microphone of --record (default: the configuration's)")
    parser.add_argument(
        "--background",
        nargs="+",
        default=[],
        type=recording,
        metavar="PATH",
        help="recordings, or folders of them, of what else is heard there; so are parts of the store's clips",
    )
    parser.add_argument("--replace", action="store_true", help="learn a sound anew that is there already")
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--list", action="store_true", help="print the sounds that are there")
    others.add_argument(
        "--refresh",
        nargs="?",
        const="",
        metavar="NAME",
        help="learn a sound again, with events of it that were called wrong (default: each that has new ones, or was "
        "made for another graph)",
    )
    others.add_argument("--rename", nargs=2, metavar=("OLD", "NEW"), help="call a sound something else")
    others.add_argument("--remove", metavar="NAME", help="delete a sound with its recordings")
    others.add_argument("--export", nargs=2, metavar=("NAME", "FOLDER"), help="write a sound for another device")
    others.add_argument("--import", dest="import_", type=Path, metavar="FOLDER", help="add what --export has written")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's: its model, sounds, store and clips")
    parser.add_argument(
        "--bundle", type=Path, help="folder of the model (default: the configuration's, or the bundled one)"
    )
    add_sounds(parser)
    parser.add_argument("--database", type=Path, metavar="PATH", help="a store, in place of the configuration's")
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="of --database")


def _add_tune(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument("--source", metavar="NAME", help="only this source; --apply writes into its section")
    parser.add_argument(
        "--days",
        type=positive,
        default=7.0,
        metavar="N",
        help="look at the last N days that were heard, at most 31 (default 7)",
    )
    parser.add_argument(
        "--label",
        action="append",
        metavar="NAME",
        help="this class or group, with what each threshold comes to; may be repeated (default: all with events)",
    )
    parser.add_argument(
        "--per-day", type=positive, default=1.0, metavar="N", help="how many events of a class are wanted (default 1)"
    )
    written = parser.add_mutually_exclusive_group()
    written.add_argument(
        "--dry-run", action="store_true", help="show what would change in the configuration, and which events would go"
    )
    written.add_argument(
        "--apply", action="store_true", help="write the thresholds of --label, and keep a copy of the file before"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw what each threshold comes to")
    parser.add_argument("--json", action="store_true", help="print JSON Lines in place of tables")


def _add_web(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--config", type=Path, metavar="FILE", help="the daemon's configuration, with outputs.store")
    parser.add_argument(
        "--config-file",
        type=Path,
        metavar="PATH",
        help="where thresholds are written to, if --config is a copy of that file",
    )
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
