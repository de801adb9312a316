"""Build the engines of a bundle for this machine, compare them with fp32, and write their passports.

python export/build_trt.py [BUNDLE] [--precision auto|fp16|int8|fp32]
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pydantic import BaseModel

from runtime.backends.trt import TrtBackend, has_cudart, installed_flavour, load_tensorrt, open_device
from runtime.bundle import BUNDLED, Bundle, read_bundle
from runtime.command import Parser, count, run
from runtime.config import read_json
from runtime.engines import (
    FOLDER,
    NAMES,
    Flavour,
    Here,
    NoEngine,
    Passport,
    Recipe,
    distrust,
    engine_file,
    misfit,
    passport_file,
    read_engine,
    read_passports,
)
from runtime.errors import CheckFailed, UserError
from runtime.files import replacing
from runtime.machine import Machine, read_machine
from runtime.progress import Phases

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16", "int8")
TIMING_CACHE = "timing.cache"
ATTEMPTS = 3
"""In the background, before an engine is given up until somebody builds it by hand."""


class Attempts(BaseModel):
    """How often a build did not come to an end."""

    count: int
    reason: str


class Site:
    """Where engines are built, and for what."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.bundle = read_bundle(args.bundle or BUNDLED)
        self.background: bool = args.background
        self.budget_db: float = args.budget
        flavour: Flavour = args.flavour or installed_flavour() or "tensorrt"
        self.trt: ModuleType = load_tensorrt(flavour)
        gpu = self.cuda = None
        try:
            gpu, self.cuda = open_device().gpu, open_device().driver
        except UserError:
            if flavour == "tensorrt":  # which compiles for the GPU that is there
                raise
        self.here = Here(flavour, self.trt.__version__, gpu)
        self.machine: Machine = read_machine()

    @property
    def folder(self) -> Path:
        """Of the engines."""
        return self.bundle.path / FOLDER

    def __str__(self) -> str:
        gpu = f"{self.here.gpu}, {self.machine}" if self.here.gpu else "no GPU here"
        return f"{NAMES[self.here.flavour]} {self.here.tensorrt}, {gpu}"


def build_trt(args: argparse.Namespace) -> int:
    """Provide the engines that the arguments ask for."""
    if args.background:
        os.nice(19)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be stopped is not to have failed
    site = Site(args)
    print(f"{site.bundle.info.name}: {site}", flush=True)
    recipes = [make_recipe(site, precision, args) for precision in choose(site, args.precision)]
    with locked(site.folder):
        passports = provide_all(site, recipes, args.precision)
        sweep(site, recipes)
    proven = [p for p in passports if distrust(p) is None]
    broken = [f"{p.recipe.precision}: {p.broken}" for p in passports if p.broken]
    if broken and not proven:
        raise CheckFailed(f"no engine is used: {'; '.join(broken)}")
    if len(passports) > 1 and proven:
        best = min(proven, key=lambda p: p.latency.p50_ms if p.latency else 0)
        print(f"{best.recipe.precision} is the faster one within the budget, and is used")
    return 0


def provide_all(site: Site, recipes: Sequence[Recipe], asked: str) -> list[Passport]:
    """The passports of all engines that can be had; where there is none, the reason of the last is raised."""
    passports = []
    for recipe in recipes:
        try:
            passports.append(provide(site, recipe, asked))
        except (UserError, CheckFailed) as error:
            if not passports and recipe == recipes[-1]:
                raise
            print(f"build_trt.py: {error}", file=sys.stderr)
    return passports


def choose(site: Site, asked: str) -> Sequence[str]:
    """The precisions to build: of `auto` fp16 and int8, as far as they can be made and compared."""
    if asked != "auto":
        return [asked]
    if site.here.gpu is None:
        print("without a GPU nothing can be compared: fp16 is built")
        return ["fp16"]
    if "int8" not in site.bundle.precisions() and "int8_fp16" not in site.bundle.precisions():
        print(f"{site.bundle.path}: has no 8-bit graph, which calibration/quantize.py makes: fp16 is built")
        return ["fp16"]
    return ["fp16", "int8"]


def make_recipe(site: Site, precision: str, args: argparse.Namespace) -> Recipe:
    """What an engine of this precision depends on; a UserError where the bundle has nothing to build it from."""
    from export.engine import SOURCES, is_typed

    sources = SOURCES[is_typed(site.trt)][precision]
    there = [name for name in sources if name in site.bundle.precisions()]
    if not there:
        raise UserError(
            f"{site.bundle.path}: has no {sources[-1]}.onnx, of which {precision} engines are built; "
            f"calibration/quantize.py {site.bundle.path} --clips … makes it"
        )
    return Recipe(
        flavour=site.here.flavour,
        tensorrt=site.here.tensorrt,
        gpu=site.here.gpu,
        precision=precision,
        graph=there[0],
        graph_sha256=site.bundle.sha256(there[0]),
        batch=args.batch,
        workspace_mib=args.workspace_mib,
        optimization_level=args.optimization_level,
    )


def provide(site: Site, recipe: Recipe, asked: str) -> Passport:
    """The passport of an engine: of the one that is there, or of a new one."""
    known = find_known(site, recipe)
    if known is not None and known.broken and site.background:
        raise CheckFailed(f"{recipe.precision}: {known.broken}; python export/build_trt.py builds it again")
    if known is not None and not known.broken:
        if known.latency is not None or site.here.gpu is None:
            tell(known, f"is there since {known.built:%Y-%m-%d %H:%M}")
            return known
        passport = compared(site, known)
        how = "is there"
    else:
        passport = built(site, recipe, asked)
        how = f"built in {passport.build_s:.1f} s"
    with replacing(passport_file(site.bundle, recipe)) as part:
        part.write_text(passport.model_dump_json(indent=2) + "\n", encoding="utf-8")
    attempts_file(site, recipe).unlink(missing_ok=True)
    tell(passport, how)
    return passport


def find_known(site: Site, recipe: Recipe) -> Passport | None:
    """The passport of an engine that is there, whole."""
    if not passport_file(site.bundle, recipe).exists():
        return None
    for passport in read_passports(site.bundle):
        if passport.recipe == recipe:
            try:
                read_engine(site.bundle, passport)
            except NoEngine as error:
                print(error, file=sys.stderr)
                return None
            return passport
    return None


def built(site: Site, recipe: Recipe, asked: str) -> Passport:
    """Build an engine and compare it. A failure is remembered, one that ends the process as well."""
    from export.engine import has_monitor

    failed = attempts_file(site, recipe)
    before = read_json(failed, Attempts) if failed.exists() else Attempts(count=0, reason="")
    if site.background and before.count >= ATTEMPTS:
        raise CheckFailed(
            f"{recipe.precision}: was tried {before.count} times: {before.reason}; "
            "python export/build_trt.py tries once more, and says more"
        )

    def remember(reason: str) -> None:
        with replacing(failed) as part:
            part.write_text(Attempts(count=before.count + 1, reason=reason).model_dump_json(), encoding="utf-8")

    remember("the process ended, or the machine")
    try:
        passport = compile_graph(site, recipe, asked)
        return compared(site, passport)
    except UserError as error:
        remember(str(error))
        raise
    except KeyboardInterrupt:
        failed.unlink()
        if not has_monitor(site.trt):
            os._exit(130)  # the build cannot be stopped, nor the process end as usual while it goes on
        raise


def compile_graph(site: Site, recipe: Recipe, asked: str) -> Passport:
    """Build an engine and write it; its passport is not complete."""
    from export.engine import build, has_monitor, needs_halving

    cache = site.folder / TIMING_CACHE
    if not has_monitor(site.trt):
        last = [f"the last one took {p.build_s:.0f} s" for p in read_passports(site.bundle)[:1]]
        print(f"{recipe.precision}: is being built; {(last or ['on a Jetson this takes minutes'])[0]}", flush=True)
    info = site.bundle.info
    timing = cache.read_bytes() if cache.exists() and recipe.flavour == "tensorrt" else b""
    graph = load_graph(site.bundle, recipe, needs_halving(site.trt, recipe))
    with Phases(recipe.precision) as phases:
        done = build(site.trt, graph, recipe, (info.frames, info.front_end.n_mels), timing, phases)
    with replacing(engine_file(site.bundle, recipe)) as part:
        part.write_bytes(done.engine)
    if done.timing_cache:
        with replacing(cache) as part:
            part.write_bytes(done.timing_cache)
    calibration = info.quantization.model_dump_json() if info.quantization and recipe.precision == "int8" else None
    return Passport(
        recipe=recipe,
        asked=asked,
        engine_sha256=hashlib.sha256(done.engine).hexdigest(),
        engine_bytes=len(done.engine),
        calibration_sha256=hashlib.sha256(calibration.encode()).hexdigest() if calibration else None,
        cuda=site.cuda,
        machine=site.machine,
        versions={name: installed(name) for name in ("htsat-edge", "onnx", "onnxruntime", "numpy")},
        built=datetime.now(timezone.utc),
        build_s=round(done.seconds, 1),
        latency=None,
        check=None,
        broken=None,
    )


def load_graph(bundle: Bundle, recipe: Recipe, halve: bool) -> onnx.ModelProto:
    """The graph to build from, brought into half precision if it must be."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise UserError('building needs onnx: pip install -e ".[jetson]"') from None
    from calibration.graphs import to_half

    path = bundle.graph(recipe.graph)
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors share no class of their own
        raise UserError(f"{path}: is no ONNX file: {error}") from None
    return to_half(model) if halve else model


def compared(site: Site, passport: Passport) -> Passport:
    """The passport with what the engine is worth on this GPU, if there is one."""
    if site.here.gpu is None:
        return passport
    from export.prove import prove

    engine = read_engine(site.bundle, passport)
    latency, check, broken = prove(
        site.bundle,
        lambda cuda_graph: TrtBackend(site.trt, engine, site.bundle.info, cuda_graph),
        passport.recipe.batch,
        site.budget_db,
        has_cudart(),
    )
    return passport.model_copy(
        update={"latency": latency, "check": check, "broken": broken, "cuda": site.cuda, "machine": site.machine}
    )


def tell(passport: Passport, how: str) -> None:
    """One line of an engine."""
    told = [f"{passport.recipe.precision}: {how}, {passport.engine_bytes / 1e6:.1f} MB"]
    if passport.latency is None or passport.check is None:
        told.append("not compared with fp32: there is no GPU here")
    else:
        latency, snr = passport.latency, passport.check.logit_snr_db
        batch = "a clip takes" if latency.batch == 1 else f"{latency.batch} clips take"
        told.append(f"{batch} {latency.p50_ms:.2f} ms (p99 {latency.p99_ms:.2f})")
        told.append(passport.broken or ("the same as fp32" if snr is None else f"logits within {snr:g} dB of fp32"))
    print("; ".join(told), flush=True)


def attempts_file(site: Site, recipe: Recipe) -> Path:
    """Where it is remembered that an engine could not be built."""
    return site.folder / f"{recipe.key}.failed"


def sweep(site: Site, recipes: Sequence[Recipe]) -> None:
    """Remove what cannot be used here any more: engines of another version, GPU or graph, and what kills have left."""
    keep, gone = {".lock", TIMING_CACHE, *(attempts_file(site, recipe).name for recipe in recipes)}, []
    for passport in read_passports(site.bundle):
        recipe = passport.recipe
        other = recipe.flavour != site.here.flavour or (site.here.gpu is None and recipe.gpu is not None)
        reason = None if other else misfit(site.bundle, recipe, site.here)
        if reason is None:
            keep |= {engine_file(site.bundle, recipe).name, passport_file(site.bundle, recipe).name}
        else:
            gone.append(f"{recipe.precision}: the engine of {passport.built:%Y-%m-%d} is removed: {reason}")
    for path in site.folder.iterdir():
        if path.name not in keep:
            path.unlink()
    for line in gone:
        print(line)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One build at a time in a folder; another waits for it, and then finds what it has built."""
    try:
        folder.mkdir(exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written: {error.strerror}; build as the bundle's owner, or a copy of the bundle"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"waiting for process {file.read().strip()}, which builds here", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def batch(text: str) -> tuple[int, int, int]:
    """MIN,OPT,MAX, or one number for all three."""
    sizes = [count(size) for size in text.split(",")]
    sizes = sizes * 3 if len(sizes) == 1 else sizes
    if len(sizes) != 3 or sizes != sorted(sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not MIN,OPT,MAX, such as 1,1,8")
    return sizes[0], sizes[1], sizes[2]


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="build_trt.py", description="Build engines of a bundle for this machine, and prove them.")
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="(default: the bundled model)")
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
        help="clips at a time: fewest, what it is tuned for, most (default 1,1,8)",
    )
    parser.add_argument(
        "--flavour",
        choices=list(NAMES),
        help="tensorrt, as on a Jetson; rtx: TensorRT for RTX, for cards of PCs (default: what is installed)",
    )
    parser.add_argument(
        "--budget", type=float, default=30.0, metavar="DB", help="least logit SNR to fp32 (default 30 dB)"
    )
    parser.add_argument(
        "--workspace-mib", type=count, default=1024, metavar="N", help="what a layer may use (default 1024)"
    )
    parser.add_argument(
        "--optimization-level",
        type=int,
        choices=range(6),
        default=3,
        help="how long TensorRT searches, 0 to 5 (default 3)",
    )
    parser.add_argument(
        "--background", action="store_true", help="at low priority, and not again what has failed before"
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: build_trt(args))


if __name__ == "__main__":
    sys.exit(main())
