"""The loss and the learning rate."""

import numpy as np
import pytest
import torch

from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT, NetworkOutput
from htsat_edge.htsat.settings import TrainConfig
from htsat_edge.htsat.training import LATE, Training, clip_loss_of, learning_rate_factor, loss_of, make_optimisers
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.dsp.timeline import Timeline
from htsat_edge.runtime.dsp.windows import WindowCutter
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

TINY = NetworkConfig(embed_dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), classes=3)


def output_of(logits):
    return NetworkOutput(logits, logits.sigmoid(), logits.mean(1), logits, logits)


def test_the_clip_loss_leaves_out_short_events():
    """The mean logits count for a class that is absent or fills the window, not for one that sounds in two steps."""
    logits = torch.zeros(1, 32, 3)
    target = torch.zeros(1, 32, 3)
    target[:, :2, 0] = 1
    target[:, :, 1] = 1
    output = output_of(logits)
    steps = loss_of(output, target, 0)
    both = loss_of(output, target, 1)
    assert both - steps == pytest.approx(np.log(2) * 2 / 3)


def test_the_late_weight_is_of_the_steps_that_are_read_of_a_stream():
    info = ModelInfo(name="some", front_end=FrontEnd(), frames=1024, steps=32, step_s=0.32, labels=["Dog"])
    grid = Settings().grid(info)
    timeline = Timeline(info.steps, Settings().look_ahead_steps(info), grid.mirrored_steps)
    which = np.eye(32, dtype=np.float32)
    windows = WindowCutter(grid).push(np.zeros((4000, 64), np.float32))
    final = np.concatenate([timeline.push(window.step, which) for window in windows])
    read = np.flatnonzero(final[40:].any(axis=0))
    np.testing.assert_array_equal(read, np.arange(32)[LATE])

    logits = torch.zeros(1, 32, 3)
    logits[:, 25] = 1
    shares = [loss_of(output_of(logits), torch.zeros(1, 32, 3), 0, weight) for weight in (1, 3)]
    rise = np.log1p(np.e) - np.log(2)
    assert float(shares[0]) - np.log(2) == pytest.approx(rise / 32, rel=1e-4)
    assert float(shares[1]) - np.log(2) == pytest.approx(rise * 3 / (22 + 3 * 10), rel=1e-4)


def test_learning_rate_warms_up_and_falls_to_nothing():
    factors = [learning_rate_factor(step, 1000) for step in range(1000)]
    assert factors[0] < 0.1
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert np.argmax(factors) < 30
    assert 0 < factors[-1] < 0.01


def test_a_cosine_rises_for_the_steps_given_and_falls_to_nothing():
    factors = [learning_rate_factor(step, 100, "cosine", 20) for step in range(100)]
    assert factors[:20] == pytest.approx(np.arange(1, 21) / 20)
    assert factors[60] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.5 + 0.5 * np.cos(np.pi * 79 / 80))
    assert learning_rate_factor(0, 1, "cosine", 0) == learning_rate_factor(0, 1) == 1


def test_the_loss_of_clips_is_of_the_mean_logits():
    """Mean logits (2, 0, 0): the softmax of the first is 1 / (1 + 2 / e^2), its sigmoid 1 / (1 + 1 / e^2)."""
    logits = torch.zeros(1, 32, 3)
    logits[:, :16, 0] = 4
    target = torch.tensor([[1.0, 0, 0]])
    assert clip_loss_of(output_of(logits), target, "ce") == pytest.approx(np.log(1 + 2 * np.exp(-2)))
    bce = (np.log(1 + np.exp(-2)) + 2 * np.log(2)) / 3
    assert clip_loss_of(output_of(logits), target, "bce") == pytest.approx(bce)
    mixed = clip_loss_of(output_of(logits), torch.tensor([[0.3, 0.7, 0]]), "ce")
    assert mixed == pytest.approx(np.log(1 + 2 * np.exp(-2)) + 0.7 * 2)


def test_adamw_alone_lets_weights_decay_and_nothing_else():
    network = HTSAT(TINY)
    (adam,) = make_optimisers(network, TrainConfig(network="x", steps=1, optimiser="adamw", weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in adam.param_groups for p in group["params"]}
    found = {name: decay[id(p)] for name, p in network.named_parameters()}
    assert found["layers.0.blocks.0.mlp.fc1.weight"] == found["tscam_conv.weight"] == 0.1
    assert found["layers.0.blocks.0.mlp.fc1.bias"] == found["norm.weight"] == 0
    assert found["layers.0.blocks.0.attn.relative_position_bias_table"] == 0


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_the_average_is_the_mean_of_the_last_steps(share):
    torch.manual_seed(0)
    config = TrainConfig(network="x", examples="clips", steps=5, average_last=share, optimiser="adamw")
    training = Training(HTSAT(TINY), config, "identity")
    weights = []
    for _ in range(5):
        training.take_step(torch.randn(2, 1024, 64), torch.eye(3)[:2])
        weights.append(training.network.tscam_conv.weight.detach().clone())
    expected = torch.stack(weights[round(5 * (1 - share)) :]).mean(0)
    torch.testing.assert_close(training.averaged().tscam_conv.weight, expected)
    assert training.averaged().bn0.num_batches_tracked == 5
