"""The command line, `htsat-edge`. Libraries are imported where they are used, so that --help comes at once."""

from __future__ import annotations

import argparse
import io
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, count, run


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no bars gets question marks
    args = make_parser().parse_args(arguments)
    return run("htsat-edge", lambda: int(args.command(args)))


def make_parser() -> Parser:
    """Every command and option."""
    parser = Parser(prog="htsat-edge", description="Sound event detection with HTS-AT: what sounds, and when.")
    parser.add_argument("--version", action="version", version=f"htsat-edge {version('htsat-edge')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    detect = commands.add_parser("detect", help="events of recordings", description="Print the events of recordings.")
    detect.add_argument(
        "files", nargs="+", metavar="FILE", type=Path, help="wav, flac, ogg or mp3; any rate, any channels"
    )
    detect.add_argument("--bundle", type=Path, help="folder of the model (default: the bundled one)")
    detect.add_argument(
        "--precision", metavar="P", help="of the engine, or of the bundle's graph (default: the best by measurement)"
    )
    detect.add_argument(
        "--backend",
        choices=["auto", "onnxruntime", "tensorrt"],
        default="auto",
        help="auto: an engine that export/build_trt.py has built for this machine, else onnxruntime (default)",
    )
    add_threads(detect)
    detect.add_argument("--json", action="store_true", help="JSON Lines on stdout in place of a table")
    detect.add_argument(
        "--plot", type=Path, metavar="PNG", help="draw a timeline; a folder where there are several files"
    )
    detect.add_argument("--top", type=count, metavar="N", help="also show the N classes that scored highest")
    detect.add_argument("--threshold", type=share, metavar="T", help="for every class, in place of the model's own")
    detect.add_argument("--labels", metavar="A,B", help="only these classes")
    detect.add_argument(
        "--hop-s",
        type=seconds,
        metavar="S",
        help="from one run of the model to the next (default: an eighth of a clip, 1.28)",
    )
    detect.add_argument("--start", type=moment, metavar="TIME", help="when the recordings began, ISO 8601, for `time`")
    detect.set_defaults(command=_detect)
    listen = commands.add_parser("listen", help="listen for months", description="Listen to microphones and streams.")
    add_config(listen)
    listen.add_argument("--print-config", action="store_true", help="print the whole configuration, and end")
    listen.add_argument("--schema", action="store_true", help="print its JSON Schema, for editors, and end")
    listen.set_defaults(command=_listen)
    check = commands.add_parser("check", help="is this machine ready", description="Look at all that `listen` needs.")
    add_config(check)
    check.set_defaults(command=_check)
    devices = commands.add_parser("devices", help="microphones, and their levels", description="List microphones.")
    devices.add_argument("--json", action="store_true", help="JSON Lines")
    devices.set_defaults(command=_devices)
    bench = commands.add_parser(
        "bench", help="how fast is it here", description="Time the model in every form that fits this machine."
    )
    bench.add_argument("--bundle", type=Path, help="folder of the model (default: the bundled one)")
    bench.add_argument(
        "--backend",
        choices=["auto", "onnxruntime", "tensorrt"],
        default="auto",
        help="auto: engines that are there, and onnxruntime (default)",
    )
    bench.add_argument(
        "--precision", type=names, metavar="A,B", help="of engines and graphs (default: all that fit this machine)"
    )
    bench.add_argument(
        "--threads", type=counts, metavar="A,B", help="of onnxruntime (default: one, and one for each core)"
    )
    bench.add_argument("--sources", type=count, default=1, metavar="N", help="also time so many clips at once")
    bench.add_argument(
        "--hop-s", type=seconds, metavar="S", help="from one run of the model to the next (default: 1.28)"
    )
    bench.add_argument("--runs", type=count, default=25, metavar="N", help="of each contender, in turn (default 25)")
    bench.add_argument(
        "--peers",
        action=argparse.BooleanOptionalAction,
        help="also public models, with random weights (default: where transformers is installed)",
    )
    bench.add_argument("--json", action="store_true", help="JSON on stdout in place of a table")
    bench.add_argument("--plot", type=Path, metavar="PNG", help="draw bars")
    bench.set_defaults(command=_bench)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """What says what to listen to."""
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help="recordings, in place of the sources")
    parser.add_argument("--config", type=Path, help="such as configs/detector.yaml (default: the default microphone)")
    parser.add_argument("--device", metavar="NAME", help="this microphone, in place of the sources")
    parser.add_argument(
        "--stdin", type=count, metavar="HZ", help="raw 16-bit samples on stdin, in place of the sources"
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """How much of the processor a model may take."""
    parser.add_argument("--threads", type=count, metavar="N", help="of onnxruntime (default: one for each core)")


def _detect(args: argparse.Namespace) -> int:
    from htsat_edge.runtime.commands.detect import detect

    return detect(args)


def _listen(args: argparse.Namespace) -> int:
    from htsat_edge.runtime.commands.listen import run_listen

    return run_listen(args)


def _check(args: argparse.Namespace) -> int:
    from htsat_edge.runtime.commands.check import run_check

    return run_check(args)


def _devices(args: argparse.Namespace) -> int:
    from htsat_edge.runtime.commands.devices import run_devices

    return run_devices(args)


def _bench(args: argparse.Namespace) -> int:
    from htsat_edge.runtime.commands.bench import run_bench

    return run_bench(args)


def names(text: str) -> list[str]:
    """Names between commas, each once."""
    return list(dict.fromkeys(text.split(",")))


def counts(text: str) -> list[int]:
    """Whole numbers from 1 on between commas, each once."""
    return list(dict.fromkeys(count(part) for part in text.split(",")))


def share(text: str) -> float:
    """A number above 0 and below 1."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def seconds(text: str) -> float:
    """A positive number."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def moment(text: str) -> datetime:
    """A date and time; local time where it names no zone."""
    try:
        began = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return began if began.tzinfo else began.astimezone()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-05-01T21:30:00+02:00") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
