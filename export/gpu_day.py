"""Try and time on a CUDA machine all that needs no Jetson, unattended, within a number of minutes.

python export/gpu_day.py --out gpu-day.json

The parts (gpu_parts.py) run one after the other, each in a process of its own with its share of the time that is left,
so that one that fails or hangs leaves the others alone. Each writes what it found into the JSON as soon as it is known.
What a machine lacks is reported as not run, with the reason. The script needs no TensorRT: a network in torch stands in
for an engine, so that the runtime's memory, stream, context and CUDA graph are those of a real GPU. Where TensorRT or
TensorRT for RTX is installed, engines of the bundled model are built, compared and timed.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import contextlib
import fcntl
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from htsat_edge.runtime.common.command import Parser, count, refuse_without_extra, run

try:
    BEGAN = time.monotonic()
    """Before torch is loaded, which takes more than a minute where it has not been read lately."""
    import torch

    from htsat_edge.export import gpu_parts
    from htsat_edge.export.gpu_parts import BACKEND_WAYS, NOT_RUN, ON_CPU, Result
    from htsat_edge.export.roofline import WAYS
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("gpu_day.py", "export", error)

from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, replacing
from htsat_edge.runtime.common.lifeline import started
from htsat_edge.runtime.common.programs import command_of, signal_of
from htsat_edge.runtime.common.text import in_one_line

MINUTES = 10


class Part(NamedTuple):
    """Of the day."""

    run: Callable[[str], Iterator[Result]]
    """Takes the kind of device."""
    share: int
    """Of the time that is left; what the part does not take is for those after it."""


PARTS = {
    "machine": Part(gpu_parts.describe_machine, 8),  # it loads all that the others do
    "backend": Part(gpu_parts.run_backend, 4),
    "tests": Part(gpu_parts.run_tests, 6),
    "onnxruntime": Part(gpu_parts.run_onnxruntime, 5),
    "engines": Part(gpu_parts.run_engines, 12),
    "roofline": Part(gpu_parts.run_roofline, 8),
    "training": Part(gpu_parts.run_training, 8),
    "compile": Part(gpu_parts.run_compiled, 12),
}
"""In the order in which they are run: what may take longest comes last."""
POINT = re.compile(r"(?P<network>.+), batch (?P<batch>\d+), (?P<precision>fp\d+), (?P<way>.+)")
"""The name of a point of the roofline."""
Found = dict[str, dict[str, Any]]


def run_all(args: argparse.Namespace) -> int:
    """Run the parts in processes of their own, and print the tables."""
    if args.device == "cuda" and not torch.cuda.is_available():
        raise HtsatEdgeError("torch sees no CUDA GPU here: nothing was run; --device cpu rehearses what needs none")
    with writing_alone(args.out):
        keep_earlier(args.out)
        write_found(args.out, {})
        run_parts(args, BEGAN + 60 * args.minutes)
    print_tables(args.out)
    if all(NOT_RUN in part for part in read_found(args.out).values()):
        raise CheckFailed(f"no part came to its end; see {args.out} and {log_of(args.out)}")
    return 0


def run_parts(args: argparse.Namespace, end: float) -> None:
    """Run one part after the other until `end`, of the monotonic clock."""
    left = list(PARTS)
    while left:
        name = left[0]
        begun = time.monotonic()
        limit_s = (end - begun) * PARTS[name].share / sum(PARTS[other].share for other in left)
        print(f"{name}: at most {limit_s:.0f} s …", file=sys.stderr, flush=True)
        reason = run_part(name, args, limit_s)
        seconds = round(time.monotonic() - begun, 1)
        add(args.out, name, {"seconds": seconds} if reason is None else {NOT_RUN: reason, "seconds": seconds})
        del left[0]


@contextlib.contextmanager
def writing_alone(out: Path) -> Iterator[None]:
    """Hold the log, so that no other run writes to the same files."""
    log = log_of(out)
    if log.exists() and not log.is_file():
        raise HtsatEdgeError(f"{log}: is not a file; give another --out")
    with log.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HtsatEdgeError(
                f"{out}: another gpu_day.py writes it; wait for its end, or give another --out"
            ) from None
        yield


def keep_earlier(out: Path) -> None:
    """Give results of an earlier run a name of their own."""
    if not out.exists() or not read_found(out):
        return
    names = (out.with_name(f"{out.name}.{number}") for number in itertools.count(1))
    kept = next(name for name in names if not os.path.lexists(name))
    out.rename(kept)
    print(f"{out}: the earlier results are now {kept}", file=sys.stderr, flush=True)


def run_part(name: str, args: argparse.Namespace, limit_s: float) -> str | None:
    """Run a part, which adds what it finds to the JSON; return why it did not come to its end, None if it did."""
    options = ["--part", name, "--device", args.device, "--out", str(args.out.absolute())]

    def command(end: int) -> list[str]:
        return command_of("htsat_edge.runtime.common.lifeline", str(end), "htsat_edge.export.gpu_day", *options)

    with log_of(args.out).open("ab+") as log:
        begin = log.seek(0, os.SEEK_END)
        with started(command, log.fileno(), log.fileno()) as part:
            try:
                status = part.wait(max(limit_s, 0))
            except subprocess.TimeoutExpired:
                return f"took more than {limit_s:.0f} s"
            finally:
                # With all that it started: workers of a loader or a compiler would take the time of others.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(part.pid, signal.SIGKILL)
                part.communicate()
        log.seek(begin)
        lines = log.read().decode(errors="replace").strip().splitlines()
    if status == 0:
        return None
    if status < 0:
        return f"ended by {signal_of(status)}"
    return in_one_line(lines[-1].removeprefix("gpu_day.py: ")) if lines else f"exit status {status}"


def log_of(out: Path) -> Path:
    """Return where all that the parts print goes."""
    return out.with_name(f"{out.name}.log")


def add(out: Path, part: str, result: dict[str, Any]) -> None:
    """Add results of a part to the JSON."""
    found = read_found(out) if out.exists() else {}
    found.setdefault(part, {}).update(result)
    write_found(out, found)


def write_found(out: Path, found: Found) -> None:
    """Write the JSON, whole or not at all."""
    with replacing(out) as part:
        part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_found(out: Path) -> Found:
    """Read the JSON; raise an HtsatEdgeError where it is not what this script writes."""
    if out.exists() and not out.is_file():  # a named pipe would be waited for
        raise HtsatEdgeError(f"{out}: is not a file; give another --out")
    try:
        found = json.loads(out.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HtsatEdgeError(f"{out}: there is no such file; run gpu_day.py without --table first") from None
    except ValueError:
        found = None
    parts: dict[str, Any] = found if isinstance(found, dict) else {"": found}
    if not parts.keys() <= PARTS.keys() or not all(isinstance(part, dict) for part in parts.values()):
        raise HtsatEdgeError(f"{out}: is not what gpu_day.py writes; give another --out")
    return parts


def print_tables(out: Path) -> None:
    """Print the figures in the JSON; raise an HtsatEdgeError where they are not those that this script writes."""
    try:
        lines = list(tables(read_found(out)))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {in_one_line(error)}"
        raise HtsatEdgeError(f"{out}: is not what gpu_day.py writes: {reason}; give another --out") from None
    print("\n".join(lines))


def tables(found: Found) -> Iterator[str]:
    """Yield the figures in lines and Markdown tables, as docs/performance.md has them."""
    machine = found.get("machine", {})
    if "torch" in machine:
        yield f"{machine.get('gpu') or 'no GPU'}, torch {machine['torch']}"
    for name in PARTS:
        if name not in found:
            yield f"{name}: {NOT_RUN}"
        elif NOT_RUN in found[name]:
            yield f"{name}: {NOT_RUN}, or not to its end: {found[name][NOT_RUN]}"
    for way in BACKEND_WAYS:
        if own := found.get("backend", {}).get(way):
            worst = max(own["largest difference by batch"].values())
            yield (
                f"The runtime's backend, {way}: {own['p50_ms']:.2f} ms a window, largest difference {worst:.1e}, "
                f"{own['windows']} windows took {own['memory taken meanwhile']} bytes"
            )
    if summary := found.get("tests", {}).get("summary"):
        yield f"tests/gpu: {summary}"
    yield from roofline_table(found.get("roofline", {}) | found.get("compile", {}))
    yield from onnxruntime_table(found.get("onnxruntime", {}))
    yield from training_table(found.get("training", {}))


def table(*rows: list[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table, the first row being the head; nothing of a head alone."""
    if len(rows) > 1:
        head, *others = (f"| {' | '.join(row)} |" for row in rows)
        yield from ("", head, "|---" * len(rows[0]) + "|", *others)


def roofline_table(points: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the networks in torch, with the ways that were run."""
    named = [(match, point) for key, point in points.items() if (match := POINT.fullmatch(key))]
    ways = [way for way in WAYS if any(m["way"] == way and point["median_ms"] for m, point in named)]
    networks = list(dict.fromkeys(m["network"] for m, _ in named))
    lines: dict[tuple[int, int, str], dict[str, Any]] = {}
    for match, point in named:
        key = networks.index(match["network"]), int(match["batch"]), match["precision"]
        lines.setdefault(key, {})[match["way"]] = point
    rows = []
    for (network, batch, precision), own in sorted(lines.items(), key=lambda line: (line[0][:2], line[0][2] != "fp32")):
        medians = [own.get(way, {}).get("median_ms") for way in ways]
        bound = next((point["bound_ms"] for point in own.values() if point["bound_ms"]), None)
        if not bound or not any(medians):
            continue
        share = 100 * bound / min(filter(None, medians))
        cells = [milliseconds(median) if median else NOT_RUN for median in medians]
        rows.append(
            [
                f"{networks[network]}, {batch}",
                precision,
                *cells,
                milliseconds(bound),
                f"{share:.{0 if share >= 10 else 1}f} %",
            ]
        )
    yield from table(["network, batch", "precision", *ways, "bound", "share of the fastest"], *rows)


def onnxruntime_table(found: dict[str, Any]) -> Iterator[str]:
    """Yield the table of onnxruntime's providers."""
    rows = []
    for name, own in found.items():
        if ", batch " in name:
            graph, provider = name.rsplit(", ", 1)
            took = milliseconds(own["p50_ms"]) if "p50_ms" in own else f"{NOT_RUN}: {own[NOT_RUN]}"
            apart = f"{own['largest difference']:.1e}" if "largest difference" in own and provider != ON_CPU else ""
            rows.append([graph, provider.removesuffix("ExecutionProvider"), took, apart])
    yield from table(["fp32.onnx", "onnxruntime's provider", "log-mel to scores", "difference to the CPU"], *rows)


def training_table(found: dict[str, Any]) -> Iterator[str]:
    """Yield the table of trainings."""
    rows = []
    for name, own in found.items():
        if isinstance(own, dict) and "clips_per_s" in own:
            memory = own.get("memory_gb")
            cells = [digits(own["clips_per_s"]), "" if memory is None else f"{memory:.1f} GB"]
            rows.append([name, str(own["clips"]), *cells])
        elif isinstance(own, dict):
            rows.append([name, "", f"{NOT_RUN}: {own[NOT_RUN]}", ""])
    yield from table(["training", "clips of a step", "clips a second", "memory"], *rows)


def milliseconds(value: float) -> str:
    """Return a time with three digits that count."""
    return f"{digits(value)} ms"


def digits(value: float) -> str:
    """Return a number with three digits that count, or all that stand before the point."""
    return f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def start(args: argparse.Namespace) -> int:
    """Run one part, or all of them, or print the tables of an earlier run."""
    if args.table:
        print_tables(args.out)
        return 0
    refuse_unwritable(args.out)
    if args.out.exists():
        read_found(args.out)  # no file of another kind is overwritten
    if args.part is None:
        return run_all(args)
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a rehearsal is one on any machine
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    for result in PARTS[args.part].run(args.device):
        add(args.out, args.part, result)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="gpu_day.py", description="Try and time on a CUDA machine all that needs no Jetson.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("gpu-day.json"),
        help="the results; what the parts print goes into a file beside it (default: gpu-day.json)",
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal (default: cuda)")
    parser.add_argument("--minutes", type=count, default=MINUTES, help=f"for all parts together (default {MINUTES})")
    parser.add_argument("--table", action="store_true", help="run nothing; print the tables of --out")
    parser.add_argument("--part", choices=PARTS, help="run this part alone, in this process, without a limit")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
