"""Run `htsat-edge bench`: measure how fast a model runs on this machine."""

from __future__ import annotations

import argparse
import tempfile
from datetime import datetime
from pathlib import Path

from htsat_edge.runtime.commands.bench import worker  # noqa: F401  # its libraries are refused once, and not by each
from htsat_edge.runtime.commands.bench.device import Power, clock_mhz, load, read_device, read_versions
from htsat_edge.runtime.commands.bench.plan import (
    FindBaselines,
    Plan,
    Request,
    add_baselines,
    choose_graphs,
    find_baselines,
    matrix_products,
    read_network_size,
)
from htsat_edge.runtime.commands.bench.pool import time_in_turn
from htsat_edge.runtime.commands.bench.report import print_bench
from htsat_edge.runtime.commands.bench.results import Bench, NetworkSize, gemm_rates, multiply_adds, summarise
from htsat_edge.runtime.common.command import require_matplotlib
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import check_threads, cores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings


def run(args: argparse.Namespace, find: FindBaselines = find_baselines) -> int:
    """Run the command with the arguments of its parser; return the exit status.

    `find` finds the public models that run beside the bundle's.
    """
    load_before = load()
    if args.plot is not None:
        check_plot(args.plot)
    bundle = load_bundle(args.bundle or BUNDLED)
    Settings(hop_s=args.hop_s).validate(bundle.info)
    request = read_request(args)
    network = read_network_size(bundle)
    plan = choose_graphs(bundle, request)
    with tempfile.TemporaryDirectory() as folder:
        plan = add_baselines(plan, request, network, Path(folder), find)
        bench = measure(bundle.info.name, plan, network, request, args.runs, load_before)
    if args.json:
        print(bench.model_dump_json(indent=2))
    else:
        print_bench(bench)
    if args.plot is not None:
        from htsat_edge.runtime.commands.bench.picture import draw

        draw(args.plot, bench)
    return 0


def read_request(args: argparse.Namespace) -> Request:
    """Return what the arguments ask for; raise an HtsatEdgeError where it is more threads than can be started."""
    for threads in args.threads or ():
        check_threads(threads)
    return Request(
        threads=args.threads or sorted({1, cores()}),
        backend=args.backend,
        precisions=args.precision or (),
        hop_s=args.hop_s,
        sources=args.sources,
        baselines=args.baselines,
    )


def check_plot(plot: Path) -> None:
    """Raise an HtsatEdgeError, before anything is measured, where the picture could not be written."""
    require_matplotlib()
    if plot.suffix.lower() != ".png" or not plot.parent.is_dir():
        raise HtsatEdgeError(f"--plot {plot}: want the name of a .png file in a folder that exists")


def measure(
    name: str, plan: Plan, network: NetworkSize | None, request: Request, runs: int, load_before: float | None
) -> Bench:
    """Time what is planned for the model `name`, and read the machine's state meanwhile.

    Raises
    ------
    HtsatEdgeError
        No form of the model could be run.
    """
    began, clocks_mhz = datetime.now().astimezone(), []
    with Power() as power:
        observed, failed = time_in_turn(
            [*plan.candidates, *matrix_products(request.threads)],
            runs,
            after_run=lambda: clocks_mhz.append(clock_mhz()),
        )
    macs = None if network is None else multiply_adds(network)
    gemm = gemm_rates(observed, request.threads)
    return Bench(
        bundle=name,
        began=began,
        device=read_device(load_before, power.watts, [mhz for mhz in clocks_mhz if mhz is not None]),
        versions=read_versions(),
        runs=runs,
        multiply_adds_per_window=macs,
        gemm=gemm,
        measured=[summarise(one, macs, gemm) for one in observed if one.candidate.kind != "gemm"],
        not_run=plan.not_run | failed,
    )
