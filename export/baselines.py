"""Write public models as ONNX files, which `htsat-edge bench` times as baselines.

python -m htsat_edge.export.baselines --out FOLDER --network JSON

They are what exporting the published code without changes gives: `ClapAudioModel` of `transformers`, which is HTS-AT
without the token-semantic head, and AST, with which HTS-AT's paper compares itself (section 3.2). Weights are drawn at
random: time and memory do not depend on them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.libraries import needing

INSTALL = "pip install torch transformers"


def export_baselines(args: argparse.Namespace) -> int:
    """Write those that can be exported; return the exit status.

    The last line of stdout is JSON: the number of parameters of each that was `written`, and the reasons why others
    `failed`.
    """
    with needing("a baseline", "torch", INSTALL):
        import torch
    with needing("a baseline", "transformers", INSTALL):
        import transformers
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    written, failed = {}, {}
    for name, make in {"ClapAudioModel": lambda: make_clap(args.network), "AST": make_ast}.items():
        try:
            model, example = make()
            save(model, example, args.out / f"{name}.onnx")
            written[name] = sum(parameter.numel() for parameter in model.parameters())
        except Exception as error:  # another version of transformers or torch may fail in any way
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    print(json.dumps({"written": written, "failed": failed}))
    return 0


def make_clap(network: dict[str, Any]) -> tuple[Any, Any]:
    """Return CLAP's audio encoder in the size of a network of ours, and an input, (1, 1, 1001, 64)."""
    import torch
    from transformers import ClapAudioConfig, ClapAudioModel

    config = ClapAudioConfig(
        patch_embeds_hidden_size=network["embed_dim"],
        hidden_size=network["embed_dim"] * 2 ** (len(network["depths"]) - 1),
        depths=network["depths"],
        num_attention_heads=network["heads"],
        num_classes=network["classes"],
    )
    return ClapAudioModel(config).eval(), torch.randn(1, 1, 1001, 64)


def make_ast() -> tuple[Any, Any]:
    """Return the audio spectrogram transformer in its published size, and an input, (1, 1024, 128)."""
    import torch
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(num_labels=527, attn_implementation="eager")
    return ASTForAudioClassification(config).eval(), torch.randn(1, 1024, 128)


def save(model: Any, example: Any, path: Path) -> None:
    """Export by tracing, since torch.export cannot follow CLAP's code."""
    import torch

    class Outputs(torch.nn.Module):
        """The model with plain tensors as outputs."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return tuple(value for value in self.model(x).values() if isinstance(value, torch.Tensor))

    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(Outputs(), (example,), str(path), dynamo=False, input_names=["input"])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = Parser(prog="baselines.py", description="Write public models as ONNX files, to compare with.")
    parser.add_argument("--out", type=Path, required=True, help="an existing folder")
    parser.add_argument(
        "--network",
        type=json.loads,
        required=True,
        metavar="JSON",
        help="embed_dim, depths, heads and classes, as model.json has them",
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: export_baselines(args))


if __name__ == "__main__":
    sys.exit(main())
