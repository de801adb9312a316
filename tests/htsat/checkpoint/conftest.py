"""Checkpoints of the tiny network, in any form."""

import os

import pytest
import torch

from htsat_edge.htsat.checkpoint import load_checkpoint
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.runtime.common.errors import HtsatEdgeError

CONFIG = NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10)


@pytest.fixture
def save(tmp_path):
    """Save something as torch does; return where."""

    def run(content, name="x.ckpt", **options):
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return run


@pytest.fixture
def taken(tiny_weights):
    """Load a checkpoint, which must give the weights behind the goldens; return what it says was taken."""

    def run(path, weights=None, **options):
        loaded = load_checkpoint(path, CONFIG, **options)
        weights = weights or tiny_weights
        state = loaded.network.state_dict()
        for key in state.keys() & weights.keys():
            torch.testing.assert_close(state[key], weights[key].to(state[key].dtype), msg=key)
        assert len(state.keys() & weights.keys()) > 100
        assert not loaded.network.training
        assert "\n" not in loaded.taken
        return loaded.taken

    return run


@pytest.fixture
def refusal():
    """Load a checkpoint that is refused; return why."""

    def run(path, config=CONFIG, **options):
        with pytest.raises(HtsatEdgeError) as caught:
            load_checkpoint(path, config, **options)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return run


class RunsCode:
    """Makes a file where it is unpickled."""

    def __init__(self, program=os.system, argument="touch was-run"):
        self.program, self.argument = program, argument

    def __reduce__(self):
        return self.program, (self.argument,)


@pytest.fixture
def runs_code():
    return RunsCode
