"""Read what a bench reports of the machine: its name, clocks, memory, power and versions."""

from __future__ import annotations

import os
import platform
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from htsat_edge.runtime.commands.bench.results import DeviceInfo
from htsat_edge.runtime.common.machine import cores, installed_versions, read_machine

BOARD = Path("/proc/device-tree/model")
CPUINFO = Path("/proc/cpuinfo")
FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")


class Power:
    """A context that measures the mean power of the board with jtop, which comes with jetson-stats."""

    def __init__(self) -> None:
        self._watts: list[float] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Power:
        try:
            from jtop import jtop
        except Exception:  # it is not there, or was made for another Jetson Linux
            return self
        self._thread = threading.Thread(target=self._watch, args=(jtop,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)

    def _watch(self, jtop: type) -> None:
        from jtop import JtopException

        try:
            with jtop() as jetson:
                while not self._stop.is_set() and jetson.ok():
                    self._watts.append(jetson.power["tot"]["power"] / 1000)
        except (JtopException, KeyError, OSError):  # its service is not running, or the board measures nothing
            return

    @property
    def watts(self) -> float | None:
        """The mean power; None where nothing measures it."""
        return sum(self._watts) / len(self._watts) if self._watts else None


def clock_mhz(frequency: Path = FREQUENCY) -> float | None:
    """Return the first core's clock at this moment; None where the system does not report it."""
    return _mhz(frequency / "scaling_cur_freq")


def read_device(
    load_before: float | None, power_w: float | None, clocks_mhz: Sequence[float], frequency: Path = FREQUENCY
) -> DeviceInfo:
    """Describe this machine, with the load before the bench, and the power and the clocks during it."""
    median = statistics.median(clocks_mhz) if clocks_mhz else None
    clocks = {"median": median, "max": _mhz(frequency / "cpuinfo_max_freq")}
    governor = frequency / "scaling_governor"
    return DeviceInfo(
        processor=processor(),
        cores=cores(),
        memory_gb=_memory_gb(),
        machine=str(read_machine()),
        clock_mhz={name: mhz for name, mhz in clocks.items() if mhz is not None},
        governor=governor.read_text().strip() if governor.is_file() else None,
        load_before=None if load_before is None else round(load_before, 2),
        power_w=None if power_w is None else round(power_w, 2),
    )


def load() -> float | None:
    """Return how many processes wanted to run in the last minute; None where the system does not report it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def processor(board: Path = BOARD, cpuinfo: Path = CPUINFO) -> str:
    """Return the board's name where it has one, as a Jetson does, else the processor's."""
    if board.is_file():
        return board.read_text().strip("\0\n ")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def read_versions() -> dict[str, str]:
    """Return the versions of the software that the figures depend on, where it is installed."""
    packages = ("htsat-edge", "onnxruntime", "numpy", "scipy", "tensorrt", "pycuda", "torch", "transformers")
    system = f"{platform.system()} {platform.release()}"
    return {"python": platform.python_version(), "system": system, **installed_versions(*packages)}


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def _mhz(path: Path) -> float | None:
    try:
        return float(path.read_text()) / 1000
    except (OSError, ValueError):
        return None
