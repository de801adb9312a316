"""Write the 8-bit and 16-bit graphs of a bundle, calibrated on recordings.

python calibration/quantize.py BUNDLE --clips PATH…
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, count, decibels, refuse_without_extra, run, seed

try:
    import numpy as np
    import onnx
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("quantize.py", "calibration", missing)

from htsat_edge.calibration.graphs import GRAPHS, Rounded, round_weights, to_half, to_int8
from htsat_edge.calibration.observe import METHODS, Linear, Observed, Range, find_linears, observe
from htsat_edge.calibration.sensitivity import fewest_in_float, logits_of, measure
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.evaluation.windows import FEWEST, draw, split
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import CPU_FP32, MODEL_FILE, Bundle, Quantization, read_bundle
from onnx.numpy_helper import to_array as array
from onnxruntime.quantization import QuantType

COUNT = 64
CHANGED = (*(f"{name}.onnx" for name in GRAPHS), MODEL_FILE)
"""The files of a bundle that are written; model.json last, for it says what there is."""
TOLERANCE_DB = 30.0
"""A graph whose logits are further than this from the float ones is of no use, and a sign that something is wrong."""


Maker = Callable[[Sequence[Linear]], onnx.ModelProto]


class Quantizer:
    """One float graph, what was seen of it, and how far any version of it is from it."""

    def __init__(
        self, model: onnx.ModelProto, clips: FloatArray, held: FloatArray, on_cpu: onnx.ModelProto | None = None
    ) -> None:
        """Run `clips` through the model. `on_cpu` has the same layers, in other ops; it is what cpu-int8 is made of."""
        self.model = model
        self.linears = find_linears(model)
        self._on_cpu = on_cpu
        self._twins = {} if on_cpu is None else twins(self.linears, model, on_cpu)
        self._held = held
        self._logits = logits_of(model, held)
        self._observed: Observed = observe(model, self.linears, with_progress(list(clips), "calibrating"))
        self._rounded: Mapping[str, Rounded] = round_weights(model, self.linears, self._observed)
        self._ranges: dict[tuple[str, QuantType], Mapping[str, Range]] = {}

    def int8(self, method: str, kind: QuantType, linears: Sequence[Linear]) -> onnx.ModelProto:
        """The graph with these layers in 8 bits."""
        if (method, kind) not in self._ranges:
            self._ranges[method, kind] = self._observed.ranges(method, symmetric=kind == QuantType.QInt8)
        rounded, ranges = self._rounded, self._ranges[method, kind]
        if kind != QuantType.QUInt8 or self._on_cpu is None:
            return to_int8(self.model, linears, rounded, ranges, kind)
        pairs = [(linear, twin) for linear in linears for twin in self._twins[linear.weight]]
        own_ranges = {twin.input: ranges[linear.input] for linear, twin in pairs}
        return to_int8(self._on_cpu, [twin for _, twin in pairs], rounded, own_ranges, kind)

    def snr_db(self, model: onnx.ModelProto) -> float:
        """Of the logits of the held clips."""
        return snr_db(self._logits, logits_of(model, self._held))

    def best_method(self, kind: QuantType, methods: Sequence[str]) -> str:
        """That which keeps the logits of the held clips closest."""
        if len(methods) == 1:
            return methods[0]
        return max(methods, key=lambda method: self.snr_db(self.int8(method, kind, self.linears)))


def twins(linears: Sequence[Linear], model: onnx.ModelProto, other: onnx.ModelProto) -> dict[str, list[Linear]]:
    """The same layers in another graph of the same network, by the name of their weight, which must be the same.

    There a layer may take its tokens in pieces.
    """
    found: dict[str, list[Linear]] = {}
    for linear in find_linears(other):
        found.setdefault(linear.weight, []).append(linear)
    ours, theirs = ({tensor.name: tensor for tensor in graph.graph.initializer} for graph in (model, other))
    for linear in linears:
        if linear.weight not in found or not np.array_equal(array(ours[linear.weight]), array(theirs[linear.weight])):
            raise HtsatEdgeError(
                f"{CPU_FP32}.onnx: its {linear.name} is not that of fp32.onnx; export/to_onnx.py --cpu writes both"
            )
    return found


def quantize(args: argparse.Namespace) -> int:
    """Write what the arguments ask for into the bundle, or leave it as it was."""
    bundle = read_bundle(args.bundle)
    open_backend(bundle, "fp32").close()  # says what is wrong with it before the recordings are read
    cpu = CPU_FP32 if CPU_FP32 in bundle.precisions() and "cpu-int8" in args.graphs else None
    if cpu is not None:
        open_backend(bundle, cpu, "onnxruntime").close()
    windows, log_mels = draw(args.clips, bundle.info, args.count, args.seed)
    learned, held = split(windows)
    quantizer = Quantizer(
        onnx.load(bundle.graph("fp32")),
        log_mels[learned],
        log_mels[held],
        onnx.load(bundle.graph(cpu)) if cpu else None,
    )
    methods = METHODS if args.method == "best" else (args.method,)
    method = quantizer.best_method(QuantType.QInt8, methods)
    key = (bundle.sha256("fp32"), method, *(window.sha256 for window in windows))
    cpu_method = quantizer.best_method(QuantType.QUInt8, methods) if "cpu-int8" in args.graphs else None
    makers = makers_of(quantizer, method, cpu_method or method)
    eight_bits = [makers[name] for name in args.graphs if name != "fp16"]

    def worst(linears: Sequence[Linear]) -> float:
        return min(quantizer.snr_db(make(linears)) for make in eight_bits)

    in_float = choose_float(quantizer, method, worst, args, key, bundle) if eight_bits else []
    linears = [linear for linear in quantizer.linears if linear.name not in in_float]
    graphs = {name: makers[name](linears) for name in args.graphs}
    snrs = {name: quantizer.snr_db(model) for name, model in graphs.items()}
    for name, snr in snrs.items():
        if not snr >= TOLERANCE_DB:  # which what is no number is not, either
            hint = "" if args.budget else "; --budget puts the worst layers back into floating point"
            raise CheckFailed(
                f"{name}.onnx: its logits are within {snr:.1f} dB of fp32, want {TOLERANCE_DB:g}; the bundle is as it "
                f"was{hint}"
            )
    told = Quantization(
        fp32_sha256=bundle.sha256("fp32"),
        method=method,
        cpu_method=cpu_method,
        cpu_fp32_sha256=bundle.sha256(cpu) if cpu else None,
        seed=args.seed,
        clips=[windows[i].sha256[:16] for i in learned],
        float_layers=in_float,
        logit_snr_db={name: round(snr, 1) for name, snr in snrs.items()},
        versions={name: version(name) for name in ("htsat-edge", "onnx", "onnxruntime", "numpy")},
    )
    gone = [name for name in GRAPHS if name in bundle.precisions() and name not in graphs]
    write(bundle, graphs, told)
    if gone:
        print(f"removed, as of an earlier calibration: {', '.join(f'{name}.onnx' for name in gone)}")
    if "cpu-int8" in graphs and cpu is None:
        print("cpu-int8 was made of fp32.onnx: export/to_onnx.py --cpu gives a graph that makes it faster")
    whole = bundle.graph("fp32").stat().st_size
    apart = {windows[i].path for i in learned}.isdisjoint(windows[i].path for i in held)
    others = "of other recordings" if apart else "of the same recordings"
    print(f"calibrated on {len(learned)} clips by {method}, measured on {len(held)} {others}")
    for name, snr in snrs.items():
        size = bundle.graph(name).stat().st_size
        print(f"{bundle.graph(name)}: {size / 1e6:.1f} MB, {size / whole:.2f} of fp32, logits within {snr:.1f} dB")
    if "cpu-int8" in graphs:
        print(
            "detect uses cpu-int8 once calibration/accuracy.py found it within the budget, or with --precision cpu-int8"
        )
    return 0


def makers_of(quantizer: Quantizer, method: str, cpu_method: str) -> Mapping[str, Maker]:
    """How each of GRAPHS is made, with given layers in 8 bits."""
    return {
        "fp16": lambda _: to_half(quantizer.model),
        "int8": lambda linears: quantizer.int8(method, QuantType.QInt8, linears),
        "int8_fp16": lambda linears: to_half(quantizer.int8(method, QuantType.QInt8, linears)),
        "cpu-int8": lambda linears: quantizer.int8(cpu_method, QuantType.QUInt8, linears),
    }


def choose_float(
    quantizer: Quantizer,
    method: str,
    worst: Callable[[Sequence[Linear]], float],
    args: argparse.Namespace,
    key: Sequence[str],
    bundle: Bundle,
) -> list[str]:
    """The layers that stay in floating point, so that the `worst` of the graphs keeps to the budget."""

    def damage(linears: Sequence[Linear]) -> float:
        return quantizer.snr_db(quantizer.int8(method, QuantType.QInt8, linears))

    enough = args.budget is None or worst(quantizer.linears) >= args.budget
    if enough and not args.sensitivity:
        return []
    ranking = measure(quantizer.linears, damage, key, bundle.path / "sensitivity.json")
    print("logit SNR with one layer alone in 8 bits, the worst ten:")
    for name, snr in list(ranking.items())[:10]:
        print(f"  {snr:6.1f} dB  {name}")
    if enough:
        return []
    in_float, reached = fewest_in_float(quantizer.linears, list(ranking), worst, args.budget)
    if reached < args.budget:
        raise CheckFailed(
            f"the budget of {args.budget:g} dB cannot be met: {reached:.1f} dB with the worst {len(in_float)} of "
            f"{len(ranking)} layers in floating point; the bundle is as it was"
        )
    print(f"{len(in_float)} of {len(ranking)} layers stay in floating point, for {reached:.1f} dB")
    return in_float


def write(bundle: Bundle, graphs: Mapping[str, onnx.ModelProto], told: Quantization) -> None:
    """Put the graphs into the bundle, and into model.json how they were made; all of it or nothing.

    Graphs that were made before and are not made now go: model.json would say nothing true of them.
    """
    text = bundle.info.model_copy(update={"quantization": told}).model_dump_json(indent=2, exclude_none=True) + "\n"
    untouched = left = "the bundle is as it was"
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".quantize.", dir=bundle.path))
        new, old = folder / "new", folder / "old"
        new.mkdir()
        old.mkdir()
        for name, model in graphs.items():
            onnx.save(model, new / f"{name}.onnx")
        (new / MODEL_FILE).write_text(text, encoding="utf-8")
        for name in CHANGED:
            if (bundle.path / name).exists():
                shutil.copy2(bundle.path / name, old / name)
        try:
            exchange(new, bundle.path)
        except BaseException:
            left = f"what it held is in {old}"
            exchange(old, bundle.path)
            left = untouched
            raise
    except OSError as error:
        raise HtsatEdgeError(f"{bundle.path}: cannot be written: {error.strerror}; {left}") from None
    finally:
        if folder is not None and left == untouched:
            shutil.rmtree(folder, ignore_errors=True)


def exchange(source: Path, target: Path) -> None:
    """Give a bundle the files of CHANGED that another folder has, and take away those that it has not."""
    for name in CHANGED:
        if (source / name).exists():
            (source / name).replace(target / name)
        else:
            (target / name).unlink(missing_ok=True)


def graph_names(text: str) -> list[str]:
    """Names of graphs between commas."""
    names = text.split(",")
    for name in names:
        if name not in GRAPHS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(GRAPHS)}")
    return names


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="quantize.py", description="Write the 8-bit and 16-bit graphs of a bundle.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that export/to_onnx.py wrote")
    parser.add_argument(
        "--clips",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="recordings, folders of them, or manifests with a column `file`: what the microphone will hear",
    )
    parser.add_argument(
        "--count", type=count, default=COUNT, help=f"clips to draw from them (default {COUNT}, at least {FEWEST})"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the draw (default 0)")
    parser.add_argument(
        "--method",
        choices=["best", *METHODS],
        default="best",
        help="how the range of an activation is chosen (default: whichever keeps the logits closest)",
    )
    parser.add_argument(
        "--budget",
        type=decibels,
        metavar="DB",
        help="least logit SNR: the worst layers go back to floating point until it holds",
    )
    parser.add_argument(
        "--graphs", type=graph_names, default=GRAPHS, metavar="A,B", help=f"write these alone of {', '.join(GRAPHS)}"
    )
    parser.add_argument("--sensitivity", action="store_true", help="measure each layer alone; kept in sensitivity.json")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: quantize(args))


if __name__ == "__main__":
    sys.exit(main())
