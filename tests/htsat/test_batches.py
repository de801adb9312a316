"""Batches, without a training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from htsat_edge.htsat.batches import MIRRORED, Batches, as_heard, identity_of
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.scenes import Scene
from htsat_edge.htsat.settings import TrainConfig
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.dsp.windows import WindowCutter
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

INFO = ModelInfo(name="some", front_end=FrontEnd(), frames=1024, steps=32, step_s=0.32, labels=["Dog"])


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


def test_a_share_of_the_scenes_is_without_labels():
    config = TrainConfig(network="x", steps=10, batch=400, quiet_share=0.25)
    assert (Batches(Maker(), config)[0][1].amax((1, 2)) == 0).float().mean() == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("heard", range(1, 31))
def test_what_was_heard_makes_the_window_that_the_runtime_cuts(heard):
    """Steps are mirrored and repeated as their frames are."""
    grid = Settings().grid(INFO)
    assert grid.mirrored_steps == MIRRORED
    cutter = WindowCutter(replace(grid, shift_steps=0))
    log_mel = np.random.default_rng(0).random((1024, 64), np.float32)
    cut = next(window for window in cutter.push(log_mel) if window.step == heard + MIRRORED - 32)
    np.testing.assert_array_equal(as_heard(log_mel, heard * 32, MIRRORED * 32), cut.log_mel)
    steps = np.arange(32)
    of_frames = as_heard(steps.repeat(32), heard * 32, MIRRORED * 32).reshape(32, 32)
    np.testing.assert_array_equal(of_frames, np.tile(as_heard(steps, heard, MIRRORED)[:, None], 32))


def test_shares_of_the_scenes_are_heard_in_a_stream_and_the_others_stay_as_they_are():
    plain = TrainConfig(network="x", steps=10, batch=100, draw="example")
    stream = plain.model_copy(update={"partial_share": 0.2, "mirrored_share": 0.5})
    begun = [0] * 31
    drawn = [[rows.numpy() for rows in Batches(Maker(), config)[0]] for config in (plain, stream)]
    for i in range(100):
        rows = [(x[i], y[i], len(x[i]) // 32) for x, y in zip(*drawn, strict=True)]
        heard = [h for h in range(1, 31) if all(_is_heard(x, y, h * n, MIRRORED * n) for x, y, n in rows)]
        assert len(heard) == 1 or all(np.array_equal(x, y) for x, y, _ in rows)
        begun[sum(heard)] += 1
    assert begun[0] == pytest.approx(30, abs=12)
    assert begun[30] == pytest.approx(50, abs=14)
    assert sum(count > 0 for count in begun[1:30]) > 8


def _is_heard(before, after, heard, mirrored):
    return np.array_equal(as_heard(before, heard, mirrored), after)


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
    config = TrainConfig(
        network="x", steps=10, batch=6, quiet_share=0.3, partial_share=0.5, mirrored_share=0.3, draw=draw
    )
    whole = Batches(Maker(), config)[3]
    parts = [Batches(Maker(), config, part)[3] for part in (slice(0, 2), slice(2, 6))]
    for i in range(2):
        assert torch.equal(torch.cat([part[i] for part in parts]), whole[i])
