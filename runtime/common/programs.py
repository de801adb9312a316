"""The parts of htsat-edge that the runtime starts as processes, since it must not import them."""

from __future__ import annotations

import sys
from typing import Literal

Program = Literal[
    "htsat_edge.export.build_trt", "htsat_edge.export.baselines", "htsat_edge.runtime.commands.bench.worker"
]
"""What may be started; each is a module with a command line."""


def command_of(program: Program, *arguments: str) -> list[str]:
    """Return the command that runs a program of ours with this interpreter."""
    return [sys.executable, "-m", program, *arguments]
