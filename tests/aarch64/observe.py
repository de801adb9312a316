"""Run `htsat-edge` and keep what the model gave for each window: python observe.py SCORES.npz detect FILE …"""

import sys

import numpy as np

from htsat_edge.runtime.commands.cli import main
from htsat_edge.runtime.models.backends.backend import Scores, join
from htsat_edge.runtime.models.backends.ort import OrtBackend


def observe(scores_path: str, arguments: list[str]) -> int:
    """Run the command in this process; return its exit status."""
    kept: list[Scores] = []
    infer = OrtBackend.infer

    def infer_and_keep(self: OrtBackend, log_mel: np.ndarray) -> Scores:
        kept.append(infer(self, log_mel))
        return kept[-1]

    OrtBackend.infer = infer_and_keep
    status = main(arguments)
    np.savez(scores_path, **join(kept).outputs())
    return status


if __name__ == "__main__":
    sys.exit(observe(sys.argv[1], sys.argv[2:]))
