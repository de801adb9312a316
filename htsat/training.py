"""The state of a training: loss, optimisers, running average, and saves to go on from."""

from __future__ import annotations

import copy
import math
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from htsat_edge.htsat.batches import MIRRORED
from htsat_edge.htsat.network import HTSAT, STEPS, NetworkOutput
from htsat_edge.htsat.processes import Processes
from htsat_edge.htsat.settings import CURVE_NAMES, TrainConfig
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import in_words

Weights = tuple[Tensor, ...] | list[Tensor]
LATE = slice(STEPS - MIRRORED - STEPS // 4 - 2, STEPS - MIRRORED)
"""The steps of a window that the runtime reads in a stream: from when they are heard until they are final, a look-ahead
of a quarter of a window later. Two more than the look-ahead: the step that is final then, and the one before, with
which it shares the scores of a window that begins within a step. What is mirrored after them is not read."""
READ_EVERY = 50
"""Steps until losses are read: a GPU works ahead in between."""


def make_optimisers(network: HTSAT, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the backbone, and AdamW for everything else that learns; or AdamW alone.

    AdamW alone has the settings of HTS-AT's training (section 3.1), but that biases, scales and tables do not decay.
    """
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    decay, lr = config.weight_decay, config.learning_rate
    fused = any(p.is_cuda for p in learning.values())  # one kernel in place of hundreds
    if config.optimiser == "adamw":
        weights = [n for n, p in learning.items() if p.ndim > 1 and "bias" not in n]
        groups = [
            {"params": [learning[n] for n in weights], "weight_decay": decay},
            {"params": [p for n, p in learning.items() if n not in weights], "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), fused=fused)]
    matrices = [n for n, p in learning.items() if n.startswith("layers.") and p.ndim == 2 and "bias_table" not in n]
    rest = [p for name, p in learning.items() if name not in matrices]
    adam = torch.optim.AdamW(rest, lr=lr, weight_decay=0.0, betas=(0.9, 0.98), fused=fused)
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(
        [learning[name] for name in matrices], lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adam]


def learning_rate_factor(step: int, steps: int, schedule: str = "linear", warm_up_steps: int | None = None) -> float:
    """Return the share of the learning rate at a step: a warm-up, then a straight line or a cosine to zero.

    Where it is not given, the warm-up takes a fiftieth of the steps.
    """
    warm_up = max(1, steps // 50 if warm_up_steps is None else warm_up_steps)
    rising = (step + 1) / warm_up
    if schedule == "linear":
        return min(rising, (steps - step) / (steps - warm_up + 1))
    return min(rising, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm_up) / max(1, steps - warm_up)))


def loss_of(output: NetworkOutput, target: Tensor, clip_weight: float, late_weight: float = 1.0) -> Tensor:
    """Return the binary cross-entropy of the steps, plus `clip_weight` times that of the mean logits.

    The steps that a stream is read at (`LATE`) count `late_weight` times.
    The second counts only classes that fill more than half of the window or are absent: where a class sounds for a
    moment, the mean of its logits ought to be low.
    """
    weight = torch.ones(target.shape[1], device=target.device)
    weight[LATE] = late_weight
    weight = (weight / weight.mean())[:, None]
    framewise = functional.binary_cross_entropy_with_logits(output.logits, target, weight=weight)
    share = target.mean(1)
    clear = ((share == 0) | (share > 0.5)).float()
    clipwise = functional.binary_cross_entropy_with_logits(output.logits.mean(1), share.ceil(), weight=clear)
    return framewise + clip_weight * clipwise


def clip_loss_of(output: NetworkOutput, target: Tensor, loss: str) -> Tensor:
    """Return the loss of the mean logits against the classes of whole clips, target (B, C).

    With loss `ce` each row of the target adds up to one; with `bce` any number of classes may sound.
    """
    logits = output.logits.mean(1)
    if loss == "ce":
        return functional.cross_entropy(logits, target)
    return functional.binary_cross_entropy_with_logits(logits, target)


class Training:
    """A network, its running average and its optimisers, at some step; all of it can be saved and restored."""

    def __init__(self, network: HTSAT, config: TrainConfig, identity: str, processes: Processes = Processes()) -> None:
        """Begin; `identity` is a hash of all that the training depends on, but for the processes that share it."""
        self.config = config
        self.identity = identity
        self.processes = processes
        self.device = processes.device
        self.network = network.to(self.device)
        follow = self._take_mean if config.average_last else get_ema_multi_avg_fn(config.ema)
        self.average = AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
        # It is read at each step: on a GPU each would wait for the last to end.
        self.average.n_averaged = self.average.n_averaged.cpu()
        self.optimisers = make_optimisers(network, config)
        self.step = 0
        self.seconds = 0.0
        """Time spent learning, over all starts."""
        self.losses: list[float] = []
        """Losses since the last row of the curve."""
        self._latest: list[Tensor] = []
        """Losses that are still on the device."""
        self.curve: list[dict[str, float]] = []

    def take_step(self, log_mel: Tensor, target: Tensor) -> None:
        """Learn from a batch; raise CheckFailed where a loss, of this or of the last few steps, is not finite."""
        begun = time.monotonic()
        # What the step draws at random depends on nothing before it: a stopped training goes on the same.
        torch.manual_seed(self.config.seed + (self.step << 32))
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.network(log_mel.to(self.device, non_blocking=True))
        output = output._replace(logits=output.logits.float())
        target = target.to(self.device, non_blocking=True)
        loss = self._loss(output, target)
        config = self.config
        factor = learning_rate_factor(self.step, config.steps, config.schedule, config.warm_up_steps)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * factor
        loss.backward()
        self.processes.average_gradients(self.network.parameters())
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.average.update_parameters(self.network)
        self._latest.append(loss.detach())
        self.step += 1
        if len(self._latest) == READ_EVERY or self.step == self.config.steps:
            self.read_losses()
        self.seconds += time.monotonic() - begun

    @torch.no_grad()
    def _take_mean(self, averaged: Weights, current: Weights, _: Tensor | int) -> None:
        """Move the average to the mean of the weights since the last share of the steps began; until then, to the last.

        torch's own function fails on integers, and waits for the GPU.
        """
        begin = math.ceil((1 - self.config.average_last) * self.config.steps)
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 / max(1, self.step - begin + 1))
        else:
            torch._foreach_copy_(averaged, current)

    def _loss(self, output: NetworkOutput, target: Tensor) -> Tensor:
        if target.ndim == 2:
            return clip_loss_of(output, target, self.network.config.loss)
        return loss_of(output, target, self.config.clip_weight, self.config.late_weight)

    def read_losses(self) -> None:
        """Wait for the losses of the last steps, of all processes; raise CheckFailed where one is not finite."""
        if not self._latest:
            return
        losses = self.processes.mean(torch.stack(self._latest)).tolist()
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                step = self.step - len(losses) + i
                raise CheckFailed(f"the loss is {loss} at step {step}; lower learning_rate")
        self.losses += losses
        self._latest = []

    def averaged(self) -> nn.Module:
        """Return a copy of the average, ready to infer."""
        return copy.deepcopy(self.average.module).eval()

    def add_to_curve(self, figures: dict[str, float]) -> None:
        """Add a row to the curve, and print it."""
        self.read_losses()
        row = {"step": self.step, "minutes": self.seconds / 60, "loss": float(np.mean(self.losses)), **figures}
        said = ", ".join(f"{CURVE_NAMES.get(name, name)} {value:.2f}" for name, value in figures.items())
        steps, spent = f"step {self.step} of {self.config.steps}", in_words(self.seconds)
        print(f"{steps}, {spent}: loss {row['loss']:.3g}; of what is held: {said}", flush=True)
        self.curve.append(row)
        self.losses = []

    def save(self, path: Path) -> None:
        """Write all that the training needs to go on; the file appears whole or not at all."""
        self.read_losses()
        content = {name: getattr(self, name) for name in ("step", "seconds", "losses", "curve")}
        content |= {name: module.state_dict() for name, module in self._modules().items()}
        with replacing(path, RuntimeError) as part:  # torch raises it for a full disk
            torch.save({"identity": self.identity, **content}, part)

    def restore(self, path: Path) -> None:
        """Go on from a save; raise an HtsatEdgeError where it is damaged or of another training."""
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            saved_for = content.pop("identity")
        except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, AttributeError):
            raise HtsatEdgeError(f"{path}: is damaged; delete it to begin anew") from None
        if saved_for != self.identity:
            raise HtsatEdgeError(
                f"{path.parent}: holds a training with other settings, recordings or weights; give another --out"
            )
        for name, module in self._modules().items():
            module.load_state_dict(content.pop(name))
        vars(self).update(content)

    def _modules(self) -> dict[str, Any]:
        optimisers = {f"optimiser {i}": optimiser for i, optimiser in enumerate(self.optimisers)}
        return {"network": self.network, "average": self.average, **optimisers}


def without_auxiliary(network: nn.Module, classes: int) -> dict[str, Tensor]:
    """Return the weights of the finished model, with the outputs of the first `classes` classes alone."""
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    for name in ("tscam_conv.weight", "tscam_conv.bias"):
        state[name] = state[name][:classes].contiguous()
    return state
