"""Sound event detection with HTS-AT on edge devices: samples in, events out.

>>> from htsat_edge import detect_file
>>> for event in detect_file("yard.flac"):
...     print(event.label, event.onset, event.offset, event.score)

Each name is imported when it is used first, so that the command line starts at once.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from htsat_edge.runtime.common.errors import HtsatEdgeError
    from htsat_edge.runtime.detector import Detector, EventStream, WindowStream, detect_file
    from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart
    from htsat_edge.runtime.dsp.windows import Window
    from htsat_edge.runtime.models.backends import open_backend
    from htsat_edge.runtime.models.backends.backend import Backend
    from htsat_edge.runtime.models.bundle import Bundle, ModelInfo, load_bundle
    from htsat_edge.runtime.models.settings import Settings

__all__ = [
    "Backend",
    "Bundle",
    "Detector",
    "Event",
    "EventEnd",
    "EventStart",
    "EventStream",
    "HtsatEdgeError",
    "ModelInfo",
    "Settings",
    "Window",
    "WindowStream",
    "detect_file",
    "load_bundle",
    "open_backend",
]
HOMES = {
    "runtime.common.errors": ("HtsatEdgeError",),
    "runtime.detector": ("Detector", "EventStream", "WindowStream", "detect_file"),
    "runtime.dsp.events": ("Event", "EventEnd", "EventStart"),
    "runtime.dsp.windows": ("Window",),
    "runtime.models.backends": ("open_backend",),
    "runtime.models.backends.backend": ("Backend",),
    "runtime.models.bundle": ("Bundle", "ModelInfo", "load_bundle"),
    "runtime.models.settings": ("Settings",),
}
"""Where each public name is defined."""

if not (Path(__file__).parent / "runtime").exists():
    # This is the folder in a checkout, which Python finds first from its top: there the parts lie beside it.
    __path__.append(str(Path(__file__).parent.parent))


def __getattr__(name: str) -> Any:
    """Import a public name from its home; look the version up."""
    if name == "__version__":
        return _read_version()
    for module, names in HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _read_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # as slow as everything else together

    try:
        return version("htsat-edge")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0"


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
