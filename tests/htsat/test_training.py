"""The loss and the learning rate."""

import numpy as np
import pytest
import torch

from htsat_edge.htsat.network import NetworkOutput
from htsat_edge.htsat.training import learning_rate_factor, loss_of


def test_the_clip_loss_leaves_out_short_events():
    """The mean logits count for a class that is absent or fills the window, not for one that sounds in two steps."""
    logits = torch.zeros(1, 32, 3)
    target = torch.zeros(1, 32, 3)
    target[:, :2, 0] = 1
    target[:, :, 1] = 1
    output = NetworkOutput(logits, logits.sigmoid(), logits.mean(1), logits)
    steps = loss_of(output, target, 0)
    both = loss_of(output, target, 1)
    assert both - steps == pytest.approx(np.log(2) * 2 / 3)


def test_learning_rate_warms_up_and_falls_to_nothing():
    factors = [learning_rate_factor(step, 1000) for step in range(1000)]
    assert factors[0] < 0.1
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert np.argmax(factors) < 30
    assert 0 < factors[-1] < 0.01
