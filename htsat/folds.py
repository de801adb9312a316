"""Cross-validate a training: hold each fold of a data set back in turn, train on the others, and measure on it.

python -m htsat_edge.htsat.folds --config configs/train-esc50.yaml --data ESC-50 --out RUNS

Each fold has a folder of its own in RUNS. Stopped and started again, it goes on; folds that are measured are not done
again. The last line is the mean over the folds, with its 90 % interval by Student's t.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run, seed

try:
    import numpy as np
    import scipy.stats

    from htsat_edge.htsat.batches import identity_of
    from htsat_edge.htsat.evaluate import measure_clips, measure_scenes
    from htsat_edge.htsat.train import train
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.folds", "train", error)

from htsat_edge.evaluation.datasets import LAYOUTS, read_dataset
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import read_corpora
from htsat_edge.htsat.initial import refuse_frozen_noise
from htsat_edge.htsat.processes import Processes, joined
from htsat_edge.htsat.settings import RunFolder, TrainConfig, read_training
from htsat_edge.htsat.sources import read_clips
from htsat_edge.runtime.common.errors import HtsatEdgeError

SHARE = 0.9
"""Of the interval."""


def folds_of(data: Sequence[Path], layout: str | None) -> list[int]:
    """Return the numbers of the folds of a data set; raise an HtsatEdgeError where it has none."""
    named = {recording.fold for recording in read_dataset(data, layout).recordings}
    folds = sorted(int(fold) for fold in named if fold.isdecimal())
    if len(folds) < 2:
        raise HtsatEdgeError("--data: has no folds; htsat_edge.htsat.train trains on one split")
    return folds


def run_fold(
    config: TrainConfig, network: NetworkConfig, args: argparse.Namespace, fold: int, processes: Processes
) -> RunFolder:
    """Train and measure with one fold held back, unless that is done; return its folder."""
    folder = RunFolder(args.out / f"fold-{fold}")
    print(f"fold {fold}", flush=True)
    # One after the other: their lists have types of their own.
    if config.examples == "clips":
        clips = read_clips(args.data, args.dataset, fold)
        if is_done(folder, identity_of(config, network, clips, args.init)):
            return folder
        train(config, network, clips, folder.path, args.init, args.workers, processes)
        if processes.first:
            print(measure_clips(folder, clips).line(), flush=True)
    else:
        parts = read_corpora(args.data, args.dataset, fold)
        if is_done(folder, identity_of(config, network, parts, args.init)):
            return folder
        train(config, network, parts, folder.path, args.init, args.workers, processes)
        if processes.first:
            print(measure_scenes(folder, parts).line(), flush=True)
    return folder


def is_done(folder: RunFolder, identity: str) -> bool:
    """Return whether this training has been measured there; raise an HtsatEdgeError where another has."""
    return folder.figures.exists() and folder.is_of(identity)


def mean_over_folds(folders: Sequence[RunFolder]) -> dict[str, Interval]:
    """Return the mean of each figure over the folds, with its interval by Student's t: folds are few."""
    values: dict[str, list[float]] = defaultdict(list)
    for folder in folders:
        for name, figure in json.loads(folder.figures.read_text())["figures"].items():
            if figure["value"] is not None:
                values[name].append(figure["value"])
    return {name: t_interval(found) for name, found in values.items()}


def t_interval(values: Sequence[float]) -> Interval:
    """Return the mean of values with its 90 % interval by Student's t; of one value, without."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(value=mean, low=None, high=None)
    half = float(scipy.stats.t.ppf((1 + SHARE) / 2, count - 1) * np.std(values, ddof=1) / count**0.5)
    return Interval(value=mean, low=mean - half, high=mean + half)


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    config, network = read_training(args.config)
    refuse_frozen_noise(config.freeze, args.init)
    with joined() as processes:
        folders = [run_fold(config, network, args, fold, processes) for fold in folds_of(args.data, args.dataset)]
        if processes.first:  # it has written the last figures
            for name, figure in mean_over_folds(folders).items():
                ends = "" if figure.low is None else f" ({figure.low:.3f}–{figure.high:.3f})"
                print(f"{name} {figure.value:.3f}{ends}, mean of {len(folders)} folds")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.htsat.folds", description="Train and measure on each fold of a set.")
    parser.add_argument("--config", type=Path, required=True, help="a training file, such as configs/train-esc50.yaml")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="a data set with folds")
    parser.add_argument("--dataset", choices=list(LAYOUTS), metavar="LAYOUT", help="as in training")
    parser.add_argument("--out", type=Path, required=True, help="folder for the folders of the folds")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help="fine-tune these weights of the same network")
    parser.add_argument("--workers", type=seed, metavar="N", help="processes that draw examples, as in training")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
