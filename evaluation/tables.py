"""Tables on the terminal."""

from __future__ import annotations

from rich.console import Console

FILE_WIDTH = 240
"""Characters of a line where no terminal says how many it shows: in a file or a pipe no table is broken."""


def wide_console() -> Console:
    """Return a console on stdout, as wide as the terminal; elsewhere wide enough for every table."""
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console
