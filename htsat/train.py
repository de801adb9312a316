"""Train a network on synthetic scenes.

python -m htsat_edge.htsat.train --config configs/train.yaml --data FOLDER --out RUN

A training may be stopped at any moment. Started again with the same arguments, it goes on from its last save and ends
with the same weights (on the same machine, with the same number of threads). `--init CHECKPOINT` begins with the
weights of a trained network in place of random ones, and a new head: fine-tuning on classes of one's own.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import csv
import os
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
    from torch.utils.data import DataLoader
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.train", "train", missing)

from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.htsat.batches import Batches, identity_of, load_split
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import Recording, read_corpora
from htsat_edge.htsat.figures import apply, held_scenes
from htsat_edge.htsat.initial import freeze_backbone, make_network, set_drop_path
from htsat_edge.htsat.scenes import Scene, SceneMaker, Sound
from htsat_edge.htsat.settings import RunFolder, TrainConfig, labels_of, read_training
from htsat_edge.htsat.training import Training, without_auxiliary
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SCENES = 128
"""Held scenes to validate on."""
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
    recordings: Sequence[Recording],
    outputs: int,
    save: Path,
    init: Path | None,
) -> Training:
    """Return a training as `save` has it, or where there is no save, at step 0."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    network = make_network(network_config, outputs, init)
    set_drop_path(network, config.drop_path)
    if config.freeze:
        freeze_backbone(network)
    training = Training(network, config, device, identity_of(config, network_config, recordings, init))
    if save.exists():
        training.restore(save)
    return training


def train(
    config: TrainConfig,
    network_config: NetworkConfig,
    recordings: Sequence[Recording],
    out: Path,
    init: Path | None = None,
    workers: int | None = None,
) -> None:
    """Train a network on the recordings of a corpus, or go on with that.

    The folder `out` holds the results, and a save that is written at each validation and when the training is stopped;
    then KeyboardInterrupt is raised. `init` is a checkpoint to begin with; `workers` processes draw the scenes, by
    default one for each core where a GPU trains. Raise an HtsatEdgeError where the corpus lacks a class, or `out` holds
    another training or cannot be written; CheckFailed where the loss is not finite.
    """
    labels = labels_of(config, recordings)
    if not labels:
        raise HtsatEdgeError("--data: has no class to learn, only auxiliary ones")
    names, front_end, folder = [*labels, *config.auxiliary], network_config.front_end, RunFolder(out)
    training = open_training(config, network_config, recordings, len(names), folder.state, init)
    folder.create(network_config.model_copy(update={"classes": len(labels), "loss": "bce"}), labels, recordings)
    if training.step == config.steps:
        print(f"{out}: is trained")
        return
    sounds, held = load_split(recordings, labels, config.auxiliary, front_end)
    backgrounds = [sound for sound in sounds if sound.recording.label == BACKGROUND]
    scenes = held_scenes(held + backgrounds, labels, front_end, SCENES)
    batches = Batches(SceneMaker(sounds, names, front_end, mix=config.mix), config)
    with stop_requested() as stop:
        print(f"{len(sounds)} recordings to learn from, {len(held)} held; on {training.device.type}", flush=True)
        if training.step:
            print(f"going on from step {training.step} of {config.steps}")
        for _ in learn(training, batches, workers):
            due = is_due(training)
            if due:
                validate(training, held, scenes, labels, folder)
            if due or stop.is_set():
                training.save(folder.state)
            if stop.is_set() and training.step < config.steps:
                print(f"stopped after step {training.step}; the same command goes on")
                raise KeyboardInterrupt


def learn(training: Training, batches: Batches, workers: int | None = None) -> Iterator[int]:
    """Take the steps that are left; yield the number of steps after each. `workers` draw the scenes."""
    todo = range(training.step, training.config.steps)
    gpu = training.device.type != "cpu"
    if workers is None:
        # A CPU that trains has no core left for drawing; a GPU would wait for it.
        workers = os.cpu_count() or 0 if gpu else 0
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=todo,
        num_workers=workers,
        pin_memory=gpu,
        prefetch_factor=AHEAD if workers else None,
    )
    for _, (log_mel, target) in zip(with_progress(todo, "training"), loader, strict=True):
        training.take_step(log_mel, target)
        yield training.step


def is_due(training: Training) -> bool:
    """Return whether the training is to be validated and saved at this step; six times at least, if it is not short."""
    steps, every = training.config.steps, training.config.validate_every
    return training.step % min(every, max(50, steps // 6)) == 0 or training.step == steps


def validate(
    training: Training, held: Sequence[Sound], scenes: Sequence[Scene], labels: Sequence[str], folder: RunFolder
) -> None:
    """Measure the running average, and write it and the curve; remove what was measured on an earlier one."""
    average = training.averaged()
    training.add_to_curve(apply(average, held, scenes, labels).summary())
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
    train(config, network, read_corpora(args.data), args.out, args.init, args.workers)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.htsat.train", description="Train a network on synthetic scenes.")
    parser.add_argument("--config", type=Path, required=True, help="a training file, such as configs/train.yaml")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="folders of recordings, each with a manifest.csv or a folder for each class",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help="fine-tune these weights of the same network")
    parser.add_argument(
        "--workers",
        type=seed,
        metavar="N",
        help="processes that draw scenes (default: one for each core where a GPU trains, else none)",
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
