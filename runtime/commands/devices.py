"""`htsat-edge devices`: which microphones there are, and whether they hear anything."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.daemon.sources.devices import Input, find_inputs


def run(args: argparse.Namespace) -> int:
    """Run the command; return 1 where there is no input at all."""
    found = list(find_inputs())
    if args.json:
        for device in found:
            print(json.dumps(asdict(device)))
    else:
        print_inputs(found)
    return 0 if found else 1


def print_inputs(found: list[Input]) -> None:
    """Print a table for people."""
    console = Console()
    if not found:
        console.print("no inputs: plug a microphone in; in a container, give it --device /dev/snd")
        return
    table = Table(box=None, header_style="bold")
    for column in ("#", "name", "channels", "Hz", "stable id", "level"):
        table.add_column(column)
    for device in found:
        level = device.error if device.level_dbfs is None else f"{device.level_dbfs:.0f} dBFS"
        name = f"{device.name} (default)" if device.default else device.name
        row = (device.number, name, device.channels, device.sample_rate, device.stable_id or "", level)
        table.add_row(*(Text(visible(str(cell))) for cell in row))  # a device chooses its name itself
    console.print(table)
