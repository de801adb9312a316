"""Write HTS-AT as an ONNX graph for onnxruntime on a CPU: what export/graph.py computes, in the fastest ops.

Weights and their folding, the front and the head are those of `htsat_edge.export.graph`. In between, exactly:

- The tokens of all windows of a batch are the rows of one matrix (B * N, C): a linear layer is one Gemm with its bias,
  and the batch axis needs no room of its own.
- Attention is the op of opset 23, in place of nine: the scores of an attention window stay in the cache from the first
  product to the last.
- In a shifted block each attention window has a mask of its own. There the windows lie side by side, like further heads
  of one attention, (B, 64, W * C): heads are independent of each other, as windows are, and each may have its own bias.
  The Gather that rolls the tokens puts them there, and the one that rolls them back undoes it.
- GELU is one op, of opset 20.
- The MLP works on each token alone, so the large MLPs take the tokens in pieces, whose four times wider activations
  then stay in the cache between the two layers.

Axes: B batch, N tokens, W attention windows, C channels, H heads.
"""

from __future__ import annotations

import numpy as np
import onnx

from htsat_edge.export.graph import (
    WINDOW_TOKENS,
    Array,
    GraphWriter,
    fold_attention,
    head,
    index,
    layer_norm,
    masked_bias,
    normalise,
    numpy,
    outputs_of,
    patch_embed,
)
from htsat_edge.htsat.config import MELS
from htsat_edge.htsat.network import ATTN_WINDOW, GRID, HTSAT, SHIFT, Block, PatchMerging, Stage

OPSET = 23
"""The first with attention as an op; onnxruntime reads it from 1.23 on."""
IR_VERSION = 10
PIECES = (4, 2, 1, 1)
"""Pieces of the MLPs of each stage. More were no faster."""


def build_for_cpu(network: HTSAT, frames: int) -> onnx.ModelProto:
    """Write log_mel (B, frames, F) -> the outputs, by the names and shapes of `outputs_of`."""
    g = GraphWriter(OPSET, IR_VERSION)
    x = patch_embed(g, network, normalise(g, network, "log_mel", frames))
    x = _reshape(g, "tokens", x, network.config.embed_dim)
    for i, stage in enumerate(network.layers):
        assert isinstance(stage, Stage)
        for j, block in enumerate(stage.blocks):
            assert isinstance(block, Block)
            x = _block(g, f"layers.{i}.blocks.{j}", block, GRID >> i, PIECES[i], x)
        if isinstance(stage.downsample, PatchMerging):
            x = _merge(g, f"layers.{i}.downsample", stage.downsample, x)
    x = layer_norm(g, "norm", network.norm, x)
    head(g, network, _reshape(g, "norm.batch", x, WINDOW_TOKENS, network.config.channels))
    return g.model({"log_mel": ["batch", frames, MELS]}, outputs_of(network))


def _block(g: GraphWriter, name: str, block: Block, side: int, pieces: int, x: str) -> str:
    """Write a block, (B * N, C) -> (B * N, C)."""
    y = layer_norm(g, f"{name}.norm1", block.norm1, x)
    attend = _shifted_attention if block.shifted else _attention
    x = g.op("Add", f"{name}.attn.residual", x, attend(g, f"{name}.attn", block, side, y))
    return _mlp(g, name, block, pieces, x)


def _mlp(g: GraphWriter, name: str, block: Block, pieces: int, x: str) -> str:
    """Write norm, MLP and residual, (M, C) -> (M, C), piece by piece with the same weights."""
    norm, fc1, fc2 = (
        [g.constant(f"{name}.{part}.{i}", value) for i, value in enumerate(values, 1)]
        for part, values in {
            "norm2": (numpy(block.norm2.weight), numpy(block.norm2.bias)),
            "mlp.fc1.matmul": (numpy(block.mlp.fc1.weight).T, numpy(block.mlp.fc1.bias)),
            "mlp.fc2.matmul": (numpy(block.mlp.fc2.weight).T, numpy(block.mlp.fc2.bias)),
        }.items()
    )

    def mlp(piece: str, x: str) -> str:
        y = g.op("LayerNormalization", f"{name}.norm2{piece}", x, *norm, axis=-1, epsilon=block.norm2.eps)
        y = g.op("Gelu", f"{name}.mlp.gelu{piece}", g.op("Gemm", f"{name}.mlp.fc1.matmul{piece}", y, *fc1))
        y = g.op("Gemm", f"{name}.mlp.fc2.matmul{piece}", y, *fc2)
        return g.op("Add", f"{name}.mlp.residual{piece}", x, y)

    if pieces == 1:
        return mlp("", x)
    parts = g.split(f"{name}.pieces", x, pieces)
    return g.op("Concat", f"{name}.whole", *(mlp(f".piece{i}", part) for i, part in enumerate(parts)), axis=0)


def _attention(g: GraphWriter, name: str, block: Block, _side: int, x: str) -> str:
    """Write attention without a shift: all windows have the same bias, so each is an entry of the batch."""
    return _heads(g, name, block, x, 1, numpy(block.attn.bias()))


def _shifted_attention(g: GraphWriter, name: str, block: Block, side: int, x: str) -> str:
    """Write shifted attention: each window has its own bias, so the windows are heads of one entry."""
    channels, windows = block.attn.proj.in_features, (side // ATTN_WINDOW) ** 2
    rolled = block.roll.numpy()[:, None] * SHIFT**2 + np.arange(SHIFT**2)  # which token comes where, (run, in run)
    beside = rolled.reshape(windows, WINDOW_TOKENS).T.ravel()  # the first token of each window, the second of each …
    x = _reshape(g, f"{name}.batch", x, side * side, channels)
    x = g.op("Gather", f"{name}.roll", x, index(beside), axis=1)
    x = _reshape(g, f"{name}.rows", x, channels)
    x = _heads(g, name, block, x, windows, masked_bias(block))
    x = _reshape(g, f"{name}.proj.batch", x, side * side, channels)
    x = g.op("Gather", f"{name}.unroll", x, index(np.argsort(beside)), axis=1)
    return _reshape(g, f"{name}.tokens", x, channels)


def _heads(g: GraphWriter, name: str, block: Block, x: str, windows: int, bias: Array) -> str:
    """Write multi-head attention (M, C) -> (M, C), with so many windows side by side.

    The bias ([W,] H, 64, 64) is added to the scores.
    """
    folded, channels = fold_attention(block.attn), block.attn.proj.in_features
    heads = windows * block.attn.heads

    def side_by_side(part: str, y: str) -> str:
        return _reshape(g, f"{name}.{part}.windows", y, WINDOW_TOKENS, windows * channels)

    q = side_by_side("q", _gemm(g, f"{name}.q", x, folded.q, folded.q_bias))
    k = side_by_side("k", _gemm(g, f"{name}.k", x, folded.k))
    v = side_by_side("v", _gemm(g, f"{name}.v", x, folded.v))
    bias = bias.reshape(1, heads, WINDOW_TOKENS, WINDOW_TOKENS)
    x = g.op("Attention", f"{name}.mix", q, k, v, bias, q_num_heads=heads, kv_num_heads=heads, scale=1.0)
    return _gemm(g, f"{name}.proj", _reshape(g, f"{name}.join", x, channels), folded.proj, folded.proj_bias)


def _merge(g: GraphWriter, name: str, merging: PatchMerging, x: str) -> str:
    x = layer_norm(g, f"{name}.norm", merging.norm, _reshape(g, f"{name}.squares", x, merging.reduction.in_features))
    return _gemm(g, f"{name}.reduction", x, numpy(merging.reduction.weight).T)


def _gemm(g: GraphWriter, name: str, x: str, weight: Array, bias: Array | None = None) -> str:
    """Write x @ weight + bias, x (M, C_in), weight (C_in, C_out); weights are named as in export/graph.py."""
    return g.op("Gemm", f"{name}.matmul", x, weight, *([] if bias is None else [bias]))


def _reshape(g: GraphWriter, name: str, x: str, *shape: int) -> str:
    """Reshape to (…, *shape): the batch axis is whatever is left."""
    return g.op("Reshape", name, x, np.array([-1, *shape], np.int64))
