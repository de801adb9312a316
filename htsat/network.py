"""HTS-AT in torch, with the parameter names of its published checkpoints.

The paper: Chen et al., "HTS-AT: A Hierarchical Token-Semantic Audio Transformer for Sound Classification and
Detection", ICASSP 2022.

This file departs from the paper's text and from the reference as follows, with the same outputs:

- Tokens stand in Z-order (Morton order), not row by row. Then an attention window is 64 consecutive tokens, the four
  tokens that patch merging joins are 4 consecutive ones, and a cyclic shift permutes whole runs of 16.
- Scores between tokens that must not see each other get -1e4 in place of -100: softmax then gives exact zeros and no
  denormals, which are slow on a CPU.
- The outputs are the 32 steps that the network really has; the reference repeats each 32 times.

Axes: B batch, T frames, F mel bands, N tokens, W attention windows, C channels (or classes), H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from htsat_edge.htsat.config import MELS, NetworkConfig
from htsat_edge.runtime.dsp.stretch import stretch_matrix

FRAMES = 1024
"""Frames that the network sees; a shorter log-mel is stretched to this."""
SPANS = 4
"""Time is cut into this many spans, which are stacked on the frequency axis (section 2.1)."""
PATCH = 4
GRID = FRAMES // SPANS // PATCH
"""Patches on a side of the square image: 64 rows (4 spans of 16 frequencies), 64 columns of time."""
ATTN_WINDOW = 8
SHIFT = ATTN_WINDOW // 2
STEPS = 32
"""Steps in time of the token-semantic head's outputs."""
MASKED = -1e4


class NetworkOutput(NamedTuple):
    """The outputs of the network for a batch of windows."""

    logits: Tensor
    """(B, 32, classes)."""
    framewise: Tensor
    """(B, 32, classes), in [0, 1]."""
    clipwise: Tensor
    """(B, classes): the sigmoid of the mean logits, or with loss `ce` the mean logits as they are."""
    embedding: Tensor
    """(B, channels)."""
    frame_embedding: Tensor
    """(B, 32, channels): the mean over the bands of a step; its mean over the steps is the embedding."""


def z_order(side: int) -> Tensor:
    """Return the row-major index of each token in Z-order, (side * side,); the row is the lower bit of each level."""
    token = torch.arange(side * side)
    row, column = torch.zeros_like(token), torch.zeros_like(token)
    for level in range(side.bit_length() - 1):
        row |= (token >> (2 * level) & 1) << level
        column |= (token >> (2 * level + 1) & 1) << level
    return row * side + column


def roll_order(side: int, shift: int) -> Tensor:
    """Return the permutation of Z-ordered tokens, (side * side,), that rolls the image by `-shift` rows and columns."""
    z = z_order(side)
    rank = torch.empty_like(z)
    rank[z] = torch.arange(len(z))
    row, column = (z // side + shift) % side, (z % side + shift) % side
    return rank[row * side + column]


def pair_index() -> Tensor:
    """Return the row of the bias table for each (query, key) of an attention window, (64, 64) (Swin, section 3.2)."""
    token = z_order(ATTN_WINDOW)
    row, column = token // ATTN_WINDOW, token % ATTN_WINDOW
    reach = ATTN_WINDOW - 1
    return (row[:, None] - row + reach) * (2 * ATTN_WINDOW - 1) + (column[:, None] - column + reach)


def shift_mask(side: int) -> Tensor:
    """Return what is added to the scores of each attention window after the roll, (W, 1, 64, 64).

    Some windows then hold tokens from opposite edges of the image, which must not see each other.
    """
    z = z_order(side)
    edges = torch.tensor([side - ATTN_WINDOW, side - SHIFT])
    row, column = (torch.bucketize(axis, edges, right=True) for axis in (z // side, z % side))
    region = (row * 3 + column).view(-1, 1, ATTN_WINDOW**2)
    return MASKED * (region.unsqueeze(2) != region.unsqueeze(3)).float()


class WindowAttention(nn.Module):
    """Multi-head self-attention within each attention window, with a learned bias for each relative position."""

    pair_index: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * ATTN_WINDOW - 1) ** 2, heads))
        self.register_buffer("pair_index", pair_index(), persistent=False)

    def bias(self) -> Tensor:
        """Return what is added to the attention scores, (H, 64, 64)."""
        return self.relative_position_bias_table[self.pair_index].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within each window, (B, W, 64, C) -> (B, W, 64, C)."""
        B, W, N, C = x.shape
        qkv = self.qkv(x).view(B, W, N, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # each (B, W, H, 64, C / H)
        scores = (q * (C // self.heads) ** -0.5) @ k.transpose(-2, -1) + self.bias()
        if mask is not None:
            scores = scores + mask
        x = scores.softmax(-1) @ v
        return self.proj(x.transpose(2, 3).reshape(B, W, N, C))


class Mlp(nn.Module):
    """The two linear layers of a block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """A Swin block: attention within windows, shifted or not, then the MLP (section 2.2)."""

    roll: Tensor
    unroll: Tensor
    mask: Tensor
    drop = 0.0
    """The share of windows for which each half of the block is skipped in training (stochastic depth)."""
    part = (0, 1)
    """Which of how many equal parts of a batch it sees: it draws for the whole batch."""

    def __init__(self, channels: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)
        if shifted:
            # A shift of 4 moves whole 4 x 4 squares, which are runs of 16 tokens: permute those.
            roll = roll_order(side // SHIFT, 1)
            self.register_buffer("roll", roll, persistent=False)
            self.register_buffer("unroll", roll.argsort(), persistent=False)
            self.register_buffer("mask", shift_mask(side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) -> (B, N, C)."""
        x = x + self._keep(self._attend(self.norm1(x)))
        return x + self._keep(self.mlp(self.norm2(x)))

    def _keep(self, x: Tensor) -> Tensor:
        if not self.training or self.drop == 0:
            return x
        part, parts = self.part
        kept = torch.rand(parts * len(x), 1, 1, device=x.device).chunk(parts)[part] >= self.drop
        return x * (kept / (1 - self.drop)).to(x.dtype)

    def _attend(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        if not self.shifted:
            return self.attn(x.view(B, -1, ATTN_WINDOW**2, C), None).view(B, N, C)
        x = x.view(B, -1, SHIFT**2 * C)[:, self.roll]
        x = self.attn(x.view(B, -1, ATTN_WINDOW**2, C), self.mask)
        return x.view(B, -1, SHIFT**2 * C)[:, self.unroll].view(B, N, C)


class PatchMerging(nn.Module):
    """Joins each square of 2 x 2 tokens into one of twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) -> (B, N / 4, 2 C)."""
        B, N, C = x.shape
        return self.reduction(self.norm(x.view(B, N // 4, 4 * C)))


class Stage(nn.Module):
    """Blocks at one resolution, then patch merging (except in the last stage)."""

    def __init__(self, channels: int, depth: int, heads: int, side: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            # A single window has nothing to shift.
            Block(channels, heads, side, shifted=bool(i % 2) and side > ATTN_WINDOW)
            for i in range(depth)
        )
        self.downsample = nn.Identity() if last else PatchMerging(channels)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.downsample(x)


class PatchEmbed(nn.Module):
    """Turns the image's 4 x 4 patches into tokens (section 2.1)."""

    z_order: Tensor

    def __init__(self, embed_dim: int, frequency_bias: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, embed_dim, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(embed_dim)
        self.frequency_bias = nn.Parameter(torch.zeros(MELS // PATCH, embed_dim)) if frequency_bias else None
        self.register_buffer("z_order", z_order(GRID), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, 1, 256, 256) -> tokens (B, 4096, C) in Z-order."""
        x = self.proj(image)  # (B, C, 64, 64)
        if self.frequency_bias is not None:
            x = x + self.frequency_bias.T.repeat(1, SPANS)[:, :, None]
        return self.norm(x.flatten(2).transpose(1, 2)[:, self.z_order])


def fold_time_into_frequency(x: Tensor) -> Tensor:
    """Cut a log-mel into spans and stack them into a square image (section 2.1): (B, 1024, 64) -> (B, 1, 256, 256)."""
    B, T, F = x.shape
    x = x.view(B, SPANS, T // SPANS, F).transpose(2, 3)  # (B, span, F, time in span)
    return x.reshape(B, 1, SPANS * F, T // SPANS)


class HTSAT(nn.Module):
    """The network, from log-mel to scores."""

    z_order: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.bn0 = nn.BatchNorm1d(MELS)
        self.patch_embed = PatchEmbed(config.embed_dim, config.frequency_bias)
        last = len(config.depths) - 1
        self.layers = nn.ModuleList(
            Stage(config.embed_dim << i, depth, heads, GRID >> i, last=i == last)
            for i, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True))
        )
        self.norm = nn.LayerNorm(config.channels)
        bands = GRID // ATTN_WINDOW // SPANS
        self.tscam_conv = nn.Conv2d(config.channels, config.classes, (bands, 3), padding=(0, 1))
        self.register_buffer("z_order", z_order(ATTN_WINDOW), persistent=False)

    def forward(self, log_mel: Tensor) -> NetworkOutput:
        """Score windows, log_mel (B, T, F) in dB with T <= 1024."""
        x = self.bn0(log_mel.transpose(1, 2)).transpose(1, 2)
        tokens = self.tokens(stretch(x))
        grid = self._grid(tokens)
        logits = self.tscam_conv(grid).squeeze(2).transpose(1, 2)  # the token-semantic head (section 2.3)
        mean = logits.mean(1)
        return NetworkOutput(
            logits=logits,
            framewise=logits.sigmoid(),
            clipwise=mean if self.config.loss == "ce" else mean.sigmoid(),
            embedding=tokens.mean(1),
            frame_embedding=grid.mean(2).transpose(1, 2),
        )

    def tokens(self, x: Tensor) -> Tensor:
        """Run the backbone on the normalised log-mel, (B, 1024, 64) -> (B, 64, C) in Z-order."""
        x = self.patch_embed(fold_time_into_frequency(x))
        for stage in self.layers:
            x = stage(x)
        return self.norm(x)

    def _grid(self, tokens: Tensor) -> Tensor:
        """Put the tokens (B, 64, C) of each band in the order of time, (B, C, band, 32)."""
        B, _, C = tokens.shape
        x = torch.empty_like(tokens)
        x[:, self.z_order] = tokens
        x = x.view(B, SPANS, -1, ATTN_WINDOW, C)  # (B, span, band, time in span, C)
        return x.permute(0, 4, 2, 1, 3).flatten(3)


def stretch(x: Tensor) -> Tensor:
    """Stretch (B, T, F) to (B, 1024, F) as the reference does; 1024 frames stay as they are."""
    if x.shape[1] == FRAMES:
        return x
    if x.shape[1] > FRAMES:
        raise ValueError(f"{x.shape[1]} frames are too many for a window, want at most {FRAMES}")
    return torch.from_numpy(stretch_matrix(x.shape[1], FRAMES)).to(x) @ x
