"""Load checkpoints: every published form of HTS-AT's weights, strict about everything else, safe on any file.

Published are Lightning files (weights under `sed_model.`), LAION-CLAP files (under `audio_branch.`, beside a text
encoder), and either of them saved from several GPUs (under `module.`). Buffers that follow from the network's sizes are
optional; `head` is in every checkpoint and unused.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from htsat_edge.configs import CONFIGS
from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.network import HTSAT
from htsat_edge.runtime.common.errors import HtsatEdgeError

State = Mapping[str, Tensor]

PREFIXES = ("", "sed_model.", "module.", "module.sed_model.", "audio_branch.", "module.audio_branch.")
ANCHOR = "patch_embed.proj.weight"
"""A key that every HTS-AT has."""
FUSION = ("patch_embed.mel_conv2d.", "patch_embed.fusion_model.")
IGNORED = re.compile(
    r"^(spectrogram_extractor|logmel_extractor|head)\.|\.(relative_position_index|attn_mask|num_batches_tracked)$"
)
SAFER = "Where you trust it, save its state_dict as safetensors"
NETWORKS = CONFIGS / "networks"


class _Inert:
    """A stand-in for the classes that Lightning's files name beside the weights; none of their code runs."""


NUMPY_SCALAR: Any = np.float64(0).__reduce__()[0]
"""The function by which numpy unpickles scalars; its module moved between versions."""
SAFE_GLOBALS: list[Any] = [
    (_Inert, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]
"""The types that published files hold beside tensors, in the figures of their best epoch."""


def load_network(path: Path, config: NetworkConfig) -> HTSAT:
    """Return the network with a checkpoint's weights, ready to infer; an HtsatEdgeError names a key that differs."""
    state = read_state(path)
    with torch.device("meta"):  # shapes only: a wrong network file must not cost its memory
        expected = HTSAT(config).state_dict()
    _check(path, state, {key: value for key, value in expected.items() if not IGNORED.search(key)})
    network = HTSAT(config).eval()
    network.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    return network


def read_state(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's weights under the network's own names, without what is derived or unused."""
    state = _unwrap(path, _read(path))
    prefix = next((p for p in PREFIXES if p + ANCHOR in state), None)
    if prefix is None:
        some = ", ".join(list(state)[:3])
        raise HtsatEdgeError(
            f"{path}: holds no HTS-AT: there is no key '{ANCHOR}' under a known prefix; it has {some}, …"
        )
    foreign = [key for key in state if not key.startswith(prefix)]
    if foreign and not prefix.endswith("audio_branch."):  # beside CLAP's audio encoder is its text encoder
        raise HtsatEdgeError(f"{path}: unexpected key '{foreign[0]}', want all under '{prefix}'")
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if any(key.startswith(FUSION) for key in own):
        raise HtsatEdgeError(
            f"{path}: is a fusion variant of LAION-CLAP, whose patch embedding merges several inputs; "
            "take a checkpoint without fusion, such as 630k-audioset-best.pt"
        )
    return {key: value for key, value in own.items() if not IGNORED.search(key)}


def _read(path: Path) -> Any:
    try:
        if path.is_dir():
            raise HtsatEdgeError(f"{path}: is a directory, want a checkpoint")
        with path.open("rb") as file:
            magic = file.read(2)
    except FileNotFoundError:
        raise HtsatEdgeError(f"{path}: no such file") from None
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
    damaged = HtsatEdgeError(f"{path}: is not a checkpoint, or a damaged one")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if magic[:1] == b"\x80" and magic != b"\x80\x02":  # torch writes zip files, and protocol 2 long ago
            raise HtsatEdgeError(f"{path}: is a bare pickle, and loading it could run code; refused. {SAFER}")
        with torch.serialization.safe_globals(SAFE_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it refuses what it warns of, or that does not matter for weights
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise damaged from None
        what = f"holds {found.group(1)} beside weights"
        raise HtsatEdgeError(f"{path}: {what}, and loading it could run code; refused. {SAFER}") from None
    except HtsatEdgeError:
        raise
    except Exception:  # damage raises errors of many types
        raise damaged from None


def _unwrap(path: Path, content: Any) -> State:
    """Return the mapping of names to tensors, from `state_dict` or bare."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise HtsatEdgeError(f"{path}: holds no weights: want a dictionary of tensors, bare or under 'state_dict'")
    for key, value in content.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or value.is_complex():
            raise HtsatEdgeError(
                f"{path}: '{key}' is no plain tensor: want a dictionary of weights, bare or in 'state_dict'"
            )
    return content


def _check(path: Path, state: State, expected: State) -> None:
    def problem(key: str, text: str) -> HtsatEdgeError:
        return HtsatEdgeError(f"{path}: '{key}' {text}; {_advice(state)}")

    for key, value in expected.items():
        if key not in state:
            raise problem(key, "is missing")
        if state[key].shape != value.shape:
            raise problem(key, f"is {list(state[key].shape)}, but the network has {list(value.shape)}")
        if not state[key].isfinite().all():
            raise HtsatEdgeError(f"{path}: '{key}' holds values that are not numbers: the checkpoint is damaged")
    for key in state:
        if key not in expected:
            raise problem(key, "is unexpected")


def _advice(state: State) -> str:
    """Return the sizes of the network that the checkpoint looks like, and the network file with these sizes, if any."""
    try:
        sizes = describe(state)
    except (KeyError, ValueError, IndexError):
        return "is this an HTS-AT?"
    same = [file for file in sorted(NETWORKS.glob("*.yaml")) if _sizes(read_network(file)) == sizes]
    looks = ", ".join(f"{name}: {value}" for name, value in sizes.items())
    hint = f", as in {' or '.join(f'configs/networks/{file.name}' for file in same)}" if same else ""
    return f"the checkpoint looks like {{{looks}}}{hint}"


def describe(state: State) -> dict[str, Any]:
    """Return the sizes of the network that these weights belong to."""
    blocks: dict[int, int] = {}
    heads: dict[int, int] = {}
    for key, value in state.items():
        if found := re.fullmatch(r"layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table", key):
            stage, block = int(found.group(1)), int(found.group(2))
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
            heads[stage] = value.shape[1]
    return {
        "embed_dim": state[ANCHOR].shape[0],
        "depths": [blocks[stage] for stage in sorted(blocks)],
        "heads": [heads[stage] for stage in sorted(heads)],
        "classes": state["tscam_conv.weight"].shape[0],
    }


def _sizes(config: NetworkConfig) -> dict[str, Any]:
    return {
        "embed_dim": config.embed_dim,
        "depths": list(config.depths),
        "heads": list(config.heads),
        "classes": config.classes,
    }
