import pytest
import torch
from safetensors.torch import save_file

from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.initial import make_network
from htsat_edge.runtime.common.errors import HtsatEdgeError

CONFIG = NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10)


@pytest.fixture(params=["compiled.ckpt", "averaged.pt", "folder"])
def checkpoint(request, tiny_weights, tmp_path):
    """The tiny network's weights in forms that trainers and others leave them in."""
    path = tmp_path / request.param
    match request.param:
        case "compiled.ckpt":
            torch.save({"state_dict": {f"sed_model._orig_mod.{key}": v for key, v in tiny_weights.items()}}, path)
        case "averaged.pt":
            averaged = {f"module.{key}": value for key, value in tiny_weights.items()}
            torch.save({"ema": averaged | {"n_averaged": torch.tensor(3)}, "args": pytest.Item}, path)
        case "folder":
            path.mkdir()
            save_file(tiny_weights, path / "model.safetensors")
    return path


@pytest.mark.parametrize("classes", [10, 527])
def test_training_begins_from_any_form_of_checkpoint(checkpoint, classes, tiny_weights):
    """The head is new, and it does not matter how many classes the network file has."""
    network = make_network(CONFIG.model_copy(update={"classes": classes}), 3, checkpoint)
    state = network.state_dict()
    for key in state.keys() & tiny_weights.keys():
        if not key.startswith("tscam_conv."):
            torch.testing.assert_close(state[key], tiny_weights[key].to(state[key].dtype))
    assert state["tscam_conv.weight"].shape == (3, 128, 2, 3)
    assert state["tscam_conv.bias"].tolist() == [-3.0] * 3


def test_another_network_is_refused(checkpoint):
    with pytest.raises(HtsatEdgeError, match=r"looks like \{embed_dim: 16, "):
        make_network(NetworkConfig(), 3, checkpoint)
