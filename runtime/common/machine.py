"""Read what this machine is, as far as measurements and libraries depend on it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.programs import signal_of, trial_of

RELEASE = Path("/etc/nv_tegra_release")
"""Where Jetson Linux (L4T) says which one it is."""

TOPOLOGY = Path("/sys/devices/system/cpu")
SAFE = (1, 27)
"""The first onnxruntime that can be loaded where processors are turned off."""
TRIAL_S = 120
"""After so many seconds the other process that tries it is given up."""
MOST_THREADS_PER_PROCESSOR = 16
"""More would only wait for each other: 256 threads on 2 processors load a model in 25 s."""


class Machine(BaseModel):
    """The device and its software; None where it is not known, as the last three of a PC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    """x86_64, aarch64."""
    l4t: str | None
    """Jetson Linux, such as 36.4.3."""
    jetpack: str | None
    """Where its packages are installed, such as 6.2."""
    power_mode: str | None
    """Of nvpmodel, such as MAXN."""

    def __str__(self) -> str:
        parts = [f"JetPack {self.jetpack}" if self.jetpack else "", f"L4T {self.l4t}" if self.l4t else ""]
        parts += [f"power mode {self.power_mode}" if self.power_mode else ""]
        return ", ".join(filter(None, parts)) or self.processor


def read_machine(release: Path = RELEASE) -> Machine:
    """Return the device and the versions of its software."""
    l4t = None
    if release.is_file():
        # "# R36 (release), REVISION: 4.3, GCID: …"
        found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release.read_text(errors="replace"))
        l4t = ".".join(found.groups()) if found else None
    jetpack = _ask("dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack")
    mode = re.search(r"Power Mode: (\S+)", _ask("nvpmodel", "-q") or "")
    return Machine(
        processor=platform.machine(),
        l4t=l4t,
        jetpack=jetpack and jetpack.partition("+")[0],
        power_mode=mode and mode[1],
    )


def installed_versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed; a checkout that is not installed has none."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def minor_version(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version; zeros where it has none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def cores(topology: Path = TOPOLOGY) -> int:
    """Return how many cores this process may run on; two threads of one core count once, where that is known."""
    if not hasattr(os, "sched_getaffinity"):  # as on macOS
        return os.cpu_count() or 1
    siblings = [topology / f"cpu{i}" / "topology" / "thread_siblings_list" for i in os.sched_getaffinity(0)]
    return len({file.read_text() if file.is_file() else str(file) for file in siblings})


def check_threads(threads: int) -> None:
    """Raise an HtsatEdgeError where there would be many more threads than any library starts in a reasonable time."""
    most = MOST_THREADS_PER_PROCESSOR * (os.cpu_count() or 1)
    if threads > most:
        raise HtsatEdgeError(f"{threads} threads: this machine has {cores()} cores; want at most {most}")


@cache
def load_onnxruntime() -> Any:
    """Import onnxruntime; raise an HtsatEdgeError where that fails, or would end this process."""
    if platform.machine() == "aarch64" and not is_safe() and (off := processors_off()):
        refuse_crash(off)
    with needing("the model", "onnxruntime", "pip install onnxruntime"):
        import onnxruntime
    return onnxruntime


def is_safe() -> bool:
    """Return whether the installed onnxruntime is known to be one that can be loaded where processors are off."""
    found = installed_versions("onnxruntime", "onnxruntime-gpu").values()
    return bool(found) and all(minor_version(version) >= SAFE for version in found)


def processors_off(topology: Path = TOPOLOGY) -> str:
    """Return which processors are on, and which could be, where that is not the same or not known; else nothing."""
    files = {name: topology / name for name in ("online", "present", "possible")}
    lists = {name: file.read_text().strip() if file.is_file() else "unknown" for name, file in files.items()}
    if len(set(lists.values())) == 1 and re.fullmatch(r"0(-\d+)?", lists["online"]):
        return ""
    return ", ".join(f"{name} {numbers}" for name, numbers in lists.items())


def refuse_crash(off: str) -> None:
    """Raise an HtsatEdgeError where importing onnxruntime ends the process, as before 1.27 where processors are off.

    It takes the numbers of those that are on for positions: 0-3,8-11 of 0-11 ends it, and 0-3 of 0-7 does where 4-7 are
    larger ones, but 4-7 of 0-7 does not. So another process tries it, and only where some are off.
    """
    status = try_onnxruntime()
    if status is None:
        raise HtsatEdgeError(f"onnxruntime is not loaded within {TRIAL_S} s: end what else runs here, and try again")
    if status < 0:
        raise HtsatEdgeError(
            f"onnxruntime ends with {signal_of(status)} when it is loaded, as before 1.27 where "
            f"processors are turned off ({off}): turn all of them on (nvpmodel on a Jetson), or take Python 3.11 or "
            'newer and pip install "onnxruntime>=1.27"'
        )


@cache
def try_onnxruntime() -> int | None:
    """Import onnxruntime in another process; return its exit status, below 0 for a signal, None where it hangs."""
    trial, none = trial_of("onnxruntime"), subprocess.DEVNULL
    try:
        return subprocess.run(trial, stdin=none, stdout=none, stderr=none, timeout=TRIAL_S, check=False).returncode
    except subprocess.TimeoutExpired:
        return None


def _ask(*command: str) -> str | None:
    """Return what a program prints; None where there is none or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
