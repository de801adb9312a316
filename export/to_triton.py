"""Write a bundle as models of a repository that Triton Inference Server runs.

python export/to_triton.py BUNDLE --out REPOSITORY [--backend onnxruntime|tensorrt|python]
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import math
import re
import shlex
import sys
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, count, refuse_without_extra, run

try:
    from htsat_edge.export.triton_models.configs import AT_ONCE, PLATFORMS, Served, in_python, read_tensors
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("to_triton.py", "remote", error)

from htsat_edge.export.triton_models.plans import ServedEngine, choose_plans
from htsat_edge.export.triton_models.repository import refuse_foreign_model, write_events_model, write_graph_model
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, load_bundle
from htsat_edge.runtime.models.sounds import SOUNDS_FOLDER

STREAMS, IDLE_S = 64, 300.0
LONGEST_IDLE_S = 7 * 24 * 3600.0


def to_triton(args: argparse.Namespace) -> int:
    """Run the command: write the two models."""
    bundle = load_bundle(args.bundle)
    name = args.name or bundle.info.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise HtsatEdgeError(f"{name!r} is no name of a model there: give --name, of letters, digits and . _ -")
    served, plans = choose(bundle, name, args)
    gpu = args.gpu or args.backend == "tensorrt"
    for model in (served.name, served.events_name):
        refuse_foreign_model(args.out / model)
    write_graph_model(args.out, served, plans, gpu)
    write_events_model(args.out, served, args.streams, args.idle_s)
    report(args.out, served, plans, args.streams)
    return 0


def choose(bundle: Bundle, name: str, args: argparse.Namespace) -> tuple[Served, tuple[ServedEngine, ...]]:
    """Return what is served of a bundle, and for TensorRT the engines."""
    if args.backend == "tensorrt":
        plans = choose_plans(bundle, args.precision)
        at_once = min(AT_ONCE, *(plan.manifest.recipe.batch[2] for plan in plans))
        precisions = "/".join(dict.fromkeys(plan.manifest.recipe.precision for plan in plans))
        files = {plan.capability: plan.file for plan in plans}
        return Served(name, args.backend, bundle, precisions, read_tensors(bundle, "fp32"), at_once, files), plans
    if args.backend == "python" and args.gpu:
        raise HtsatEdgeError("--gpu: --backend python runs the graph on a CPU; leave one of the two out")
    precision = args.precision or ("fp32" if args.gpu else bundle.recommended())
    served = Served(name, args.backend, bundle, precision, read_tensors(bundle, precision))
    return in_python(served) if args.backend == "python" else served, ()


def report(out: Path, served: Served, plans: tuple[ServedEngine, ...], streams: int) -> None:
    """Print what was written, and how to go on."""
    what = ", ".join(f"{plan.manifest.recipe.precision} for {plan.capability}" for plan in plans)
    print(f"{out / served.name}: {what or served.precision + '.onnx'}; windows in, scores out")
    print(f"{out / served.events_name}: samples in, events out, of up to {streams} streams at once")
    if plans:
        print(f"the server must have TensorRT {plans[0].manifest.recipe.tensorrt}, which built these engines")
    if (served.bundle.path / SOUNDS_FOLDER).is_dir():
        print(f"{served.bundle.path / SOUNDS_FOLDER}: enrolled sounds are not served; a device adds them by itself")
    print("the server's Python needs this package, too: pip install . in a checkout there")
    print(f"next: tritonserver --model-repository={shlex.quote(str(out.absolute()))}")


def idle(text: str) -> float:
    """Parse how long a stream may send nothing."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= LONGEST_IDLE_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to {LONGEST_IDLE_S:.0f}")
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="to_triton.py", description="Write a bundle as models for Triton Inference Server.")
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=BUNDLED, metavar="BUNDLE", help="default: the one that ships"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="REPOSITORY", help="folder of the server's models")
    parser.add_argument("--name", help="the model's name there (default: the bundle's); the other is NAME_events")
    parser.add_argument(
        "--backend",
        choices=[*PLATFORMS],
        default="onnxruntime",
        help="what runs the graph there; python: this package, for servers without the others (default: onnxruntime)",
    )
    parser.add_argument(
        "--precision", help="which graph or engines (default: what was measured best here; with --gpu fp32)"
    )
    parser.add_argument("--gpu", action="store_true", help="run the graph on the server's GPU")
    parser.add_argument(
        "--streams", type=count, default=STREAMS, help=f"that NAME_events hears at once (default: {STREAMS})"
    )
    parser.add_argument(
        "--idle-s",
        type=idle,
        default=IDLE_S,
        help=f"a stream that sends nothing for so long is given up (default: {IDLE_S:g})",
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: to_triton(args))


if __name__ == "__main__":
    sys.exit(main())
