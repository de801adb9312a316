"""Batches, without a training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from htsat_edge.htsat.batches import Batches, identity_of
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.scenes import Scene
from htsat_edge.htsat.settings import TrainConfig


class Maker:
    """Draws scenes of noise."""

    has_others = True

    def tiled(self, rng, labelled=True):
        return self.mixture(rng, (0, 0), labelled)

    def mixture(self, rng, events, labelled=True):
        if not labelled:
            return Scene(np.zeros((1024, 64), np.float32), np.zeros((32, 1), np.float32), (), 10.24)
        return Scene(rng.random((1024, 64), np.float32), rng.random((32, 1), np.float32), (), 10.24)


def test_batches_are_the_same_in_any_order_and_process():
    batches = Batches(Maker(), TrainConfig(network="x", steps=10, batch=2))
    backwards = [batches[step] for step in (4, 3)][::-1]
    elsewhere = list(DataLoader(batches, batch_size=None, sampler=range(3, 5), num_workers=2))
    torch.testing.assert_close(backwards, [tuple(batch) for batch in elsewhere])
    assert not torch.equal(backwards[0][0], backwards[1][0])


def test_a_share_of_the_scenes_is_without_labels_and_another_begins_with_silence():
    config = TrainConfig(network="x", steps=10, batch=400, quiet_share=0.25)
    assert (Batches(Maker(), config)[0][1].amax((1, 2)) == 0).float().mean() == pytest.approx(0.25, abs=0.07)
    config = TrainConfig(network="x", steps=10, batch=100, partial_share=0.3)
    log_mel, target = Batches(Maker(), config)[0]
    silent = (log_mel[:, 0] == -100).all(1)
    assert silent.float().mean() == pytest.approx(0.3, abs=0.15)
    for scene, wanted in zip(log_mel[silent], target[silent], strict=True):
        steps = int((scene == -100).all(1).sum()) // 32
        assert not wanted[:steps].any()
        assert wanted[steps:].all()


def test_everything_that_a_training_depends_on_is_in_its_identity(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"12")
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    config, network = TrainConfig(network=tmp_path / "n.yaml", labels=["Dog"], steps=1, batch=1), NetworkConfig()
    recording = Recording(tmp_path / "a.wav", "Dog", "a", "train", 0.0, None)
    found = {
        identity_of(config, network, [recording], None),
        identity_of(config, network, [recording], tmp_path / "one"),
        identity_of(config, network, [recording], tmp_path / "two"),
        identity_of(config.model_copy(update={"steps": 2}), network, [recording], None),
        identity_of(config, network.model_copy(update={"embed_dim": 48}), [recording], None),
        *(
            identity_of(config, network, [replace(recording, **change)], None)
            for change in ({"split": "val"}, {"group": "b"}, {"label": "Cat"}, {"onset_s": 0.5}, {"offset_s": 1.0})
        ),
    }
    assert len(found) == 10


@pytest.mark.parametrize("draw", ["batch", "example"])
def test_parts_of_a_batch_make_up_the_whole(draw):
    config = TrainConfig(network="x", steps=10, batch=6, quiet_share=0.3, partial_share=0.5, draw=draw)
    whole = Batches(Maker(), config)[3]
    parts = [Batches(Maker(), config, part)[3] for part in (slice(0, 2), slice(2, 6))]
    for i in range(2):
        assert torch.equal(torch.cat([part[i] for part in parts]), whole[i])
