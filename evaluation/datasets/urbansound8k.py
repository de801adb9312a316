"""Read UrbanSound8K (J. Salamon, C. Jacoby, J. P. Bello: A Dataset and Taxonomy for Urban Sound Research, 2014)."""

from __future__ import annotations

import re

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.folds import Clips

CLIPS = Clips(
    file="slice_file_name",
    number="classid",
    category="class",
    source="fsid",
    name=re.compile(r"(?P<fsid>\d+)-(?P<classid>\d+)-\d+-\d+"),
)


def read(files: Files) -> Dataset:
    """Read metadata/UrbanSound8K.csv and audio/fold1 … fold10: ten folds, and groups by the recording.

    The columns start and end are not read: they are times in the recording that the clip was cut from.
    """
    return CLIPS.read(files, files.the("UrbanSound8K.csv", "UrbanSound8K's metadata/UrbanSound8K.csv"), home="metadata")
