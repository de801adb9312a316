"""Random weights under the names of transformers' ClapModel; tests/data/clap has the embeddings that it makes of them.

python clap_weights.py FILE, where transformers is installed, writes these embeddings anew.
"""

import sys
import zlib

import numpy as np

SIZES = {
    "tiny": {"embed_dim": 96, "depths": (2, 2, 6, 2), "heads": (4, 8, 16, 32)},
    "base": {"embed_dim": 128, "depths": (2, 2, 12, 2), "heads": (4, 8, 16, 32)},
}
FRAMES = 1001


def shapes(embed_dim, depths, heads):
    """The names and shapes of a ClapAudioEncoder."""
    found = {f"batch_norm.{name}": (64,) for name in ("weight", "bias", "running_mean", "running_var")}
    found |= {"patch_embed.proj.weight": (embed_dim, 1, 4, 4), "patch_embed.proj.bias": (embed_dim,)}
    found |= norm("patch_embed.norm", embed_dim)
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        c = embed_dim << stage
        for block in range(depth):
            at = f"layers.{stage}.blocks.{block}"
            found |= norm(f"{at}.layernorm_before", c) | norm(f"{at}.layernorm_after", c)
            found[f"{at}.attention.self.relative_position_bias_table"] = (225, count)
            for name in ("query", "key", "value"):
                found |= linear(f"{at}.attention.self.{name}", c, c)
            found |= linear(f"{at}.attention.output.dense", c, c)
            found |= linear(f"{at}.intermediate.dense", c, 4 * c) | linear(f"{at}.output.dense", 4 * c, c)
        if stage < 3:
            found |= norm(f"layers.{stage}.downsample.norm", 4 * c)
            found[f"layers.{stage}.downsample.reduction.weight"] = (2 * c, 4 * c)
    return found | norm("norm", embed_dim << 3)


def norm(name, channels):
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def draw(name, shape):
    """Weights that depend on the name alone; none is an identity that would hide an error."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(shape, np.float32)
    if name.endswith("running_mean"):
        return 5 * values - 40
    if name.endswith("running_var"):
        return 100 + 50 * np.abs(values)
    if name.endswith("bias_table"):
        return values / 4
    if len(shape) == 1:
        return values / 8 + (1 if name.endswith("weight") else 0)
    return values / np.sqrt(np.float32(np.prod(shape[1:])))


def encoder(size):
    return {name: draw(name, shape) for name, shape in shapes(**SIZES[size]).items()}


def log_mel():
    values = np.random.default_rng(5).normal(-40, 20, (1, FRAMES, 64)).astype(np.float32)
    return np.maximum(values, -100)


def of_transformers(size):
    """The embedding that transformers computes."""
    import torch
    from transformers import ClapAudioConfig, ClapAudioModel

    sizes = SIZES[size]
    config = ClapAudioConfig(
        patch_embeds_hidden_size=sizes["embed_dim"],
        hidden_size=sizes["embed_dim"] * 8,
        depths=list(sizes["depths"]),
        num_attention_heads=list(sizes["heads"]),
    )
    model = ClapAudioModel(config).eval().double()
    weights = {f"audio_encoder.{name}": torch.from_numpy(value).double() for name, value in encoder(size).items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.endswith(("relative_position_index", "num_batches_tracked")) for name in missing)
    with torch.no_grad():
        return model(torch.from_numpy(log_mel()).double()[:, None]).pooler_output.numpy()


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **{size: of_transformers(size) for size in SIZES})
