"""Batches, without a training."""

import numpy as np
import torch
from torch.utils.data import DataLoader

from htsat_edge.htsat.batches import Batches
from htsat_edge.htsat.scenes import Scene
from htsat_edge.htsat.settings import TrainConfig


class Maker:
    """Draws scenes of noise."""

    def tiled(self, rng):
        return self.mixture(rng, (0, 0))

    def mixture(self, rng, events):
        return Scene(rng.random((1024, 64), np.float32), rng.random((32, 1), np.float32), (), 10.24)


def test_batches_are_the_same_in_any_order_and_process():
    batches = Batches(Maker(), TrainConfig(network="x", steps=10, batch=2))
    backwards = [batches[step] for step in (4, 3)][::-1]
    elsewhere = list(DataLoader(batches, batch_size=None, sampler=range(3, 5), num_workers=2))
    torch.testing.assert_close(backwards, [tuple(batch) for batch in elsewhere])
    assert not torch.equal(backwards[0][0], backwards[1][0])
