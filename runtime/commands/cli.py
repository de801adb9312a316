"""The command line, `htsat-edge`. Each command's libraries are imported when it runs, so that --help comes at once."""

from __future__ import annotations

import importlib
import io
import sys
from contextlib import nullcontext

import htsat_edge
from htsat_edge.runtime.commands.arguments import add_config
from htsat_edge.runtime.commands.options import (
    add_bench,
    add_collect,
    add_devices,
    add_enroll,
    add_events,
    add_labels,
    add_listen,
    add_schema,
    add_tune,
    add_web,
)
from htsat_edge.runtime.commands.options_recordings import add_detect, add_scan
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.interrupt import end_at_interrupt, ignoring_hangups

COMMANDS = (
    ("detect", add_detect, "events of recordings", "Print the events of recordings."),
    (
        "scan",
        add_scan,
        "events of whole archives",
        "Hear all recordings in folders, on all cores or a cluster; the same command goes on where it was stopped.",
    ),
    (
        "listen",
        add_listen,
        "detect on microphones and streams, unattended",
        "Listen to microphones and streams; on a terminal, show it live.",
    ),
    (
        "events",
        add_events,
        "what was heard",
        "Print the events of the store, newest last, or why one was reported.",
    ),
    (
        "enroll",
        add_enroll,
        "a sound of your own",
        "Teach the model a sound from 3 to 50 recordings of it, and look after the sounds that it was taught.",
    ),
    (
        "tune",
        add_tune,
        "thresholds by events a day",
        "Show how often each sound is reported, and set the threshold at which it is as often as you want.",
    ),
    (
        "web",
        add_web,
        "the page",
        "Serve a page that shows what is heard, what was heard, and why something was not.",
    ),
    (
        "collect",
        add_collect,
        "many devices in one view",
        "Join the messages of many devices, from an MQTT broker, into one store, and serve a page of all of them.",
    ),
    ("labels", add_labels, "what the model knows", "List the sounds that a model knows, with their thresholds."),
    ("check", add_config, "is this machine ready", "Check everything that `listen` needs."),
    ("devices", add_devices, "microphones, and their levels", "List microphones."),
    ("bench", add_bench, "how fast is it here", "Time the model in every form that fits this machine."),
    ("schema", add_schema, "JSON Schemas", "Print the JSON Schema of messages or of the configuration."),
)
"""Name, what adds its options, and what it is for, shortly and in a sentence."""
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
    for name, add, text, description in COMMANDS:
        command = commands.add_parser(name, help=text, description=description)
        command.set_defaults(module=f"htsat_edge.runtime.commands.{MODULES.get(name, name)}")
        add(command)
    return parser
