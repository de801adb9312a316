"""The options by which every command that reads recordings is told how they lie."""

from __future__ import annotations

import argparse
from pathlib import Path

from htsat_edge.evaluation.datasets import LAYOUTS
from htsat_edge.runtime.common.command import count


def add_clips(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --clips, with what the recordings should be, and how they lie."""
    parser.add_argument("--clips", type=Path, nargs="+", required=True, metavar="PATH", help=what)
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --dataset and --fold."""
    parser.add_argument(
        "--dataset", choices=list(LAYOUTS), metavar="LAYOUT", help=f"{', '.join(LAYOUTS)} (default: what lies there)"
    )
    parser.add_argument(
        "--fold",
        type=count,
        metavar="K",
        help="of a set for cross-validation: hold this one back, learn from the others",
    )
