"""Export a checkpoint as a bundle that the runtime can use.

python export/to_onnx.py CHECKPOINT --network configs/networks/NAME.yaml --labels configs/labels/NAME.csv --out BUNDLE
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run

try:
    import numpy as np
    import onnx
    import torch
    from safetensors.torch import save_file

    from htsat_edge.calibration.packing import pack
    from htsat_edge.evaluation.tuning import Tuning
    from htsat_edge.export.cpu_graph import build_for_cpu
    from htsat_edge.export.graph import OPSET, build, build_with_front_end
    from htsat_edge.htsat.checkpoint import load_checkpoint, weight_files
    from htsat_edge.htsat.checkpoint.claims import check_order
    from htsat_edge.htsat.config import NetworkConfig, read_network
    from htsat_edge.htsat.front_end import TorchLogMel
    from htsat_edge.htsat.label_file import read_audioset, read_label_file
    from htsat_edge.htsat.network import FRAMES, HTSAT, STEPS, NetworkOutput
    from htsat_edge.runtime.common.arrays import FloatArray
    from htsat_edge.runtime.common.config import parse, read_json
    from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
    from htsat_edge.runtime.common.files import refuse_unwritable_folder, replacing_folder, sha256_of
    from htsat_edge.runtime.common.machine import installed_versions
    from htsat_edge.runtime.common.progress import waiting, with_progress
    from htsat_edge.runtime.common.text import listed
    from htsat_edge.runtime.dsp.log_mel import FLOOR_POWER, FrontEnd
    from htsat_edge.runtime.models.backends.backend import Scores
    from htsat_edge.runtime.models.backends.ort import open_session
    from htsat_edge.runtime.models.bundle import DEFAULT_THRESHOLD, MODEL_FILE, ModelInfo
    from htsat_edge.runtime.models.groups import read_groups
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("to_onnx.py", "export", error)

WEIGHTS_FILE = "weights.safetensors"
NO_GROUPS = "none"
MEASURED = ("accuracy.json", "accuracy.html", "sensitivity.json")
"""Files that calibration/ wrote about the graphs of the bundle."""
CHECK_BATCHES = (1, 2, 5)
TOLERANCE = 1e-4
"""Largest difference from torch that is float rounding; a wrong graph differs by 1e-2 and more."""


def step_seconds(frames: int, frame_s: float) -> float:
    """Return the seconds of one of the 32 steps.

    A window of 1024 frames fills the network's grid as it is. A shorter one is stretched, from the centre of its first
    frame to that of its last: 10 s for 1001 frames.
    """
    return (frames if frames == FRAMES else frames - 1) * frame_s / STEPS


def check(network: HTSAT, graph: str, model: onnx.ModelProto, frames: int) -> dict[str, float]:
    """Return the largest difference between a graph and torch on random input, by batch size.

    Raise CheckFailed where it is more than float rounding.
    """
    session = open_session(model.SerializeToString())
    (name,) = (x.name for x in session.get_inputs())
    rng, differences = np.random.default_rng(0), {}
    for batch in CHECK_BATCHES:
        inputs, log_mel = draw_input(rng, name, batch, frames, network.config.front_end)
        found = Scores(*session.run(list(Scores._fields), {name: inputs}))
        differences[str(batch)] = difference(network, found, log_mel)
    return _accept(graph, differences)


def draw_input(
    rng: np.random.Generator, name: str, batch: int, frames: int, front_end: FrontEnd
) -> tuple[FloatArray, torch.Tensor]:
    """Return random input for a graph, `audio` or `log_mel` by its name, and the log-mels of it for torch."""
    if name == "audio":
        audio = rng.normal(0, 0.1, (batch, (frames - 1) * front_end.hop)).astype(np.float32)
        return audio, TorchLogMel(front_end)(torch.from_numpy(audio))
    floor_db = 10 * np.log10(FLOOR_POWER)
    log_mel = np.maximum(rng.normal(-40, 20, (batch, frames, front_end.n_mels)), floor_db).astype(np.float32)
    return log_mel, torch.from_numpy(log_mel)


def difference(network: HTSAT, found: Scores, log_mel: torch.Tensor) -> float:
    """Return the largest difference of any output to torch's; NaN if there is one."""
    with torch.no_grad():
        wanted: NetworkOutput = network(log_mel)
    gaps = [np.abs(getattr(found, name) - getattr(wanted, name).numpy()).max() for name in Scores._fields]
    return float(np.max(gaps))  # unlike Python's max it keeps NaN


def _accept(name: str, differences: dict[str, float]) -> dict[str, float]:
    worst = float(np.max(list(differences.values())))
    if not worst <= TOLERANCE:
        raise CheckFailed(f"{name}: differs from torch by {worst:.2g}, allowed are {TOLERANCE:g}; nothing was written")
    return {batch: float(f"{value:.2g}") for batch, value in differences.items()}


def check_out(out: Path) -> None:
    """Raise an HtsatEdgeError where `out` exists and is no bundle, or cannot be written."""
    try:
        bundle = (out / MODEL_FILE).is_file()
        empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    except OSError as error:
        raise HtsatEdgeError(f"--out {out}: cannot be written: {error.strerror}") from None
    if not bundle and not empty:
        raise HtsatEdgeError(f"--out {out}: exists and is no bundle; give another name")
    refuse_unwritable_folder(out.resolve().parent)


def is_foreign(entry: Path) -> bool:
    """Return whether an entry of a bundle is somebody's own, such as a model card, and not made from the model."""
    return entry.suffix != ".onnx" and entry.name not in (WEIGHTS_FILE, "engines", *MEASURED)


def export(args: argparse.Namespace) -> int:
    """Run the command: write a bundle."""
    check_out(args.out)
    config = read_network(args.network)
    labels = read_label_file(args.labels, config.classes)
    info = {
        "name": args.name or args.network.stem,
        "front_end": config.front_end.model_dump(exclude_none=True),
        "frames": args.frames,
        "steps": STEPS,
        "step_s": step_seconds(args.frames, config.front_end.frame_s),
        "loss": config.loss,
        "labels": labels.labels,
        **({"parents": labels.parents} if labels.parents else {}),
        **(read_thresholds(args.thresholds).model_dump() if args.thresholds else {}),
    }
    named = parse(args.thresholds or args.network, info, ModelInfo)
    by_group = {} if args.thresholds else read_group_thresholds(args.groups or choose_groups(named.labels), named)
    if by_group:
        info["thresholds"] = by_group
    loaded = load_checkpoint(args.checkpoint, config, args.ema, args.at)
    check_order(args.labels, labels.labels, loaded.class_names)
    print(f"{args.checkpoint}: took {loaded.taken}", flush=True)
    if labels.ordered_by:
        print(f"{args.labels}: its rows were put in the order of {labels.ordered_by}", flush=True)
    network = loaded.network
    halves = {name: value.half() for name, value in network.state_dict().items() if value.is_floating_point()}
    if args.half_weights:
        refuse_large(args.checkpoint, halves)
        network.load_state_dict({**network.state_dict(), **halves})  # rounded, and float32 again
    with waiting("building the graphs"):
        graphs = build_graphs(network, args)
    compared = with_progress([*graphs.items()], "comparing graphs with torch")
    checks = {name: check(network, name, model, args.frames) for name, model in compared}
    info["provenance"] = provenance(args.checkpoint, config, checks)
    with replacing_folder(args.out, is_foreign) as folder:
        if args.with_weights:
            save_file(halves, folder / WEIGHTS_FILE)
            (folder / WEIGHTS_FILE).chmod(0o644)  # not for its owner alone
        for name, model in graphs.items():
            onnx.save(model, folder / name)
        (folder / MODEL_FILE).write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report(args.out, graphs, checks)
    print(f"thresholds: {describe_thresholds(info.get('thresholds', {}), config.classes, bool(by_group))}")
    print(f"next: htsat-edge detect RECORDING --bundle {shlex.quote(str(args.out))}")
    print(f"live: `model: {{bundle: {args.out}}}` in the daemon's configuration, then htsat-edge listen")
    return 0


def read_thresholds(path: Path) -> Tuning:
    """Return thresholds and median lengths; where there is no such file, raise an error that says what writes it."""
    if not path.exists():
        raise HtsatEdgeError(
            f"--thresholds {path}: no such file; run "
            f"`python -m htsat_edge.htsat.evaluate {path.parent} --data FOLDER` first"
        )
    return read_json(path, Tuning)


def build_graphs(network: HTSAT, args: argparse.Namespace) -> dict[str, onnx.ModelProto]:
    """Return the graphs that the arguments ask for, by file."""
    graphs = {"fp32.onnx": build(network, args.frames)}
    if args.cpu:
        graphs["cpu-fp32.onnx"] = build_for_cpu(network, args.frames)
    if args.with_front_end:
        graphs["fp32-audio.onnx"] = build_with_front_end(network, args.frames)
    return {name: pack(model) for name, model in graphs.items()} if args.half_weights else graphs


def report(out: Path, graphs: dict[str, onnx.ModelProto], checks: dict[str, dict[str, float]]) -> None:
    """Print a line about each graph of a bundle."""
    for name, differences in checks.items():
        nodes, size = len(graphs[name].graph.node), (out / name).stat().st_size
        worst = max(differences.values())
        print(
            f"{out / name}: {size / 1e6:.1f} MB, {nodes} operations; its outputs are within {worst:.1g} of torch's "
            "for 1, 2 and 5 windows at once"
        )


def choose_groups(labels: Sequence[str]) -> str:
    """Return the groups whose thresholds a model gets unless told otherwise: AudioSet's, where its labels are."""
    return "audioset" if set(read_audioset().labels).issuperset(labels) else NO_GROUPS


def read_group_thresholds(name: str, info: ModelInfo) -> dict[str, float]:
    """Return by label the threshold of its group, of those that have one; raise where there are no such groups."""
    if name == NO_GROUPS:
        return {}
    groups = read_groups(name, info)
    info.check_labels(f"--groups {name}", [label for group in groups.values() for label in group.labels])
    return {label: g.threshold for g in groups.values() if g.threshold is not None for label in g.labels}


def describe_thresholds(thresholds: dict[str, float], classes: int, by_group: bool) -> str:
    """Return which thresholds a bundle has, and for how many of its classes."""
    if not thresholds:
        return f"{DEFAULT_THRESHOLD:g} for all {classes} classes; --thresholds or --groups gives others"
    least, most = min(thresholds.values()), max(thresholds.values())
    span = f"{least:.2g}" if least == most else f"{least:.2g} to {most:.2g}"
    origin = ", those of their groups (a judgement, not measured)," if by_group else ""
    if len(thresholds) == classes:
        return f"{span}{origin} for all {classes} classes"
    return f"{span}{origin} for {len(thresholds)} of {classes} classes; {DEFAULT_THRESHOLD:g} for the rest"


def refuse_large(checkpoint: Path, halves: dict[str, torch.Tensor]) -> None:
    """Raise an HtsatEdgeError where weights do not fit half precision."""
    large = [name for name, value in halves.items() if not value.isfinite().all()]
    if large:
        raise HtsatEdgeError(
            f"{checkpoint}: {listed(large)}: too large for half precision; export it without --half-weights"
        )


def provenance(checkpoint: Path, config: NetworkConfig, checks: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return where a bundle comes from, and how far its graphs are from torch."""
    return {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": sha256_of(*weight_files(checkpoint)),
        "network": config.model_dump(exclude={"front_end"}, mode="json"),
        "opset": OPSET,
        "versions": installed_versions("htsat-edge", "torch", "onnx", "onnxruntime", "numpy"),
        "largest_difference_from_torch_by_batch": checks,
    }


def frames(text: str) -> int:
    """Parse a number of frames that the network can take, with at least two in each step."""
    if not text.isdecimal() or not 2 * STEPS <= int(text) <= FRAMES:
        raise argparse.ArgumentTypeError(f"{text} is not between {2 * STEPS} and {FRAMES}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="to_onnx.py", description="Export a checkpoint of HTS-AT as a bundle for the runtime.")
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a file of torch or safetensors, or a folder of transformers",
    )
    parser.add_argument(
        "--network", type=Path, required=True, help="its description, such as configs/networks/audioset.yaml"
    )
    parser.add_argument(
        "--labels", type=Path, required=True, help="their names: a table, a list in JSON, or a label a line"
    )
    parser.add_argument("--ema", action="store_true", help="take the averaged copy of the weights (EMA)")
    parser.add_argument("--at", metavar="PLACE", help="where the weights are, if the checkpoint holds several networks")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument(
        "--frames",
        type=frames,
        default=FRAMES,
        help="frames of a window (default 1024: 10.24 s; 1001 is the reference's 10 s)",
    )
    parser.add_argument(
        "--cpu",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also write cpu-fp32.onnx, which onnxruntime is faster with on a CPU (default: yes)",
    )
    parser.add_argument("--with-front-end", action="store_true", help="also write fp32-audio.onnx, which takes audio")
    parser.add_argument(
        "--with-weights", action="store_true", help=f"also write {WEIGHTS_FILE}, in half precision, to fine-tune from"
    )
    parser.add_argument(
        "--half-weights",
        action="store_true",
        help="round the weights to half precision, and store them in it: half the file, computed in float32 as before",
    )
    thresholds = parser.add_mutually_exclusive_group()
    thresholds.add_argument("--thresholds", type=Path, metavar="JSON", help="thresholds and median lengths by label")
    thresholds.add_argument(
        "--groups",
        metavar="NAME",
        help="give each class the threshold of its group, of a file or of configs/groups; none: 0.5 for all "
        "(default: audioset where all labels are AudioSet's)",
    )
    parser.add_argument("--name", help="the model's name (default: the network file's)")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: export(args))


if __name__ == "__main__":
    sys.exit(main())
