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
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from htsat_edge.runtime.common.command import Parser, count, decibels, run
from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.machine import Machine, read_machine
from htsat_edge.runtime.common.progress import Phases
from htsat_edge.runtime.models.backends import check_shapes
from htsat_edge.runtime.models.backends.trt import TrtBackend, has_cudart, installed_flavour, load_tensorrt, open_device
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle
from htsat_edge.runtime.models.engines import (
    FOLDER,
    NAMES,
    PRECISIONS,
    Flavour,
    Here,
    Passport,
    Recipe,
    engine_file,
    find,
    misfit,
    passport_file,
    read_engine,
    read_passports,
)
from pydantic import BaseModel

if TYPE_CHECKING:
    import onnx

TIMING_CACHE = "timing.cache"
ATTEMPTS = 3
"""In the background, before an engine is given up until somebody builds it by hand."""


class Attempts(BaseModel):
    """How often a build in the background did not come to an end."""

    recipe: Recipe
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
        except HtsatEdgeError:
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    site = Site(args)
    print(f"{site.bundle.info.name}: {site}", flush=True)
    with locked(site.folder):
        recipes = [make_recipe(site, precision, args) for precision in choose(site, args.precision)]
        passports = provide_all(site, recipes, args.precision)
        sweep(site)
        broken = [f"{p.recipe.precision}: {p.broken}" for p in passports if p.broken]
        if len(broken) == len(passports):
            raise CheckFailed(f"not fit to be used: {'; '.join(broken)}")
        if site.here.gpu is not None:
            best = find(site.bundle, site.here)[0]
            print(f"htsat-edge uses {best.recipe.precision}, the fastest that is near enough to fp32")
    return 0


def provide_all(site: Site, recipes: Sequence[Recipe], asked: str) -> list[Passport]:
    """The passports of all engines that can be had; where there is none, the reason of the last is raised."""
    passports = []
    for recipe in recipes:
        try:
            passports.append(provide(site, recipe, asked))
        except (HtsatEdgeError, CheckFailed) as error:
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
    """What an engine of this precision depends on; an HtsatEdgeError where the bundle has nothing to build it from."""
    from htsat_edge.export.engine import SOURCES, is_typed

    sources = SOURCES[is_typed(site.trt)][precision]
    there = [name for name in sources if name in site.bundle.precisions()]
    if not there:
        maker = f"calibration/quantize.py {site.bundle.path} --clips …" if precision == "int8" else "export/to_onnx.py"
        raise HtsatEdgeError(
            f"{site.bundle.path}: has no {sources[-1]}.onnx, of which {precision} engines are built; {maker} makes it"
        )
    return Recipe(
        flavour=site.here.flavour,
        tensorrt=site.here.tensorrt,
        gpu=site.here.gpu if site.here.flavour == "tensorrt" else None,
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
    if known is None or known.broken:
        passport = built(site, recipe, asked)
        how = f"built in {passport.build_s:.1f} s"
    else:
        passport = known if known.proven_on == site.here.gpu or site.here.gpu is None else compared(site, known)
        passport = judged(passport, site.budget_db)
        how = f"is there since {known.built.astimezone():%Y-%m-%d %H:%M}"
    if passport != known:
        with replacing(passport_file(site.bundle, recipe)) as part:
            part.write_text(passport.model_dump_json(indent=2) + "\n", encoding="utf-8")
    attempts_file(site, recipe).unlink(missing_ok=True)
    tell(passport, how)
    return passport


def judged(passport: Passport, budget_db: float) -> Passport:
    """The same by the budget of today."""
    snr = passport.check.logit_snr_db if passport.check is not None else None
    if snr is None or snr >= budget_db:
        return passport
    return passport.model_copy(update={"broken": f"its logits are within {snr:g} dB of fp32, want {budget_db:g}"})


def find_known(site: Site, recipe: Recipe) -> Passport | None:
    """The passport of an engine that is there, whole, and is taken by TensorRT."""
    if not passport_file(site.bundle, recipe).exists():
        return None
    for passport in read_passports(site.bundle):
        if passport.recipe == recipe:
            try:
                engine = read_engine(site.bundle, passport)
                if site.here.gpu is not None:
                    TrtBackend(site.trt, engine, site.bundle.info).close()
            except HtsatEdgeError as error:
                print(f"{error}; it is built anew", file=sys.stderr)
                return None
            return passport
    return None


def built(site: Site, recipe: Recipe, asked: str) -> Passport:
    """Build an engine and compare it. In the background a failure is remembered, one that ends the process as well."""
    graph = load_graph(site, recipe)
    failed = attempts_file(site, recipe)
    before = read_attempts(failed, recipe)
    if site.background and before.count >= ATTEMPTS:
        raise CheckFailed(
            f"{recipe.precision}: was tried {before.count} times: {before.reason}; "
            "python export/build_trt.py tries once more, and says more"
        )

    def remember(attempts: Attempts) -> None:
        if site.background:
            with replacing(failed) as part:
                part.write_text(attempts.model_dump_json(), encoding="utf-8")

    def failure(reason: str) -> Attempts:
        return Attempts(recipe=recipe, count=before.count + 1, reason=reason)

    remember(failure("the process ended, or the machine"))
    try:
        passport = compile_graph(site, recipe, graph, asked)
        return compared(site, passport)
    except HtsatEdgeError as error:
        remember(failure(str(error)))
        raise
    except KeyboardInterrupt:  # to be stopped is not to have failed
        remember(before)
        sys.stdout.flush()
        os._exit(130)  # a build cannot be stopped, nor the process end as usual while it goes on


def read_attempts(path: Path, recipe: Recipe) -> Attempts:
    """What is remembered of an engine; a file that a power cut has torn says nothing."""
    with suppress(HtsatEdgeError):
        if path.exists():
            return read_json(path, Attempts)
    return Attempts(recipe=recipe, count=0, reason="")


def compile_graph(site: Site, recipe: Recipe, graph: onnx.ModelProto, asked: str) -> Passport:
    """Build an engine and write it; its passport is not complete."""
    from htsat_edge.export.engine import build, has_monitor

    cache = site.folder / TIMING_CACHE
    if not has_monitor(site.trt):
        last = [f"the last one took {p.build_s:.0f} s" for p in read_passports(site.bundle)[:1]]
        print(f"{recipe.precision}: is being built; {(last or ['on a Jetson this takes minutes'])[0]}", flush=True)
    info = site.bundle.info
    timing = cache.read_bytes() if cache.exists() and recipe.flavour == "tensorrt" else b""
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
        proven_on=None,
        broken=None,
    )


def load_graph(site: Site, recipe: Recipe) -> onnx.ModelProto:
    """Load the graph to build from, in half precision where it must be; raise where it is not the bundle's."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise HtsatEdgeError("building needs onnx: pip install onnx") from None
    from htsat_edge.calibration.graphs import to_half
    from htsat_edge.export.engine import needs_halving

    path = site.bundle.graph(recipe.graph)
    try:
        model = onnx.load(path)
        tensors = [*model.graph.input, *model.graph.output]
        shapes = {x.name: [d.dim_value for d in x.type.tensor_type.shape.dim][1:] for x in tensors}
        check_shapes(str(path), shapes, site.bundle.info)
        return to_half(model) if needs_halving(site.trt, recipe) else model
    except HtsatEdgeError:
        raise
    except Exception as error:  # neither protobuf's nor onnx' errors share a class of their own
        raise HtsatEdgeError(
            f"{path}: is no ONNX file that can be built from: {' '.join(str(error).split())}"
        ) from None


def compared(site: Site, passport: Passport) -> Passport:
    """The passport with what the engine is worth on this GPU, if there is one."""
    if site.here.gpu is None:
        return passport
    from htsat_edge.export.validate import prove

    engine = read_engine(site.bundle, passport)
    latency, check, broken = prove(
        site.bundle,
        lambda cuda_graph: TrtBackend(site.trt, engine, site.bundle.info, cuda_graph),
        passport.recipe.batch,
        site.budget_db,
        has_cudart(),
    )
    return passport.model_copy(
        update={
            "latency": latency,
            "check": check,
            "proven_on": site.here.gpu,
            "broken": broken,
            "cuda": site.cuda,
            "machine": site.machine,
        }
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


def sweep(site: Site) -> None:
    """Remove engines of another version, graph or other options, what is remembered of such, and what kills have left.

    Those for another GPU stay: on some modules the power mode changes how many SMs there are.
    """
    keep, newest = set(), set()
    for passport in read_passports(site.bundle):
        recipe = passport.recipe
        twin = (recipe.flavour, recipe.precision, recipe.gpu)
        reason = "another took its place" if twin in newest else outdated(site, recipe)
        newest.add(twin)
        if reason is None:
            keep |= {engine_file(site.bundle, recipe), passport_file(site.bundle, recipe)}
        else:
            print(f"{recipe.precision}: the engine of {passport.built:%Y-%m-%d} is removed: {reason}")
    for path in site.folder.glob("*.failed"):
        with suppress(HtsatEdgeError):
            if outdated(site, read_json(path, Attempts).recipe) is None:
                keep.add(path)
    for pattern in ("*.engine", "*.json", "*.failed", ".*.part"):
        for path in site.folder.glob(pattern):
            if path not in keep:
                path.unlink()


def outdated(site: Site, recipe: Recipe) -> str | None:
    """Why nobody will use an engine again, if so."""
    if recipe.flavour != site.here.flavour:
        return None
    return misfit(site.bundle, recipe, replace(site.here, gpu=recipe.gpu))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One build at a time in a folder; another waits for it, and then finds what it has built."""
    try:
        folder.mkdir(exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        hint = "; build as the bundle's owner, or a copy of the bundle" if isinstance(error, PermissionError) else ""
        raise HtsatEdgeError(f"{folder}: cannot be written: {error.strerror}{hint}") from None
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


def mebibytes(text: str) -> int:
    """A size that TensorRT can be told."""
    if (size := count(text)) > 2**20:
        raise argparse.ArgumentTypeError(f"{text} MiB are more than any device has")
    return size


def batch(text: str) -> tuple[int, int, int]:
    """MIN,OPT,MAX, or one number for all three."""
    sizes = [count(size) for size in text.split(",")]
    sizes = sizes * 3 if len(sizes) == 1 else sizes
    if len(sizes) != 3 or sizes != sorted(sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not MIN,OPT,MAX, from few to many, such as 1,1,8")
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
        "--budget", type=decibels, default=30.0, metavar="DB", help="least logit SNR to fp32 (default 30 dB)"
    )
    parser.add_argument(
        "--workspace-mib", type=mebibytes, default=1024, metavar="N", help="what a layer may use (default 1024)"
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
