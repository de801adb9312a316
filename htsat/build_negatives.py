"""Make htsat/negatives.npz again, of the recordings that htsat/negatives.csv lists.

python -m htsat_edge.htsat.build_negatives --data CORPUS

CORPUS is the folder that htsat_edge.htsat.build_corpus makes. The list has at most 6 recordings of a group and 60 of a
class to learn from, and others of other groups to choose thresholds by and to count. Packages that are not in it are
left to measure trainings on, such as widelands-data, flare-game and freepats.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.negatives import COLUMNS, NEGATIVES, TABLE, encode
from htsat_edge.htsat.scenes import load_sounds
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.dsp.log_mel import FrontEnd, to_db

LONGEST_S = 2.0
"""Of a longer recording the loudest part is kept."""


def build(data: Path, table: Path, path: Path) -> None:
    """Write the codes of the recordings of a table, and print what they are."""
    front_end, rows = FrontEnd.model_validate({}), read_csv(table, COLUMNS)
    recordings = [Recording(data / row["file"], row["class"], row["group"], row["split"]) for row in rows]
    frames = round(LONGEST_S / front_end.frame_s)
    sounds = load_sounds(recordings, front_end, "reading", speeds=(1.0,))
    coded = [encode(to_db(loudest(sound.power[0], frames))) for sound in sounds]
    content = {
        "front_end": np.array(front_end.model_dump_json()),
        "files": np.array([row["file"] for row in rows]),
        "frames": np.array([len(codes) for codes, _ in coded], np.int32),
        "peaks_db": np.array([peak for _, peak in coded], np.float32),
        "codes": np.concatenate([codes for codes, _ in coded]).T,
    }
    write(path, content)
    seconds = content["frames"].sum() * front_end.frame_s
    print(f"{path}: {len(rows)} recordings, {seconds / 60:.0f} minutes, {path.stat().st_size / 1e6:.1f} MB")


def write(path: Path, content: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write arrays as numpy does, but with LZMA, and the same bytes each time."""
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in content.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980, whenever it is made
            entry.compress_type = archive.compression
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)


def loudest(power: FloatArray, frames: int) -> FloatArray:
    """Return the loudest part of a power mel spectrogram (T, F) that has so many frames at most."""
    if len(power) <= frames:
        return power
    total = np.r_[0.0, power.sum(axis=1, dtype=np.float64).cumsum()]
    begin = int((total[frames:] - total[:-frames]).argmax())
    return power[begin : begin + frames]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.htsat.build_negatives", description="Make the file of negatives again.")
    parser.add_argument("--data", type=Path, required=True, metavar="CORPUS", help="what htsat.build_corpus made")
    parser.add_argument("--out", type=Path, default=NEGATIVES, help="the file to write (default: the package's)")
    args: argparse.Namespace = parser.parse_args(arguments)

    def start() -> int:
        build(args.data, TABLE, args.out)
        return 0

    return run(parser.prog, start)


if __name__ == "__main__":
    sys.exit(main())
