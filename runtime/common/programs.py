"""The parts of htsat-edge that the runtime starts as processes, since it must not import them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Literal

import htsat_edge

Program = Literal[
    "htsat_edge.export.build_trt",
    "htsat_edge.export.baselines",
    "htsat_edge.export.gpu_day",
    "htsat_edge.runtime.archive.worker",
    "htsat_edge.runtime.commands.bench.worker",
    "htsat_edge",
    "htsat_edge.runtime.common.lifeline",
    "htsat_edge.runtime.daemon.outputs.notify.deliver",
]
"""What may be started; each is a module with a command line."""

CLEAN = "import sys; sys.path[:] = filter(None, sys.path)"
"""Takes the working folder out of the path: a resource.py there is not the standard library's."""
RUN = f"""
{CLEAN}
import runpy
sys.path.append(sys.argv[1])
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""As `python -m`, but without the working folder in the path.

The last in the path is the folder that holds htsat_edge, since a checkout that is not installed is in no other.
"""


def command_of(program: Program, *arguments: str) -> list[str]:
    """Return the command that runs a program of ours with this interpreter."""
    return [sys.executable, "-c", RUN, str(Path(htsat_edge.__file__).parents[1]), program, *arguments]


def signal_of(status: int) -> str:
    """Return the name of the signal that has ended a process, whose status is its number with a minus."""
    try:
        return signal.Signals(-status).name
    except ValueError:  # real-time signals, which some batch systems send, have none
        return f"signal {-status}"


def trial_of(library: str) -> list[str]:
    """Return the command that only imports a library with this interpreter, where that may end the process."""
    return [sys.executable, "-c", f"{CLEAN}; import {library}"]
