"""Build the corpus of the bundled model from Debian packages: python -m htsat_edge.htsat.build_corpus --out FOLDER.

configs/corpus.csv lists which file of which package holds which sound. Packages are downloaded one after the other with
apt-get; nothing is installed, and only the recordings that are cut from a package are kept. A stopped build goes on
where it was. `train --data FOLDER` reads FOLDER/manifest.csv; FOLDER/missing.csv lists recordings that could not be
made, as on another release of Debian or Ubuntu where a package lacks a file or has a shorter one.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from htsat_edge.configs import CONFIGS
from htsat_edge.htsat.archives import Sound, decode, read_member, read_raw
from htsat_edge.htsat.settings import make_folder
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import Parser, run
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress

MANIFEST = CONFIGS / "corpus.csv"
COLUMNS = ("file", "package", "path", "class", "onset", "offset", "group", "split")
KEPT = ("file", "class", "group", "split", "package")
SAMPLE_RATE = 32000
LONGEST_S = 10.0
FADE_S = 0.005
"""Fade at both ends, against clicks where a recording was cut."""
PEAK = 0.9
SILENT = 1e-4
CUT_SHORT_S = 0.02
"""A recording may end this much before the offset that the manifest gives: decoders differ in the last frame."""

Row = Mapping[str, str]


class Missing(NamedTuple):
    """A recording that could not be made."""

    row: Row
    reason: str


def build(manifest: Path, out: Path) -> list[Missing]:
    """Cut the recordings that are not there yet, and write FOLDER/manifest.csv; return what is missing."""
    rows = read_csv(manifest, COLUMNS)
    wanted: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not (out / row["file"]).exists():
            wanted[row["package"]].append(row)
    missing: list[Missing] = []
    for package in with_progress(sorted(wanted), "packages"):
        missing += build_package(package, wanted[package], out)
    lost = {gap.row["file"] for gap in missing}
    write_rows(out / "manifest.csv", KEPT, (row for row in rows if row["file"] not in lost))
    listed = ({**gap.row, "reason": gap.reason} for gap in missing)
    write_rows(out / "missing.csv", ("file", "package", "path", "reason"), listed)
    return missing


def build_package(package: str, rows: list[Row], out: Path) -> list[Missing]:
    """Cut the recordings of one package; return what is missing."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".download-") as folder:
        try:
            files = read_package(download(package, Path(folder)), {source_of(row) for row in rows})
        except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
            return [Missing(row, f"the package cannot be downloaded or read: {explain(error)}") for row in rows]
    missing = []
    for row in rows:
        try:
            save(out / row["file"], cut(*read(files, row["path"]), float(row["onset"]), float(row["offset"])))
        except (KeyError, ValueError) as error:
            missing.append(Missing(row, explain(error)))
    return missing


def download(package: str, folder: Path) -> Path:
    """Download a package, without installing it; return its file."""
    subprocess.run(["apt-get", "-q", "download", package], cwd=folder, check=True, capture_output=True, text=True)
    return next(folder.glob("*.deb"))


def read_package(deb: Path, wanted: set[str]) -> dict[str, bytes]:
    """Return the contents of the wanted files of a package, as far as it has them."""
    found: dict[str, bytes] = {}
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpack,
        tarfile.open(fileobj=unpack.stdout, mode="r|") as files,
    ):
        for member in files:
            name = member.name.removeprefix("./")
            if name in wanted and (content := files.extractfile(member)) is not None:
                found[name] = content.read()
    return found


def source_of(row: Row) -> str:
    """Return the file of the package: the archive, where the recording is inside one."""
    return row["path"].partition("!")[0]


def read(files: Mapping[str, bytes], path: str) -> Sound:
    """Return a recording from the files of its package."""
    name, _, member = path.partition("!")
    if name not in files:
        raise KeyError(f"the package has no {name}")
    if member:
        return read_member(name, files[name], member)
    return read_raw(files[name]) if PurePosixPath(name).suffix == ".raw" else decode(files[name])


def cut(samples: FloatArray, rate: int, onset_s: float, offset_s: float) -> FloatArray:
    """Cut a recording from onset to offset: (S,) at 32 kHz.

    At most 10 s are kept; the mean is removed, the ends are faded, and the peak is 0.9. Raise ValueError where the
    recording is too short or silent.
    """
    if len(samples) < (offset_s - CUT_SHORT_S) * rate:
        raise ValueError(f"lasts {len(samples) / rate:.3f} s, want {offset_s:g}: it is another recording")
    part = samples[int(onset_s * rate) : int(np.ceil(offset_s * rate))]
    part = soxr.resample(part - part.mean(), rate, SAMPLE_RATE)[: int(LONGEST_S * SAMPLE_RATE)]
    fade = min(len(part) // 8, int(FADE_S * SAMPLE_RATE))
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    part[:fade] *= ramp
    part[len(part) - fade :] *= ramp[::-1]
    peak = np.abs(part).max(initial=0)
    if peak < SILENT:
        raise ValueError("is silent")
    return np.asarray(part * (PEAK / peak), np.float32)


def save(path: Path, samples: FloatArray) -> None:
    """Write a recording; the file appears whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path, soundfile.LibsndfileError) as part:
        soundfile.write(part, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def explain(error: Exception) -> str:
    """Return the reason of an error in one line."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines() or [f"apt-get ended with status {error.returncode}"]
        return lines[-1].removeprefix("E: ")
    return str(error.args[0] if isinstance(error, KeyError) else error)


def write_rows(path: Path, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
    """Write a CSV with these columns of the rows."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def start(args: argparse.Namespace) -> int:
    """Run the command."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise HtsatEdgeError(f"needs {program}: run it on Debian or Ubuntu")
    make_folder(args.out)
    missing = build(args.manifest, args.out)
    rows = read_csv(args.out / "manifest.csv", KEPT)
    print(f"{len(rows)} recordings in {args.out}{os.sep}")
    if missing:
        first = f"the first: {missing[0].row['package']}: {missing[0].reason}"
        print(f"{len(missing)} are missing, see {args.out / 'missing.csv'}; {first}", file=sys.stderr)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(
        prog="python -m htsat_edge.htsat.build_corpus", description="Build the corpus from Debian packages."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the recordings (about 110 MB)")
    parser.add_argument(
        "--manifest", type=Path, default=MANIFEST, help="list of the recordings (default: configs/corpus.csv)"
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
