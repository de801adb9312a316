"""Train a network on synthetic scenes: python -m htsat.train --config configs/train.yaml --data FOLDER --out RUN."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from htsat.config import NetworkConfig
from htsat.corpus import BACKGROUND, Recording, read_manifest
from htsat.evaluate import evaluate, held_scenes
from htsat.network import HTSAT, Output
from htsat.scenes import Scene, SceneMaker, Sound, load_sounds, mask_bands, with_progress
from htsat.settings import TrainConfig, make_folder, make_parser, read_training
from runtime.command import run
from runtime.errors import UserError
from runtime.features import FrontEnd

VALIDATE_EVERY = 500
"""Steps."""
SCENES = 128
"""Held scenes to validate on."""


def initialise(network: HTSAT) -> None:
    """Weights with a variance of one over the fan-in; biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    # Most classes are silent most of the time: begin there.
    nn.init.normal_(network.tscam_conv.weight, std=0.01)
    assert network.tscam_conv.bias is not None
    nn.init.constant_(network.tscam_conv.bias, -3.0)


def make_optimisers(network: HTSAT, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the backbone, AdamW for everything else."""
    matrices = [p for name, p in network.layers.named_parameters() if p.ndim == 2 and "bias_table" not in name]
    taken = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in taken]
    decay, lr = config.weight_decay, config.learning_rate
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=lr, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


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


def draw(maker: SceneMaker, rng: np.random.Generator, config: TrainConfig, step: int) -> Scene:
    """A scene for this step of the training."""
    if rng.random() < config.tiled_share:
        return maker.tiled(rng)
    dense = step < config.dense_share * config.steps
    return maker.mixture(rng, (4, 8) if dense else (0, 4))


def draw_batch(maker: SceneMaker, config: TrainConfig, step: int) -> tuple[Tensor, Tensor]:
    """log_mel (B, T, F) and target (B, 32, classes); the same for the same step and seed."""
    rng = np.random.default_rng((config.seed, step))
    scenes = [draw(maker, rng, config, step) for _ in range(config.batch)]
    for scene in scenes:
        mask_bands(rng, scene.log_mel)
    log_mel = np.stack([scene.log_mel for scene in scenes])
    target = np.stack([scene.target for scene in scenes])
    return torch.from_numpy(log_mel), torch.from_numpy(target)


def finished(network: nn.Module, config: NetworkConfig) -> dict[str, Tensor]:
    """The weights of the model to ship: without the outputs of auxiliary classes."""
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    for name in ("tscam_conv.weight", "tscam_conv.bias"):
        state[name] = state[name][: config.classes].contiguous()
    return state


def load_split(
    recordings: list[Recording], config: TrainConfig, front_end: FrontEnd
) -> tuple[list[Sound], list[Sound]]:
    """The sounds to learn from, at several speeds, and those to validate on, as they are."""
    train = [r for r in recordings if r.split == "train"]
    held = [r for r in recordings if r.split == "val"]
    known = {r.label for r in train}
    for label in [*config.labels, *config.auxiliary]:
        if label not in known:
            raise UserError(f"--data: has no training recording of {label}; it has {', '.join(sorted(known))}")
    return (
        load_sounds(train, front_end, "reading, train"),
        load_sounds(held, front_end, "reading, val", speeds=(1.0,)),
    )


def take_step(
    network: HTSAT, optimisers: list[torch.optim.Optimizer], maker: SceneMaker, config: TrainConfig, step: int
) -> float:
    """Draw a batch and learn from it; return the loss."""
    log_mel, target = draw_batch(maker, config, step)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(log_mel)
    loss = loss_of(output._replace(logits=output.logits.float()), target, config.clip_weight)
    for optimiser in optimisers:
        optimiser.zero_grad()
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(step, config.steps)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
    return loss.item()


def write_labels(path: Path, labels: list[str]) -> None:
    """The label list in the order of the network's outputs."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([["label"], *([label] for label in labels)])


def train(config: TrainConfig, network_config: NetworkConfig, recordings: list[Recording], out: Path) -> None:
    """Train; write RUN/labels.csv, and every 500 steps RUN/model.safetensors and a line of RUN/curve.csv."""
    front_end, names = network_config.front_end, [*config.labels, *config.auxiliary]
    train_sounds, held = load_split(recordings, config, front_end)
    maker = SceneMaker(train_sounds, names, front_end)
    backgrounds = [sound for sound in train_sounds if sound.recording.label == BACKGROUND]
    scenes = held_scenes(held + backgrounds, config.labels, front_end, SCENES)
    print(f"{len(train_sounds)} recordings to learn from, {len(held)} held")

    torch.manual_seed(config.seed)
    network = HTSAT(network_config.model_copy(update={"classes": len(names)}))
    initialise(network)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
    optimisers = make_optimisers(network, config)
    write_labels(out / "labels.csv", config.labels)
    begun, losses = time.monotonic(), []
    with (out / "curve.csv").open("w", newline="") as file:
        curve = csv.writer(file)
        for step in with_progress(range(config.steps), "training"):
            losses.append(take_step(network, optimisers, maker, config, step))
            average.update_parameters(network)
            if (step + 1) % VALIDATE_EVERY and step + 1 != config.steps:
                continue
            figures = evaluate(average.module.eval(), held, scenes, config.labels)[0].summary()
            row = {"step": step + 1, "minutes": (time.monotonic() - begun) / 60, "loss": np.mean(losses), **figures}
            if file.tell() == 0:
                curve.writerow(row)
            curve.writerow(f"{value:.5g}" for value in row.values())
            file.flush()
            print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
            losses.clear()
            save_file(finished(average.module, network_config), out / "model.safetensors")


def start(args: argparse.Namespace) -> int:
    """Train what the arguments ask for."""
    config, network = read_training(args.config)
    make_folder(args.out)
    train(config, network, read_manifest(args.data / "manifest.csv"), args.out)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("python -m htsat.train", "Train a network on synthetic scenes.")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
