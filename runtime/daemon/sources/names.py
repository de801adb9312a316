"""Names of sound devices, which may be in any encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Name(bytes):
    """A text of a C library. What is not UTF-8 is read as Latin-1, so that it never fails."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text."""
        try:
            return super().decode(encoding, errors)
        except UnicodeDecodeError:
            return super().decode("latin-1")


class TolerantFfi:
    """sounddevice's interface to PortAudio, with names in any encoding."""

    def __init__(self, ffi: Any) -> None:
        self._ffi = ffi

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ffi, name)

    def string(self, *arguments: Any) -> Name:
        """Return a text of the C library."""
        return Name(self._ffi.string(*arguments))


def tolerate_names(sd: Any) -> None:
    """Have the sounddevice module read names in any encoding: it fails at all devices if one name is not UTF-8."""
    ffi = getattr(sd, "_ffi", None)
    if ffi is not None and not isinstance(ffi, TolerantFfi):
        sd._ffi = TolerantFfi(ffi)
        sd._ffi_string = sd._ffi.string  # as later versions call it


def read_name(path: Path) -> str:
    """Return the text of one of the kernel's files about a sound card."""
    return Name(path.read_bytes()).decode().strip()
