"""Run `accuracy.py --latency`: how soon sounds are reported at several operating points, and what that costs."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from htsat_edge.calibration.material import open_graph, read_material, with_classes
from htsat_edge.evaluation.figures import Truth
from htsat_edge.evaluation.latency import listen, scorer
from htsat_edge.evaluation.latency_figures import LatencyFigures, figures_of, operating_points
from htsat_edge.evaluation.latency_report import draw, has_mark, print_table
from htsat_edge.runtime.commands.plot import has_mark as is_picture
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, replacing
from htsat_edge.runtime.common.machine import installed_versions
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.models.bundle import load_bundle

NAME = "latency.json"
CHOSEN = "fp32"
OPTIONS = ("hops", "look_aheads", "early_margins", "out")
"""Those of --latency alone."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --latency and what belongs to it."""
    group = parser.add_argument_group("how soon sounds are reported, in place of comparing graphs")
    group.add_argument(
        "--latency",
        action="store_true",
        help="measure latency, events and false alarms of one graph (--precisions; default: fp32) at operating points: "
        "every hop with every look-ahead and every early margin",
    )
    group.add_argument("--hops", type=numbers, metavar="S,S", help="(default: 1, 2 and 4 steps of the model)")
    group.add_argument("--look-aheads", type=numbers, metavar="S,S", help="(default: 1, 4 and 8 steps)")
    group.add_argument(
        "--early-margins",
        type=margins,
        metavar="X,X",
        help="how far above the threshold scores must be for an early start, in logits; none: starts wait until scores "
        "are final (default: the default, and none)",
    )
    group.add_argument(
        "--out", type=Path, metavar="JSON", help=f"figures, with a picture beside them (default: {NAME} here)"
    )


def numbers(text: str) -> list[float]:
    """Return numbers that commas separate."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0.32,0.64") from None


def margins(text: str) -> list[float | None]:
    """Return numbers, or None for `none`, that commas separate."""
    return [None if part == "none" else numbers(part)[0] for part in text.split(",")]


def refuse_mixed_options(args: argparse.Namespace) -> None:
    """Raise an HtsatEdgeError where an option is given that has no use with --latency, or without it."""
    for key in ("page",) if args.latency else OPTIONS:
        if getattr(args, key) is not None:
            option = f"--{key.replace('_', '-')}"
            raise HtsatEdgeError(f"{option}: has no use {'with' if args.latency else 'without'} --latency")


def measure_latency(args: argparse.Namespace) -> int:
    """Run the command."""
    bundle, names = load_bundle(args.bundle), args.precisions or [CHOSEN]
    if len(names) != 1:
        raise HtsatEdgeError(f"--precisions {','.join(names)}: --latency measures one graph")
    bundle.graph(names[0])  # raises an error that lists the graphs, if this is not one
    points = operating_points(bundle.info, args.hops, args.look_aheads, args.early_margins)
    out = Path(NAME) if args.out is None else args.out
    picture = out.with_suffix(".png")
    refuse_taken(out, picture)
    material = read_material(args, bundle.info)
    info = with_classes(bundle.info, material.classes)
    truth = Truth(material.recordings, info.labels)
    if truth.events is None or not any(truth.events):
        raise HtsatEdgeError("--clips: --latency needs labels that say when sounds begin and end")
    with closing(open_graph(bundle, names[0], material.classes)) as backend:
        score = scorer(backend)
        heard = [listen(r.path, info, points, score) for r in with_progress(material.recordings, "playing")]
    found = LatencyFigures(
        bundle=info.name,
        graph=names[0],
        material=", ".join(path.name for path in args.clips),
        recordings=len(heard),
        hours=sum(one.duration_s for one in heard) / 3600,
        versions=installed_versions("htsat-edge", "onnxruntime", "numpy", "sed_scores_eval"),
        points=[
            figures_of(info, points, i, heard, truth.events) for i in with_progress(range(len(points)), "measuring")
        ],
    )
    print_table(found)
    with replacing(out) as part, replacing(picture) as picture_part:
        part.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        draw(picture_part, found)
    print(f"{out}, and to look at: {picture}")
    return 0


def refuse_taken(out: Path, picture: Path) -> None:
    """Raise an HtsatEdgeError unless both files can be written and are free or ours."""
    if out.suffix != ".json":
        raise HtsatEdgeError(f"--out {out}: want the name of a .json file")
    refuse_foreign("--out", out, has_mark)
    refuse_foreign("--out", picture, is_picture)
    for path in (out, picture):
        refuse_unwritable(path)
