"""The options of the commands that are about a device and what it heard."""

from __future__ import annotations

import argparse
from pathlib import Path

from htsat_edge.runtime.commands.arguments import (
    add_bundle,
    add_config,
    add_sounds,
    add_store,
    counts,
    names,
    port,
    positive,
    recording,
    seconds,
)
from htsat_edge.runtime.common.command import count


def add_listen(parser: argparse.ArgumentParser) -> None:
    """Add the options of `listen`."""
    add_config(parser)
    parser.add_argument(
        "--json", action="store_true", help="print JSON Lines on a terminal, too, in place of the live view"
    )
    parser.add_argument("--print-config", action="store_true", help="print the whole configuration, and end")


def add_events(parser: argparse.ArgumentParser) -> None:
    """Add the options of `events`."""
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


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the options of `labels`."""
    parser.add_argument("--bundle", type=Path, help="folder of the model (default: the bundled one)")
    add_sounds(parser)
    parser.add_argument("--search", metavar="TEXT", help="only those whose names, or those above them, contain this")
    parser.add_argument("--json", action="store_true", help="print JSON Lines in place of a table")


def add_enroll(parser: argparse.ArgumentParser) -> None:
    """Add the options of `enroll`."""
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
    _add_places(parser)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's: its model, sounds, store and clips")
    parser.add_argument(
        "--bundle", type=Path, help="folder of the model (default: the configuration's, or the bundled one)"
    )
    add_sounds(parser)
    parser.add_argument("--database", type=Path, metavar="PATH", help="a store, in place of the configuration's")
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="of --database")


def add_tune(parser: argparse.ArgumentParser) -> None:
    """Add the options of `tune`."""
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


def add_web(parser: argparse.ArgumentParser) -> None:
    """Add the options of `web`."""
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


def add_collect(parser: argparse.ArgumentParser) -> None:
    """Add the options of `collect`."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", required=True, help="the collector's, such as configs/collector.yaml"
    )
    parser.add_argument("--check", action="store_true", help="check everything that the configuration needs, and end")


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Add the options of `devices`."""
    parser.add_argument("--json", action="store_true", help="print JSON Lines")


def add_bench(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
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


def add_schema(parser: argparse.ArgumentParser) -> None:
    """Add the options of `schema`."""
    parser.add_argument("subject", choices=["messages", "config"], help="what the schema is of")
