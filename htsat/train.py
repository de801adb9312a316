"""Train a network on synthetic scenes.

python -m htsat_edge.htsat.train --config configs/train.yaml --data FOLDER --out RUN

Stopped at any moment and started again with the same arguments, it goes on from its last save and ends with the same
weights (same machine, same number of threads). `--init CHECKPOINT` begins with the weights of a trained network in
place of random ones, and a new head: fine-tuning on classes of one's own.
"""

from __future__ import annotations

import argparse
import copy
import csv
import hashlib
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run

try:
    import numpy as np
    import torch
    import torch.nn.functional as functional
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch import Tensor, nn
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from torch.utils.data import DataLoader, Dataset
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.train", "train", missing)

from htsat_edge.htsat.checkpoint import load_network
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import BACKGROUND, Recording, read_corpus
from htsat_edge.htsat.figures import apply, held_scenes
from htsat_edge.htsat.network import HTSAT, Output
from htsat_edge.htsat.scenes import Scene, SceneMaker, Sound, load_sounds, mask_bands
from htsat_edge.htsat.settings import RunFolder, TrainConfig, labels_of, read_training
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.log_mel import FrontEnd

VALIDATE_EVERY = 500
"""Steps; a sixth of all in a short training."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SCENES = 128
"""Held scenes to validate on."""

Batch = tuple[Tensor, Tensor]
"""log_mel (B, T, F) and target (B, 32, classes)."""


def initialise(network: HTSAT) -> None:
    """Weights with a variance of one over the fan-in; biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    initialise_head(network)


def initialise_head(network: HTSAT) -> None:
    """Most classes are silent most of the time: begin there."""
    nn.init.normal_(network.tscam_conv.weight, std=0.01)
    assert network.tscam_conv.bias is not None
    nn.init.constant_(network.tscam_conv.bias, -3.0)


def make_network(config: NetworkConfig, outputs: int, init: Path | None) -> HTSAT:
    """A network to train: random, or a checkpoint's (which `config` describes) but for its head."""
    network = HTSAT(config.model_copy(update={"classes": outputs}))
    if init is None:
        initialise(network)
        return network
    trained = load_network(init, config).state_dict()
    network.load_state_dict({k: v for k, v in trained.items() if not k.startswith("tscam_conv.")}, strict=False)
    initialise_head(network)
    return network


def freeze_backbone(network: HTSAT) -> None:
    """Leave the head alone to learn."""
    network.requires_grad_(False)
    network.tscam_conv.requires_grad_(True)
    # Its statistics belong to the backbone too.
    network.bn0.eval()


def make_optimisers(network: HTSAT, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the backbone, AdamW for everything else that learns."""
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    matrices = [n for n, p in learning.items() if n.startswith("layers.") and p.ndim == 2 and "bias_table" not in n]
    rest = [p for name, p in learning.items() if name not in matrices]
    decay, lr = config.weight_decay, config.learning_rate
    adam = torch.optim.AdamW(rest, lr=lr, weight_decay=0.0, betas=(0.9, 0.98))
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(
        [learning[name] for name in matrices], lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adam]


def learning_rate_factor(step: int, steps: int) -> float:
    """A short warm-up, then a straight line to zero."""
    warm_up = max(1, steps // 50)
    return min((step + 1) / warm_up, (steps - step) / (steps - warm_up + 1))


def loss_of(output: Output, target: Tensor, clip_weight: float) -> Tensor:
    """Binary cross-entropy of the steps, and of the mean logits where a class clearly fills the clip or is absent.

    A class that sounds for a moment only is left out of the second: the mean of its logits ought to be low.
    """
    framewise = functional.binary_cross_entropy_with_logits(output.logits, target)
    share = target.mean(1)
    clear = ((share == 0) | (share > 0.5)).float()
    clipwise = functional.binary_cross_entropy_with_logits(output.logits.mean(1), share.ceil(), weight=clear)
    return framewise + clip_weight * clipwise


class Batches(Dataset[Batch]):
    """The batch of each step, the same for the same step and seed in any process."""

    def __init__(self, maker: SceneMaker, config: TrainConfig) -> None:
        self._maker = maker
        self._config = config

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self._config.seed, step))
        scenes = [self._draw(rng, step) for _ in range(self._config.batch)]
        for scene in scenes:
            mask_bands(rng, scene.log_mel)
        log_mel = np.stack([scene.log_mel for scene in scenes])
        target = np.stack([scene.target for scene in scenes])
        return torch.from_numpy(log_mel), torch.from_numpy(target)

    def _draw(self, rng: np.random.Generator, step: int) -> Scene:
        config = self._config
        if rng.random() < config.tiled_share:
            return self._maker.tiled(rng)
        return self._maker.mixture(rng, config.events_at(step))


class Training:
    """A network, its running average and its optimisers, at some step; all of it can be saved and restored."""

    def __init__(self, network: HTSAT, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.network = network.to(device)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        self.optimisers = make_optimisers(network, config)
        self.step = 0
        self.seconds = 0.0
        """Of work, over all starts."""
        self.losses: list[float] = []
        """Since the last row of the curve."""
        self.curve: list[dict[str, float]] = []

    def take_step(self, log_mel: Tensor, target: Tensor) -> None:
        """Learn from a batch."""
        begun = time.monotonic()
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.network(log_mel.to(self.device))
        output = output._replace(logits=output.logits.float())
        loss = loss_of(output, target.to(self.device), self.config.clip_weight)
        if not loss.isfinite():
            raise CheckFailed(f"the loss is {loss.item()} at step {self.step}; lower learning_rate")
        factor = learning_rate_factor(self.step, self.config.steps)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = self.config.learning_rate * factor
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.average.update_parameters(self.network)
        self.losses.append(loss.item())
        self.step += 1
        self.seconds += time.monotonic() - begun

    def averaged(self) -> nn.Module:
        """A copy of the average, ready to infer."""
        network = copy.deepcopy(self.average.module)
        return network.cpu().eval()

    def add_to_curve(self, figures: dict[str, float]) -> None:
        """A row of the curve."""
        row = {"step": self.step, "minutes": self.seconds / 60, "loss": float(np.mean(self.losses)), **figures}
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
        self.curve.append(row)
        self.losses = []

    def save(self, path: Path, identity: str) -> None:
        """Write everything that goes on from here; the file is there whole or not at all."""
        content = {name: getattr(self, name) for name in ("step", "seconds", "losses", "curve")}
        content |= {name: module.state_dict() for name, module in self._modules().items()}
        with replacing(path, RuntimeError) as part:  # which is what torch raises for a full disk
            torch.save({"identity": identity, **content}, part)

    def restore(self, path: Path, identity: str) -> None:
        """Go on from a save of the same training."""
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            saved_for = content.pop("identity")
        except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, AttributeError):
            raise HtsatEdgeError(f"{path}: is damaged; delete it to begin anew") from None
        if saved_for != identity:
            raise HtsatEdgeError(
                f"{path.parent}: holds a training with other settings, recordings or weights; give another --out"
            )
        for name, module in self._modules().items():
            module.load_state_dict(content.pop(name))
        vars(self).update(content)

    def _modules(self) -> dict[str, Any]:
        optimisers = {f"optimiser {i}": optimiser for i, optimiser in enumerate(self.optimisers)}
        return {"network": self.network, "average": self.average, **optimisers}


def finished(network: nn.Module, classes: int) -> dict[str, Tensor]:
    """The weights of the model to ship: without the outputs of auxiliary classes."""
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    for name in ("tscam_conv.weight", "tscam_conv.bias"):
        state[name] = state[name][:classes].contiguous()
    return state


def load_split(
    recordings: Sequence[Recording],
    labels: Sequence[str],
    auxiliary: Sequence[str],
    front_end: FrontEnd,
) -> tuple[list[Sound], list[Sound]]:
    """The sounds to learn from, at several speeds, and those to validate on, as they are."""
    learned = [r for r in recordings if not r.held]
    held = [r for r in recordings if r.held]
    known = {r.label for r in learned}
    for label in (*labels, *auxiliary):
        if label not in known:
            raise HtsatEdgeError(f"--data: has no training recording of {label}; it has {', '.join(sorted(known))}")
    if not known.intersection(labels) & {r.label for r in held}:
        raise HtsatEdgeError("--data: holds back no recording of any label, so that nothing can be measured")
    return (
        load_sounds(learned, front_end, "reading, train"),
        load_sounds(held, front_end, "reading, val", speeds=(1.0,)),
    )


def identity_of(config: TrainConfig, network: NetworkConfig, recordings: Sequence[Recording], init: Path | None) -> str:
    """A hash of what a training depends on, files by name and size: another one must not go on from its save."""
    parts = [config.model_dump_json(exclude={"network"}), network.model_dump_json()]
    for r in recordings:
        size = r.path.stat().st_size if r.path.exists() else None
        parts.append(
            f"{r.label} {r.group} {r.split} {r.onset_s} {r.offset_s} {r.path.parent.name}/{r.path.name} {size}"
        )
    digest = hashlib.sha256("\n".join(parts).encode())
    if init is not None:
        digest.update(init.read_bytes())
    return digest.hexdigest()


@contextmanager
def stop_requested() -> Iterator[Event]:
    """An event that Ctrl-C, SIGTERM or a closed terminal sets, so that a training stops between two steps."""
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in STOPS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    config: TrainConfig,
    network_config: NetworkConfig,
    recordings: Sequence[Recording],
    out: Path,
    init: Path | None = None,
) -> None:
    """Train, or go on; RUN/state.pt is written whenever it is measured and when it is stopped."""
    labels = labels_of(config, recordings)
    if not labels:
        raise HtsatEdgeError("--data: has no class to learn but those that are auxiliary")
    names, front_end, folder = [*labels, *config.auxiliary], network_config.front_end, RunFolder(out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    network = make_network(network_config, len(names), init)
    if config.freeze:
        freeze_backbone(network)
    training = Training(network, config, device)
    identity = identity_of(config, network_config, recordings, init)
    if folder.state.exists():
        training.restore(folder.state, identity)
    folder.create(network_config.model_copy(update={"classes": len(labels), "loss": "bce"}), labels, recordings)
    if training.step == config.steps:
        print(f"{out}: is trained")
        return
    sounds, held = load_split(recordings, labels, config.auxiliary, front_end)
    print(f"{len(sounds)} recordings to learn from, {len(held)} held; on {device.type}")
    backgrounds = [sound for sound in sounds if sound.recording.label == BACKGROUND]
    scenes = held_scenes(held + backgrounds, labels, front_end, SCENES)
    todo = range(training.step, config.steps)
    every = min(VALIDATE_EVERY, max(50, config.steps // 6))
    if training.step:
        print(f"going on from step {training.step} of {config.steps}")
    # A CPU that trains has no core left for drawing; a GPU would wait for it.
    workers = 0 if device.type == "cpu" else os.cpu_count() or 0
    batches = DataLoader(
        Batches(SceneMaker(sounds, names, front_end), config), batch_size=None, sampler=todo, num_workers=workers
    )
    with stop_requested() as stop:
        for _, (log_mel, target) in zip(with_progress(todo, "training"), batches, strict=True):
            training.take_step(log_mel, target)
            due = training.step % every == 0 or training.step == config.steps
            if due:
                average = training.averaged()
                training.add_to_curve(apply(average, held, scenes, labels).summary())
                write_curve(folder.curve, training.curve)
                with replacing(folder.model, SafetensorError) as part:
                    save_file(finished(average, len(labels)), part)
                for stale in (folder.thresholds, folder.figures, folder.page):
                    stale.unlink(missing_ok=True)
            if due or stop.is_set():
                training.save(folder.state, identity)
            if stop.is_set() and training.step < config.steps:
                print(f"stopped after step {training.step}; the same command goes on")
                raise KeyboardInterrupt


def write_curve(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """The curve as CSV."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(rows[0])
        table.writerows([f"{value:.5g}" for value in row.values()] for row in rows)


def start(args: argparse.Namespace) -> int:
    """Train what the arguments ask for."""
    config, network = read_training(args.config)
    train(config, network, read_corpus(args.data), args.out, args.init)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="python -m htsat_edge.htsat.train", description="Train a network on synthetic scenes.")
    parser.add_argument("--config", type=Path, required=True, help="a training file, such as configs/train.yaml")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="a folder of recordings, with a manifest.csv or a folder for each class",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for what comes out")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help="fine-tune these weights of the same network")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
