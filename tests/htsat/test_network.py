import numpy as np
import pytest
import torch

from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT, roll_order, stretch, z_order
from htsat_edge.runtime.dsp.windows import tile

CASES = ["clip10_default", "clip5_default", "clip1_default", "clip10_quiet_default", "clip5_infer", "clip1_infer"]


def frames_of(case, goldens):
    """The log-mel of a case as the network takes it."""
    clip, _, mode = case.rpartition("_")
    log_mel = goldens[f"{clip}/log_mel"]
    return tile(log_mel, 1024) if mode == "infer" else log_mel


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_references(case, tiny_network, goldens):
    with torch.no_grad():
        output = tiny_network(torch.from_numpy(frames_of(case, goldens))[None])
    for name in ("framewise", "clipwise", "embedding"):
        found = getattr(output, name)[0].numpy()
        np.testing.assert_allclose(found, goldens[f"{case}/{name}"].reshape(found.shape), atol=1e-5)


def test_repeat_mode_is_the_mean_over_tiled_spans(tiny_network, goldens):
    spans = stretch(torch.from_numpy(goldens["clip10/log_mel"])[None]).split(256, dim=1)
    with torch.no_grad():
        outputs = [tiny_network(span.repeat(1, 4, 1)) for span in spans]
    for name in ("framewise", "clipwise"):
        found = torch.stack([getattr(output, name)[0] for output in outputs]).mean(0).numpy()
        golden = goldens[f"clip10_repeatmode/{name}"].reshape(found.shape)
        np.testing.assert_allclose(found, golden, atol=1e-5)


def test_cross_entropy_gives_the_mean_logits(tiny_network, goldens):
    config = tiny_network.config.model_copy(update={"loss": "ce"})
    network = HTSAT(config).eval()
    network.load_state_dict(tiny_network.state_dict())
    with torch.no_grad():
        output = network(torch.from_numpy(goldens["clip10/log_mel"])[None])
    np.testing.assert_allclose(output.clipwise.numpy()[0], goldens["clip10_clipce/clipwise"].ravel(), atol=1e-5)
    np.testing.assert_allclose(output.framewise.numpy()[0], goldens["clip10_clipce/framewise"], atol=1e-5)


def row_major(network, x):
    """A slow twin of the backbone by the book: tokens row by row, windows cut out, rolls and region masks."""
    image = torch.cat(list(x.transpose(1, 2).split(256, dim=2)), dim=1)[:, None]  # spans stacked on frequency
    grid = network.patch_embed.proj(image).permute(0, 2, 3, 1)
    if network.patch_embed.frequency_bias is not None:
        grid = grid + network.patch_embed.frequency_bias.repeat(4, 1)[:, None]
    grid = network.patch_embed.norm(grid)  # (B, row, column, C)
    for stage in network.layers:
        for i, block in enumerate(stage.blocks):
            shift = 4 if i % 2 and grid.shape[1] > 8 else 0
            rolled = torch.roll(block.norm1(grid), (-shift, -shift), (1, 2))
            rolled = attend_by_window(block.attn, rolled, shift)
            grid = grid + torch.roll(rolled, (shift, shift), (1, 2))
            grid = grid + block.mlp(block.norm2(grid))
        if isinstance(stage.downsample, torch.nn.Identity):
            continue
        corners = [grid[:, r::2, c::2] for r, c in ((0, 0), (1, 0), (0, 1), (1, 1))]
        grid = stage.downsample.reduction(stage.downsample.norm(torch.cat(corners, dim=-1)))
    return network.norm(grid)


def attend_by_window(attn, grid, shift):
    side, C = grid.shape[1], grid.shape[3]
    out = torch.empty_like(grid)

    def region(at):
        return 0 if at < side - 8 else 1 if at < side - 4 else 2

    for top in range(0, side, 8):
        for left in range(0, side, 8):
            places = [(top + r, left + c) for r in range(8) for c in range(8)]
            tokens = grid[:, top : top + 8, left : left + 8].reshape(len(grid), 64, C)
            q, k, v = attn.qkv(tokens).chunk(3, dim=-1)
            index = [[(a[0] - b[0] + 7) * 15 + a[1] - b[1] + 7 for b in places] for a in places]
            bias = attn.relative_position_bias_table[torch.tensor(index)]
            regions = torch.tensor([3 * region(r) + region(c) for r, c in places])
            apart = -100.0 * (regions[:, None] != regions) if shift else 0
            heads = []
            for h in range(attn.heads):
                D = C // attn.heads
                part = slice(h * D, (h + 1) * D)
                scores = q[..., part] @ k[..., part].transpose(1, 2) * D**-0.5 + bias[..., h] + apart
                heads.append(scores.softmax(-1) @ v[..., part])
            out[:, top : top + 8, left : left + 8] = attn.proj(torch.cat(heads, -1)).view(-1, 8, 8, C)
    return out


@pytest.mark.parametrize("frequency_bias", [False, True])
def test_z_order_is_the_row_major_network(frequency_bias):
    torch.manual_seed(0)
    config = NetworkConfig(
        embed_dim=8, depths=(2, 1, 2, 2), heads=(1, 2, 4, 4), classes=3, frequency_bias=frequency_bias
    )
    network = HTSAT(config).eval()
    for name, parameter in network.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter)
    x = torch.randn(2, 1024, 64)
    with torch.no_grad():
        wanted = row_major(network, x).flatten(1, 2)[:, z_order(8)]
        torch.testing.assert_close(network.tokens(x), wanted, atol=1e-5, rtol=1e-4)


def test_the_embedding_of_a_step_is_the_mean_of_its_bands(tiny_network):
    """In the image of the slow twin a row is a band of a span, and a column a step in the span."""
    x = torch.randn(2, 1024, 64, generator=torch.Generator().manual_seed(0)) * 20 - 40
    with torch.no_grad():
        output = tiny_network(x)
        grid = row_major(tiny_network, tiny_network.bn0(x.transpose(1, 2)).transpose(1, 2))
    wanted = torch.stack([grid[:, 2 * (t // 8) : 2 * (t // 8) + 2, t % 8].mean(1) for t in range(32)], dim=1)
    torch.testing.assert_close(output.frame_embedding, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.frame_embedding.mean(1), output.embedding, atol=1e-6, rtol=1e-5)


def test_z_order_counts_rows_before_columns():
    assert z_order(4).tolist() == [0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15]


@pytest.mark.parametrize(("side", "shift"), [(8, 1), (16, 4)])
def test_roll_order_rolls_the_image(side, shift):
    image = torch.arange(side * side).view(side, side)
    tokens = image.flatten()[z_order(side)][roll_order(side, shift)]
    rolled = torch.empty_like(image).flatten()
    rolled[z_order(side)] = tokens
    assert torch.equal(rolled.view(side, side), image.roll((-shift, -shift), (0, 1)))


def test_too_many_frames_are_refused():
    with pytest.raises(ValueError, match="1025 frames are too many"):
        stretch(torch.zeros(1, 1025, 64))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depths": (2, 2, 6)}, "want 4 positive numbers"),
        ({"heads": (5, 8, 16, 32)}, "stage 1 has 96 channels, not a multiple of 5 heads"),
        ({"front_end": {"n_mels": 128}}, "folds 64 mel bands"),
        ({"loss": "mse"}, "loss"),
        ({"embed_dims": 96}, "embed_dims"),
    ],
)
def test_impossible_networks_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**wrong)
