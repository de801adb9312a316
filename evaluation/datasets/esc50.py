"""Read ESC-50 (K. J. Piczak: ESC: Dataset for Environmental Sound Classification, 2015)."""

from __future__ import annotations

import re

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.folds import Clips

CLIPS = Clips(
    file="filename",
    number="target",
    category="category",
    source="src_file",
    name=re.compile(r"(?P<fold>\d+)-(?P<src_file>\d+)-[A-Z]-(?P<target>\d+)"),
)


def read(files: Files) -> Dataset:
    """Read meta/esc50.csv and audio/: five folds, and groups by the recording that clips were cut from."""
    return CLIPS.read(files, files.the("esc50.csv", "ESC-50's meta/esc50.csv"), home="meta")
