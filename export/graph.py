"""Write HTS-AT as an ONNX graph, node by node from the network's weights.

A tracer of the torch code freezes the batch size somewhere, or fills the graph with shape arithmetic. Written by hand,
the graph suits TensorRT: static shapes behind one batch axis, few nodes, every op known to TensorRT 8.6. It computes
`htsat_edge.htsat.network`, with these exact rewritings:

- Fold, patches and Z-order are one Gather on the flattened log-mel.
- bn0 is one scale and one shift per mel band. The stretch of a short window is one matrix product.
- A shift is one Gather of runs of 16 tokens; attention bias and mask are one constant.
- The scaling of q is in its weights, and the biases of keys and values are folded away (`FoldedAttention`).
- The head is a convolution over time on the channels of the two frequency bands.

Axes: B batch, T frames, F mel bands, N tokens, W attention windows, C channels (or classes), H heads, D channels of a
head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from htsat_edge.htsat.config import MELS
from htsat_edge.htsat.network import (
    ATTN_WINDOW,
    FRAMES,
    GRID,
    HTSAT,
    MASKED,
    PATCH,
    SHIFT,
    SPANS,
    STEPS,
    Block,
    PatchMerging,
    Stage,
    WindowAttention,
    z_order,
)
from htsat_edge.runtime.dsp.log_mel import FLOOR_POWER, hann, mel_filters
from htsat_edge.runtime.dsp.stretch import stretch_matrix

OPSET = 17
IR_VERSION = 8
"""The file format of the time of opset 17, which TensorRT 8.6 and old onnxruntimes read."""
WINDOW_TOKENS = ATTN_WINDOW**2
Array = NDArray[Any]


class GraphWriter:
    """Writes nodes and constants one after the other; the output of an op has the name of its place in the network."""

    def __init__(self, opset: int = OPSET, ir_version: int = IR_VERSION) -> None:
        self._opset, self._ir_version = opset, ir_version
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, name: str, *inputs: str | Array, **attributes: Any) -> str:
        """Add a node and return the name of its output, which is its own. Arrays among the inputs become constants."""
        names = [self.constant(f"{name}.{i}", x) if isinstance(x, np.ndarray) else x for i, x in enumerate(inputs)]
        self._nodes.append(helper.make_node(kind, names, [name], name=name, **attributes))
        return name

    def reshape(self, name: str, x: str, *shape: int) -> str:
        """Reshape to (B, *shape)."""
        return self.op("Reshape", name, x, np.array([0, *shape], np.int64))

    def split(self, name: str, x: str, count: int) -> list[str]:
        """Cut into so many equal parts along the first axis; return their names."""
        parts = [f"{name}.{i}" for i in range(count)]
        self._nodes.append(helper.make_node("Split", [x], parts, name=name, axis=0, num_outputs=count))
        return parts

    def mean(self, name: str, x: str, axis: int = 1) -> str:
        """Add the mean over an axis, by default the one after the batch's."""
        if self._opset < 18:
            return self.op("ReduceMean", name, x, axes=[axis], keepdims=0)
        return self.op("ReduceMean", name, x, np.array([axis], np.int64), keepdims=0)

    def linear(self, name: str, x: str, weight: Array, bias: Array | None = None) -> str:
        """Add x @ weight + bias, weight (C_in, C_out)."""
        x = self.op("MatMul", f"{name}.matmul", x, weight)
        return x if bias is None else self.op("Add", f"{name}.bias", x, bias)

    def model(self, inputs: dict[str, Sequence[Any]], outputs: dict[str, Sequence[Any]]) -> onnx.ModelProto:
        """Return the finished model; inputs and outputs are float32 with these shapes."""

        def values(shapes: dict[str, Sequence[Any]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

        graph = helper.make_graph(
            self._nodes, "htsat", values(inputs), values(outputs), initializer=list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=self._ir_version,
            producer_name="htsat-edge",
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def constant(self, name: str, value: Array) -> str:
        """Add a constant and return its name, for several nodes to use."""
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name


class FoldedAttention(NamedTuple):
    """The linear layers of an attention, with everything folded in that needs no input; weights are (C_in, C_out)."""

    q: Array
    """Scaled."""
    q_bias: Array
    k: Array
    """Without a bias: it would add the same to every score of a query, which softmax ignores."""
    v: Array
    """Without a bias: it would pass through unchanged, since the weights sum to one, so it is in the projection's."""
    proj: Array
    proj_bias: Array


def fold_attention(attn: WindowAttention) -> FoldedAttention:
    """Return the weights of an attention for a graph."""
    channels, proj = attn.proj.in_features, numpy(attn.proj.weight)
    weight, bias = numpy(attn.qkv.weight).reshape(3, channels, channels), numpy(attn.qkv.bias).reshape(3, channels)
    scale = (channels // attn.heads) ** -0.5
    return FoldedAttention(
        q=weight[0].T * scale,
        q_bias=bias[0] * scale,
        k=weight[1].T,
        v=weight[2].T,
        proj=proj.T,
        proj_bias=numpy(attn.proj.bias) + proj @ bias[2],
    )


def masked_bias(block: Block) -> Array:
    """Return what is added to the scores of a shifted block, (W, H, 64, 64).

    Where tokens must not see each other it is MASKED alone, which half precision holds exactly.
    """
    return numpy(block.attn.bias().where(block.mask == 0, MASKED))


def build(network: HTSAT, frames: int) -> onnx.ModelProto:
    """Write log_mel (B, frames, F) -> the outputs, by the names and shapes of `outputs_of`."""
    g = GraphWriter()
    _network(g, network, "log_mel", frames)
    return g.model({"log_mel": ["batch", frames, MELS]}, outputs_of(network))


def build_with_front_end(network: HTSAT, frames: int) -> onnx.ModelProto:
    """Return the graph audio (B, S) -> the same outputs.

    S = (frames - 1) * hop samples, which give just these frames.
    """
    g = GraphWriter()
    samples = (frames - 1) * network.config.front_end.hop
    _network(g, network, _log_mel(g, network, samples), frames)
    return g.model({"audio": ["batch", samples]}, outputs_of(network))


def outputs_of(network: HTSAT) -> dict[str, Sequence[Any]]:
    """Return the shapes of a graph's outputs, by name."""
    config = network.config
    return {
        "framewise": ["batch", STEPS, config.classes],
        "clipwise": ["batch", config.classes],
        "embedding": ["batch", config.channels],
        "frame_embedding": ["batch", STEPS, config.channels],
    }


def _log_mel(g: GraphWriter, network: HTSAT, samples: int) -> str:
    """Write the front end without an STFT op, which TensorRT's parsers lack: a convolution with sines and cosines."""
    front_end = network.config.front_end
    n_fft, reach = front_end.n_fft, front_end.n_fft // 2
    mirrored = np.pad(np.arange(samples), reach, mode="reflect")
    x = g.op("Gather", "audio.mirror", "audio", index(mirrored), axis=1)
    x = g.reshape("audio.channel", x, 1, len(mirrored))
    turns = np.outer(np.arange(reach + 1), np.arange(n_fft)) % n_fft * (2 * np.pi / n_fft)
    waves = np.concatenate([np.cos(turns), np.sin(turns)]) * hann(n_fft)
    x = g.op("Conv", "stft", x, waves[:, None], strides=[front_end.hop])  # (B, 2 * bins, T)
    x = g.op("Mul", "stft.square", x, x)
    filters = mel_filters(front_end).T
    x = g.op("MatMul", "mel", np.concatenate([filters, filters], axis=1), x)  # sums re^2 and im^2 as well
    x = g.op("Transpose", "mel.transpose", x, perm=[0, 2, 1])
    x = g.op("Max", "mel.floor", x, np.array([FLOOR_POWER]))
    x = g.op("Log", "mel.log", x)
    return g.op("Mul", "log_mel", x, np.array([10 / np.log(10)]))


def _network(g: GraphWriter, network: HTSAT, log_mel: str, frames: int) -> None:
    x = patch_embed(g, network, normalise(g, network, log_mel, frames))
    for i, stage in enumerate(network.layers):
        assert isinstance(stage, Stage)
        side = GRID >> i
        for j, block in enumerate(stage.blocks):
            assert isinstance(block, Block)
            x = _block(g, f"layers.{i}.blocks.{j}", block, side, x)
        if isinstance(stage.downsample, PatchMerging):
            x = _merge(g, f"layers.{i}.downsample", stage.downsample, side, x)
    head(g, network, layer_norm(g, "norm", network.norm, x))


def normalise(g: GraphWriter, network: HTSAT, x: str, frames: int) -> str:
    """Write batch norm, and the stretch of a window that is shorter than the network's input: (B, 1024, F)."""
    bn = network.bn0
    scale = numpy(bn.weight) / np.sqrt(numpy(bn.running_var) + bn.eps)
    x = g.op("Mul", "bn0.scale", x, scale)
    x = g.op("Add", "bn0.shift", x, numpy(bn.bias) - numpy(bn.running_mean) * scale)
    return g.op("MatMul", "stretch", stretch_matrix(frames, FRAMES), x) if frames < FRAMES else x


def patch_embed(g: GraphWriter, network: HTSAT, x: str) -> str:
    """Write the patches, (B, 1024, F) -> (B, 4096, C), tokens in Z-order."""
    embed = network.patch_embed
    cell: Array = np.arange(FRAMES * MELS).reshape(SPANS, FRAMES // SPANS, MELS)
    cell = cell.transpose(0, 2, 1)  # (span, F, time)
    cell = cell.reshape(GRID, PATCH, GRID, PATCH).transpose(0, 2, 1, 3).reshape(GRID * GRID, PATCH * PATCH)
    order = z_order(GRID).numpy()
    x = g.reshape("patch_embed.flat", x, FRAMES * MELS)
    x = g.op("Gather", "patch_embed.patches", x, index(cell[order]), axis=1)  # (B, 4096, 16)
    weight, bias = numpy(embed.proj.weight), numpy(embed.proj.bias)
    if embed.frequency_bias is not None:
        bias = bias + numpy(embed.frequency_bias)[order // GRID % (GRID // SPANS)]
    x = g.linear("patch_embed.proj", x, weight.reshape(len(weight), -1).T, bias)
    return layer_norm(g, "patch_embed.norm", embed.norm, x)


def _block(g: GraphWriter, name: str, block: Block, side: int, x: str) -> str:
    """Write a block, (B, N, C) -> (B, N, C)."""
    y = layer_norm(g, f"{name}.norm1", block.norm1, x)
    attend = _shifted_attention if block.shifted else _attention
    x = g.op("Add", f"{name}.attn.residual", x, attend(g, f"{name}.attn", block, side, y))
    y = layer_norm(g, f"{name}.norm2", block.norm2, x)
    y = _linear(g, f"{name}.mlp.fc1", block.mlp.fc1, y)
    y = _linear(g, f"{name}.mlp.fc2", block.mlp.fc2, _gelu(g, f"{name}.mlp.gelu", y))
    return g.op("Add", f"{name}.mlp.residual", x, y)


def _attention(g: GraphWriter, name: str, block: Block, side: int, x: str) -> str:
    """Write attention without a shift.

    All windows have the same bias, so they join the batch: the plain form that fused attention kernels take.
    """
    return _heads(g, name, block, x, (-1,), (-1, side * side), numpy(block.attn.bias()))


def _shifted_attention(g: GraphWriter, name: str, block: Block, side: int, x: str) -> str:
    """Write shifted attention: each window has its own mask, so windows keep an axis."""
    channels, windows, runs = block.attn.proj.in_features, (side // ATTN_WINDOW) ** 2, (side // SHIFT) ** 2
    x = g.reshape(f"{name}.runs", x, runs, SHIFT**2, channels)
    x = g.op("Gather", f"{name}.roll", x, index(block.roll), axis=1)
    x = _heads(g, name, block, x, (0, windows), (0, runs, SHIFT**2), masked_bias(block))
    x = g.op("Gather", f"{name}.unroll", x, index(block.unroll), axis=1)
    return g.reshape(f"{name}.tokens", x, side * side, channels)


def _heads(
    g: GraphWriter, name: str, block: Block, x: str, windows: tuple[int, ...], tokens: tuple[int, ...], bias: Array
) -> str:
    """Write multi-head attention (*tokens, C) -> (*tokens, C), over (*windows, 64) tokens each.

    The bias ([W,] H, 64, 64) is added to the scores.
    """
    attn, folded = block.attn, fold_attention(block.attn)
    channels, heads = attn.proj.in_features, attn.heads
    head_dim, axes = channels // heads, len(windows)
    swap = [*range(axes), axes + 1, axes, axes + 2]  # (*windows, 64, H, D) <-> (*windows, H, 64, D)
    channels_first = [*range(axes), axes + 1, axes + 2, axes]  # (*windows, 64, H, D) -> (*windows, H, D, 64)

    def split(part: str, y: str, perm: list[int]) -> str:
        y = g.op("Reshape", f"{name}.{part}.heads", y, np.array([*windows, WINDOW_TOKENS, heads, head_dim], np.int64))
        return g.op("Transpose", f"{name}.{part}.transpose", y, perm=perm)

    q = split("q", g.linear(f"{name}.q", x, folded.q, folded.q_bias), swap)
    k = split("k", g.linear(f"{name}.k", x, folded.k), channels_first)
    v = split("v", g.linear(f"{name}.v", x, folded.v), swap)
    scores = g.op("Add", f"{name}.scores.bias", g.op("MatMul", f"{name}.scores", q, k), bias)
    scores = g.op("Softmax", f"{name}.softmax", scores, axis=-1)
    x = g.op("Transpose", f"{name}.join", g.op("MatMul", f"{name}.mix", scores, v), perm=swap)
    x = g.op("Reshape", f"{name}.join.heads", x, np.array([*tokens, channels], np.int64))
    return g.linear(f"{name}.proj", x, folded.proj, folded.proj_bias)


def _merge(g: GraphWriter, name: str, merging: PatchMerging, side: int, x: str) -> str:
    x = g.reshape(f"{name}.squares", x, side * side // 4, merging.reduction.in_features)
    x = layer_norm(g, f"{name}.norm", merging.norm, x)
    return g.linear(f"{name}.reduction", x, numpy(merging.reduction.weight).T)


def head(g: GraphWriter, network: HTSAT, tokens: str) -> None:
    """Write the outputs of tokens (B, 64, C)."""
    bands, config = GRID // ATTN_WINDOW // SPANS, network.config
    grid = np.argsort(z_order(ATTN_WINDOW).numpy()).reshape(SPANS, bands, ATTN_WINDOW)
    ordered = g.op("Gather", "head.grid", tokens, index(grid.transpose(0, 2, 1).ravel()), axis=1)
    x = g.reshape("head.steps", ordered, STEPS, bands * config.channels)  # from (B, time and band, C)
    x = g.op("Transpose", "head.time_last", x, perm=[0, 2, 1])
    weight = numpy(network.tscam_conv.weight)  # (classes, C, band, 3)
    weight = weight.transpose(0, 2, 1, 3).reshape(config.classes, bands * config.channels, 3)
    x = g.op("Conv", "tscam_conv", x, weight, numpy(network.tscam_conv.bias), pads=[1, 1])
    logits = g.op("Transpose", "logits", x, perm=[0, 2, 1])  # (B, 32, classes)
    g.op("Sigmoid", "framewise", logits)
    if config.loss == "ce":
        g.mean("clipwise", logits)
    else:
        g.op("Sigmoid", "clipwise", g.mean("logits.mean", logits))
    g.mean("embedding", tokens)
    g.mean("frame_embedding", g.reshape("head.bands", ordered, STEPS, bands, config.channels), axis=2)


def layer_norm(g: GraphWriter, name: str, norm: nn.LayerNorm, x: str) -> str:
    """Write layer normalisation over the channels, the last axis."""
    return g.op("LayerNormalization", name, x, numpy(norm.weight), numpy(norm.bias), axis=-1, epsilon=norm.eps)


def _linear(g: GraphWriter, name: str, linear: nn.Linear, x: str) -> str:
    return g.linear(name, x, numpy(linear.weight).T, numpy(linear.bias))


def _gelu(g: GraphWriter, name: str, x: str) -> str:
    """Write the exact GELU, in the five nodes that onnxruntime and TensorRT recognise."""
    y = g.op("Div", f"{name}.scaled", x, np.array([2**0.5]))
    y = g.op("Add", f"{name}.one", g.op("Erf", f"{name}.erf", y), np.array([1.0]))
    return g.op("Mul", f"{name}.half", g.op("Mul", f"{name}.gate", x, y), np.array([0.5]))


def numpy(value: Tensor | None) -> Array:
    """Return a weight as an array; in torch's types some layers may have none, in this network all have."""
    assert value is not None
    return value.detach().cpu().numpy()


def index(value: Array | Tensor) -> Array:
    """Return the indices of a Gather in 32 bits, which TensorRT takes without a cast."""
    return np.asarray(value, np.int32)
