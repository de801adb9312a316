"""Take recordings of which nothing is known."""

from __future__ import annotations

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.labels import Labelled


def read(files: Files) -> Dataset:
    """Return every recording, without labels."""
    return Dataset([Labelled(path) for path in files.recordings])
