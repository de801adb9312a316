"""Build the engines of a bundle for this machine, compare them with fp32, and write their manifests.

python export/build_trt.py [BUNDLE] [--precision auto|fp16|int8|fp32]
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from htsat_edge.export.engine_builder import EngineBuilder
from htsat_edge.runtime.common.command import Parser, count, decibels, run
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.models.backends.trt import installed_flavour
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.engines import FOLDER, NAMES, PRECISIONS, EngineManifest, Recipe, find_engines


def build_trt(args: argparse.Namespace) -> int:
    """Provide the engines that the arguments request; return the exit status."""
    if args.background:
        os.nice(19)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    flavour = args.flavour or installed_flavour() or "tensorrt"
    builder = EngineBuilder(load_bundle(args.bundle), flavour, args.budget, args.background)
    print(f"{builder.bundle.info.name}: {builder}", flush=True)
    if flavour == "rtx" and args.flavour is None:
        print("these engines are for GeForce and RTX cards only; for a Jetson, run build_trt.py there")
    if in_cache(builder):
        print(f"{builder.bundle.path} cannot be written to; engines go into {builder.store.folder}")
    with builder.store.locked():
        recipes = [
            builder.make_recipe(precision, args.batch, args.workspace_mib, args.optimization_level)
            for precision in choose_precisions(builder, args.precision)
        ]
        manifests = provide_all(builder, recipes, args.precision)
        for manifest, reason in builder.store.prune():
            print(f"{manifest.recipe.precision}: removed the engine of {manifest.built:%Y-%m-%d}: {reason}")
        rejected = [f"{m.recipe.precision}: {m.rejection}" for m in manifests if m.rejection]
        if len(rejected) == len(manifests):
            raise CheckFailed(f"no engine passed validation: {'; '.join(rejected)}")
        if builder.platform.gpu is not None:
            best = find_engines(builder.bundle, builder.platform)[0]
            print(f"htsat-edge uses {best.recipe.precision}, the fastest engine that passed validation")
        if not args.background:
            print(f"next: {next_step(builder)}")
    return 0


def in_cache(builder: EngineBuilder) -> bool:
    """Return whether engines go into the cache of this user on this machine, and not into the bundle."""
    return builder.store.folder != builder.bundle.path / FOLDER


def next_step(builder: EngineBuilder) -> str:
    """Return what to type when the engines are there."""
    bundle = builder.bundle.path
    where = f"the engines are in {builder.store.folder}, a cache of this machine, which no copy of {bundle} has"
    named = "" if bundle == BUNDLED else f" --bundle {shlex.quote(str(bundle))}"
    if builder.platform.gpu is not None:
        return f"htsat-edge detect RECORDING{named} --backend tensorrt" + (f"; {where}" if in_cache(builder) else "")
    if in_cache(builder):
        return f"run this on the machine with such a card; {where}"
    return f"copy {bundle} to a machine with such a card and run this again there: it compares the engines with fp32"


def choose_precisions(builder: EngineBuilder, requested: str) -> Sequence[str]:
    """Return the precisions to build: for `auto` fp16 and int8, as far as they can be made and compared."""
    if requested != "auto":
        return [requested]
    bundle = builder.bundle
    in_8_bits = not {"int8", "int8_fp16"}.isdisjoint(bundle.precisions())
    if builder.platform.gpu is None:
        other = "; --precision int8 builds the other one" if in_8_bits else ""
        print(f"only fp16 is built: without a GPU, engines cannot be compared{other}")
        return ["fp16"]
    if not in_8_bits:
        print(
            f"only fp16 is built: {bundle.path} has no 8-bit graph; python -m htsat_edge.calibration.quantize makes one"
        )
        return ["fp16"]
    return ["fp16", "int8"]


def provide_all(builder: EngineBuilder, recipes: Sequence[Recipe], requested: str) -> list[EngineManifest]:
    """Return the manifests of the engines that could be provided; where none could, raise the error of the last."""
    manifests: list[EngineManifest] = []
    for recipe in recipes:
        try:
            manifest, how = builder.provide(recipe, requested)
        except (HtsatEdgeError, CheckFailed) as error:
            if not manifests and recipe == recipes[-1]:
                raise
            print(f"build_trt.py: {error}", file=sys.stderr)
        else:
            print(describe(manifest, how), flush=True)
            manifests.append(manifest)
    return manifests


def describe(manifest: EngineManifest, how: str) -> str:
    """Return one line about an engine."""
    parts = [f"{manifest.recipe.precision}: {how}, {manifest.engine_bytes / 1e6:.1f} MB"]
    if manifest.latency is None or manifest.validation is None:
        return "; ".join([*parts, "not compared with fp32: there is no GPU here"])
    latency, snr = manifest.latency, manifest.validation.logit_snr_db
    wanted = f" ({manifest.validation.budget_db:g} dB or more is wanted)"
    batch = "a window takes" if latency.batch == 1 else f"{latency.batch} windows take"
    parts.append(f"{batch} {latency.p50_ms:.2f} ms (99 % of runs at most {latency.p99_ms:.2f} ms)")
    parts.append(
        manifest.rejection or ("scores equal to fp32" if snr is None else f"logit SNR to fp32 {snr:g} dB{wanted}")
    )
    return "; ".join(parts)


def mebibytes(text: str) -> int:
    """Parse a size in MiB that TensorRT accepts."""
    if (size := count(text)) > 2**20:
        raise argparse.ArgumentTypeError(f"{text} MiB are more than any device has")
    return size


def batch(text: str) -> tuple[int, int, int]:
    """Parse the sizes of a batch: three numbers that rise, or one for all three."""
    sizes = [count(size) for size in text.split(",")]
    sizes = sizes * 3 if len(sizes) == 1 else sizes
    if len(sizes) != 3 or sizes != sorted(sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not MIN,OPT,MAX, from few to many, such as 1,1,8")
    return sizes[0], sizes[1], sizes[2]


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(prog="build_trt.py", description="Build engines of a bundle for this machine, and validate them.")
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=BUNDLED, metavar="BUNDLE", help="(default: the bundled model)"
    )
    parser.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="auto: fp16 and int8, of which the faster one within the budget is used (default)",
    )
    parser.add_argument(
        "--batch",
        type=batch,
        default=(1, 1, 8),
        metavar="MIN,OPT,MAX",
        help="windows at a time: fewest, what the engine is tuned for, most (default 1,1,8)",
    )
    parser.add_argument(
        "--flavour",
        choices=list(NAMES),
        help="tensorrt, as on a Jetson; rtx: TensorRT for RTX, for cards of PCs (default: what is installed)",
    )
    parser.add_argument(
        "--budget",
        type=decibels,
        default=30.0,
        metavar="DB",
        help="least signal-to-noise ratio of the logits to those of fp32, in dB (default 30)",
    )
    parser.add_argument(
        "--workspace-mib", type=mebibytes, default=1024, metavar="N", help="memory for a layer (default 1024)"
    )
    parser.add_argument(
        "--optimization-level",
        type=int,
        choices=range(6),
        default=3,
        help="how long TensorRT searches, 0 to 5 (default 3)",
    )
    parser.add_argument(
        "--background", action="store_true", help="build at low priority, and give up what has failed three times"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: build_trt(args))


if __name__ == "__main__":
    sys.exit(main())
