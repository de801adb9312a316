"""Write the 8-bit and 16-bit graphs of a bundle, calibrated on recordings.

python calibration/quantize.py BUNDLE --clips PATH…
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, count, decibels, refuse_without_extra, run, seed
from htsat_edge.runtime.common.machine import installed_versions, load_onnxruntime

try:
    load_onnxruntime()
    import onnx
    from onnxruntime.quantization import QuantType
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("quantize.py", "calibration", error)

from htsat_edge.calibration.graphs import GRAPHS
from htsat_edge.calibration.observe import METHODS
from htsat_edge.calibration.packing import is_packed, pack
from htsat_edge.calibration.quantizer import Maker, Quantizer
from htsat_edge.calibration.selection import FEWEST, MaterialWindow, draw, split
from htsat_edge.calibration.sensitivity import fewest_in_float, measure
from htsat_edge.calibration.structure import Linear
from htsat_edge.evaluation.datasets.options import add_clips
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, replacing_several, sha256_of
from htsat_edge.runtime.common.progress import waiting, with_progress
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import CPU_FP32, MODEL_FILE, Bundle, Quantization, load_bundle

COUNT = 64
TOLERANCE_DB = 30.0
"""A graph whose logits, its raw outputs, are further than this from the float ones is of no use."""


def quantize(args: argparse.Namespace) -> int:
    """Write the graphs that the arguments name into the bundle, or leave it as it was."""
    bundle = load_bundle(args.bundle)
    refuse_foreign(bundle, args.graphs)
    refuse_unwritable(bundle.path / MODEL_FILE)
    open_backend(bundle, "fp32").close()  # a damaged graph is reported before the recordings are read
    cpu = CPU_FP32 if CPU_FP32 in bundle.precisions() and "cpu-int8" in args.graphs else None
    if cpu is not None:
        open_backend(bundle, cpu, "onnxruntime").close()
    windows, log_mels = draw(args.clips, bundle.info, args.count, args.seed, args.dataset, args.fold)
    learned, held = split(windows)
    print(f"{len(learned)} windows to learn ranges from, {len(held)} to measure on; this takes minutes", flush=True)
    fp32 = onnx.load(bundle.graph("fp32"))
    quantizer = Quantizer(
        fp32,
        log_mels[learned],
        log_mels[held],
        onnx.load(bundle.graph(cpu)) if cpu else None,
    )
    methods = METHODS if args.method == "best" else (args.method,)
    method = quantizer.best_method(QuantType.QInt8, methods)
    cpu_method = quantizer.best_method(QuantType.QUInt8, methods) if "cpu-int8" in args.graphs else None
    makers = {name: quantizer.makers(method, cpu_method or method)[name] for name in args.graphs}
    key = (bundle.sha256("fp32"), method, *(window.sha256 for window in windows))
    in_float = choose_float(quantizer, method, makers, args, key, bundle)
    graphs = {
        name: make([linear for linear in quantizer.linears if linear.name not in in_float])
        for name, make in with_progress([*makers.items()], "making the graphs")
    }
    if is_packed(fp32):
        graphs = {name: pack(model) for name, model in graphs.items()}
    snrs = measure_graphs(quantizer, graphs, args.budget)
    others = [name for name in GRAPHS if name in bundle.precisions() and name not in graphs]
    stale = [name for name in others if bundle.is_own(name) is not False]
    provenance = Quantization(
        fp32_sha256=bundle.sha256("fp32"),
        method=method,
        cpu_method=cpu_method,
        cpu_fp32_sha256=bundle.sha256(cpu) if cpu else None,
        seed=args.seed,
        clips=[windows[i].sha256[:16] for i in learned],
        float_layers=in_float,
        logit_snr_db={name: round(snr, 1) for name, snr in snrs.items()},
        versions=installed_versions("htsat-edge", "onnx", "onnxruntime", "numpy"),
    )
    write(bundle, graphs, provenance, stale)
    if graphs.keys() != {"fp16"}:
        report_layers(quantizer, in_float)
    report(bundle, provenance, [windows[i] for i in learned], [windows[i] for i in held], stale)
    return 0


def refuse_foreign(bundle: Bundle, names: Sequence[str]) -> None:
    """Raise an HtsatEdgeError where a graph would be replaced that was not written by this script."""
    foreign = [name for name in names if name in bundle.precisions() and bundle.is_own(name) is False]
    if foreign:
        raise HtsatEdgeError(
            f"{bundle.graph(foreign[0])}: was not written by quantize.py, and would be replaced; move it away, or "
            "leave it out with --graphs"
        )


def choose_float(
    quantizer: Quantizer,
    method: str,
    makers: Mapping[str, Maker],
    args: argparse.Namespace,
    key: Sequence[str],
    bundle: Bundle,
) -> list[str]:
    """Return the layers that stay in floating point, so that the worst of the graphs keeps to --budget.

    Raise CheckFailed where half of the layers are not enough.
    """
    eight_bits = [make for name, make in makers.items() if name != "fp16"]
    if not eight_bits:
        return []

    def worst(linears: Sequence[Linear]) -> float:
        return min(quantizer.snr_db(make(linears)) for make in eight_bits)

    def damage(linears: Sequence[Linear]) -> float:
        return quantizer.snr_db(quantizer.int8(method, QuantType.QInt8, linears))

    with waiting("measuring all layers in 8 bits"):
        enough = args.budget is None or worst(quantizer.linears) >= args.budget
    if enough and not args.sensitivity:
        return []
    ranking = measure(quantizer.linears, damage, key, bundle.path / "sensitivity.json")
    print("signal to noise of the raw outputs with one layer alone in 8 bits, the ten lowest:")
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


def measure_graphs(
    quantizer: Quantizer, graphs: Mapping[str, onnx.ModelProto], budget_db: float | None
) -> dict[str, float]:
    """Return the logit SNR of each graph; raise CheckFailed where one is of no use."""
    snrs = {name: quantizer.snr_db(model) for name, model in with_progress([*graphs.items()], "measuring")}
    for name, snr in snrs.items():
        if not snr >= TOLERANCE_DB:  # NaN is not, either
            hint = "" if budget_db else "; --budget puts the worst layers back into floating point"
            far = (
                f"have a signal to noise of {snr:.1f} dB, want {TOLERANCE_DB:g}"
                if math.isfinite(snr)
                else "are no numbers"
            )
            raise CheckFailed(f"{name}.onnx: its raw outputs {far}; the bundle is as it was{hint}")
    return snrs


def write(
    bundle: Bundle, graphs: Mapping[str, onnx.ModelProto], provenance: Quantization, stale: Sequence[str]
) -> None:
    """Put the graphs into the bundle, and into model.json how they were made: everything or nothing.

    Graphs of an earlier calibration, `stale`, are removed: model.json would no longer describe them.
    """
    # model.json comes last, since it describes the others.
    changed = (*(f"{name}.onnx" for name in [*graphs, *stale]), MODEL_FILE)
    with replacing_several(bundle.path, changed) as folder:
        for name, model in graphs.items():
            onnx.save(model, folder / f"{name}.onnx")
        written = provenance.model_copy(update={"sha256": {n: sha256_of(folder / f"{n}.onnx") for n in graphs}})
        info = bundle.info.model_copy(update={"quantization": written})
        text = info.model_dump_json(indent=2, exclude_none=True) + "\n"
        (folder / MODEL_FILE).write_text(text, encoding="utf-8")


def report_layers(quantizer: Quantizer, in_float: Sequence[str]) -> None:
    """Print how many layers are in 8 bits."""
    missed = f", not {listed(quantizer.missed)}" if quantizer.missed else ""
    total = len(quantizer.linears) + len(quantizer.missed)
    print(f"{len(quantizer.linears) - len(in_float)} of {total} linear layers are in 8 bits{missed}")


def report(
    bundle: Bundle,
    provenance: Quantization,
    learned: Sequence[MaterialWindow],
    held: Sequence[MaterialWindow],
    stale: Sequence[str],
) -> None:
    """Print what was written and removed, and how good it is."""
    snrs = provenance.logit_snr_db
    if stale:
        print(f"removed, as of an earlier calibration: {', '.join(f'{name}.onnx' for name in stale)}")
    whole = bundle.size("fp32")
    for name, snr in snrs.items():
        size = bundle.size(name)
        part = f"{size / 1e6:.1f} MB, {100 * size / whole:.0f} % of fp32.onnx"
        print(f"written: {bundle.graph(name)}, {part}, signal to noise {snr:.1f} dB")
    apart = {window.path for window in learned}.isdisjoint(window.path for window in held)
    window_s = bundle.info.steps * bundle.info.step_s
    print(
        f"ranges from {len(learned)} windows of {window_s:g} s by {provenance.method}; signal to noise is of the raw "
        f"outputs to those of fp32.onnx, on {len(held)} windows of {'other' if apart else 'the same'} recordings"
    )
    if "cpu-int8" in snrs and provenance.cpu_fp32_sha256 is None:
        print(
            f"cpu-int8 was made from fp32.onnx; it would be faster, made from {CPU_FP32}.onnx, which "
            "python -m htsat_edge.export.to_onnx writes"
        )
    if "cpu-int8" in snrs:
        print("htsat-edge uses cpu-int8 once accuracy.py has found it good enough, or with --precision cpu-int8")
    if for_gpu := [f"{name}.onnx" for name in GRAPHS if name in snrs and name != "cpu-int8"]:
        build = shlex.join(["python", "-m", "htsat_edge.export.build_trt", str(bundle.path)])
        print(f"an NVIDIA GPU takes engines of {listed(for_gpu)}: {build}, on the device that has it")
    command = ["python", "-m", "htsat_edge.calibration.accuracy", str(bundle.path), "--clips", "OTHER_RECORDINGS"]
    print(f"next, what they cost in events: {shlex.join(command)}")


def graph_names(text: str) -> list[str]:
    """Parse names of graphs between commas."""
    names = text.split(",")
    for name in names:
        if name not in GRAPHS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(GRAPHS)}")
    return names


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="quantize.py", description="Write the 8-bit and 16-bit graphs of a bundle.")
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="the folder of a bundle, as export/to_onnx.py writes it"
    )
    add_clips(parser, "recordings, folders of them, manifests or a data set: such as the microphone will record")
    parser.add_argument(
        "--count", type=count, default=COUNT, help=f"windows to choose (default {COUNT}, at least {FEWEST})"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the choice (default 0)")
    parser.add_argument(
        "--method",
        choices=["best", *METHODS],
        default="best",
        help="how the range of a layer's input is chosen (default: whichever keeps the raw outputs closest)",
    )
    parser.add_argument(
        "--budget",
        type=decibels,
        metavar="DB",
        help="signal to noise that the raw outputs must have: the worst layers go back to floating point until they do",
    )
    parser.add_argument(
        "--graphs", type=graph_names, default=GRAPHS, metavar="A,B", help=f"write only these of {', '.join(GRAPHS)}"
    )
    parser.add_argument("--sensitivity", action="store_true", help="measure each layer alone; kept in sensitivity.json")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: quantize(args))


if __name__ == "__main__":
    sys.exit(main())
