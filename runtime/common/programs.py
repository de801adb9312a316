"""The parts of htsat-edge that the runtime starts as processes, since it must not import them."""

from __future__ import annotations

import sys
from typing import Literal

Program = Literal[
    "htsat_edge.export.build_trt",
    "htsat_edge.export.baselines",
    "htsat_edge.export.gpu_day",
    "htsat_edge.runtime.commands.bench.worker",
    "htsat_edge",
    "htsat_edge.runtime.common.lifeline",
]
"""What may be started; each is a module with a command line."""

RUN = """
import runpy, sys
sys.path[:] = [folder for folder in sys.path if folder]
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""As `python -m`, but without the working folder in the path: a resource.py there is not the standard library's."""


def command_of(program: Program, *arguments: str) -> list[str]:
    """Return the command that runs a program of ours with this interpreter."""
    return [sys.executable, "-c", RUN, program, *arguments]
