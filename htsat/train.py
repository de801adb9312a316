"""Train a network, on synthetic scenes or on whole clips.

python -m htsat_edge.htsat.train --config configs/train.yaml --data FOLDER --out RUN
torchrun --nproc-per-node 4 -m htsat_edge.htsat.train --config configs/train-audioset.yaml --data FOLDER --out RUN

A training may be stopped at any moment. Started again with the same arguments, it goes on from its last save and ends
with the same weights (on the same machine, with the same number of threads). `--init CHECKPOINT` begins with the
weights of a trained network in place of random ones, and a new head: fine-tuning on classes of one's own. Several
processes of torchrun, each with a GPU, share every batch and train as one would (processes.py).
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import csv
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run, seed

try:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch.utils.data import DataLoader, Dataset
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.train", "train", error)

from htsat_edge.evaluation.datasets.options import add_options
from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.htsat.batches import Batch, identity_of
from htsat_edge.htsat.clips import LabelledClip
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import Recording, read_corpora
from htsat_edge.htsat.doubts import CLOSED, count_held, doubts_of_data
from htsat_edge.htsat.initial import freeze_backbone, make_network, refuse_frozen_noise, set_drop_path
from htsat_edge.htsat.processes import Processes, joined
from htsat_edge.htsat.settings import Example, RunFolder, TrainConfig, labels_of, read_training
from htsat_edge.htsat.sources import TrainingData, open_clips, open_scenes, read_clips
from htsat_edge.htsat.training import Training, without_auxiliary
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable_folder, replacing
from htsat_edge.runtime.common.progress import with_progress

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AHEAD = 4
"""Batches that each process draws ahead."""


@contextmanager
def stop_requested() -> Iterator[Event]:
    """Yield an event that Ctrl-C, SIGTERM or a closed terminal sets, so that a training stops between two steps."""
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in STOPS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_training(
    config: TrainConfig,
    network_config: NetworkConfig,
    recordings: Sequence[Example],
    outputs: int,
    save: Path,
    init: Path | None,
    processes: Processes = Processes(),
) -> Training:
    """Return a training as `save` has it, or where there is no save, at step 0."""
    torch.manual_seed(config.seed)
    network = make_network(network_config, outputs, init)
    set_drop_path(network, config.drop_path)
    processes.share(network)
    if config.freeze:
        freeze_backbone(network)
    identity = identity_of(config, network_config, recordings, init)
    training = Training(network, config, identity, processes)
    if save.exists():
        training.restore(save)
    return training


def train(
    config: TrainConfig,
    network_config: NetworkConfig,
    recordings: Sequence[Recording] | Sequence[LabelledClip],
    out: Path,
    init: Path | None = None,
    workers: int | None = None,
    processes: Processes = Processes(),
) -> None:
    """Train a network on parts of recordings, or on clips, as `config.examples` says; or go on with that.

    The folder `out` holds the results, and a save that is written at each validation and when the training is stopped;
    then KeyboardInterrupt is raised. `init` is a checkpoint to begin with; `workers` processes draw the examples, by
    default one for each core where a GPU trains. Raise an HtsatEdgeError where the corpus lacks a class, or `out` holds
    another training or cannot be written; CheckFailed where the loss is not finite.
    """
    labels = labels_of(
        config, {name for r in recordings for name in (r.labels if isinstance(r, LabelledClip) else [r.label])}
    )
    if not labels:
        raise HtsatEdgeError("--data: has no class to learn, only auxiliary ones")
    part, folder = processes.part(config.batch), RunFolder(out)
    outputs = len(labels) + len(config.auxiliary)
    training = open_training(config, network_config, recordings, outputs, folder.state, init, processes)
    if not processes.agree(training.step):
        raise HtsatEdgeError(f"--out {out}: has a save for some of the processes only; all machines must share it")
    if workers is None:
        # A CPU that trains has no core left for drawing; a GPU would wait for it.
        workers = (os.cpu_count() or 0) // processes.local_count if training.device.type != "cpu" else 0
    if processes.first:
        learned = network_config.model_copy(update={"classes": len(labels)})
        if config.examples == "scenes":  # whatever the loss of the checkpoint was
            learned = learned.model_copy(update={"loss": "bce"})
        folder.create(config, learned, labels, recordings, training.identity)
    if training.step == config.steps:
        print(f"{out}: is trained")
        return
    if config.examples == "clips":
        clips = [clip for clip in recordings if isinstance(clip, LabelledClip)]
        source = open_clips(clips, labels, config, network_config, processes, workers)
    else:
        parts = [recording for recording in recordings if isinstance(recording, Recording)]
        source = open_scenes(parts, labels, config, network_config.front_end, part)
    take_steps(training, source, labels, folder, workers)


def take_steps(
    training: Training, source: TrainingData, labels: Sequence[str], folder: RunFolder, workers: int
) -> None:
    """Take the steps that are left; validate and save, and stop in all processes after the same step."""
    processes, steps = training.processes, training.config.steps
    with stop_requested() as stop:
        where = "a GPU" if training.device.type == "cuda" else "the CPU"
        where += f", {processes.count} processes" if processes.count > 1 else ""
        print(
            f"{source.learned} recordings to learn from, {source.held} held back to measure on; on {where}", flush=True
        )
        if training.step:
            print(f"going on from step {training.step} of {steps}")
        for _ in learn(training, source.batches, workers):
            due, stopped = is_due(training), processes.any(stop.is_set())
            if due or stopped:
                training.read_losses()  # of all processes
            if due and processes.first:
                validate(training, source, labels, folder)
            if (due or stopped) and processes.first:
                training.save(folder.state)
            if stopped and training.step < steps:
                processes.wait()  # for the save
                print(f"stopped after step {training.step}; the same command goes on")
                raise KeyboardInterrupt


def learn(training: Training, batches: Dataset[Batch], workers: int = 0) -> Iterator[int]:
    """Take the steps that are left; yield the number of steps after each. `workers` draw the examples."""
    todo = range(training.step, training.config.steps)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=todo,
        num_workers=workers,
        pin_memory=training.device.type != "cpu",
        prefetch_factor=AHEAD if workers else None,
    )
    shown = with_progress(todo, "training") if training.processes.first else todo
    for _, (log_mel, target) in zip(shown, loader, strict=True):
        training.take_step(log_mel, target)
        yield training.step


def is_due(training: Training) -> bool:
    """Return whether the training is to be validated and saved at this step; six times at least, if it is not short."""
    steps, every = training.config.steps, training.config.validate_every
    return training.step % min(every, max(50, steps // 6)) == 0 or training.step == steps


def validate(training: Training, source: TrainingData, labels: Sequence[str], folder: RunFolder) -> None:
    """Measure the running average, and write it and the curve; remove what was measured on an earlier one."""
    average = training.averaged()
    training.add_to_curve(source.validate(average))
    write_curve(folder.curve, training.curve)
    with replacing(folder.model, SafetensorError) as part:
        save_file(without_auxiliary(average, len(labels)), part)
    for stale in (folder.thresholds, folder.figures, folder.page):
        stale.unlink(missing_ok=True)


def write_curve(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write the curve as CSV."""
    with replacing(path) as part, part.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(rows[0])
        table.writerows([f"{value:.5g}" for value in row.values()] for row in rows)


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    config, network = read_training(args.config)
    refuse_frozen_noise(config.freeze, args.init)
    refuse_unwritable_folder(args.out)
    with joined() as processes:
        read = read_clips if config.examples == "clips" else read_corpora
        recordings: list[LabelledClip] | list[Recording] = read(args.data, args.dataset, args.fold)
        if processes.first:
            for doubt in doubts_of(config, recordings):
                print(f"warning: {doubt}", flush=True)
        train(config, network, recordings, args.out, args.init, args.workers, processes)
        if processes.first:
            print(
                "the new model knows these classes only; `htsat-edge enroll` adds one sound to those of another model"
            )
            print(f"next: {shlex.join(evaluation_of(args))}")
    return 0


def doubts_of(config: TrainConfig, recordings: Sequence[LabelledClip] | Sequence[Recording]) -> list[str]:
    """Return what speaks against the recordings of a training on scenes, before it takes its time."""
    if config.examples == "clips":
        return []
    classes = {r.label for r in recordings} - {BACKGROUND}
    labels = labels_of(config, classes)
    doubts = doubts_of_data(
        len(classes),
        sum(r.label == BACKGROUND for r in recordings),
        count_held(labels, recordings, [r for r in recordings if r.held]),
    )
    return doubts if config.negatives or classes - {*labels} else [CLOSED, *doubts]


def evaluation_of(args: argparse.Namespace) -> list[str]:
    """Return the command that measures a training."""
    command = ["python", "-m", "htsat_edge.htsat.evaluate", str(args.out), "--data", *map(str, args.data)]
    command += [] if args.dataset is None else ["--dataset", args.dataset]
    return command + ([] if args.fold is None else ["--fold", str(args.fold)])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.htsat.train", description="Train a network on scenes or clips.")
    parser.add_argument("--config", type=Path, required=True, help="a training file, such as configs/train.yaml")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="folders of recordings: a data set, or one with a manifest.csv or a folder for each class",
    )
    add_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help="fine-tune these weights of the same network")
    parser.add_argument(
        "--workers",
        type=seed,
        metavar="N",
        help="processes that draw examples (default: one for each core where a GPU trains, else none)",
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
