"""Measure `scan --ray` on clusters of one and more nodes on this machine; kill a node midway where that is asked.

python tests/scan_cluster.py --hours 1 --nodes 1 2
python tests/scan_cluster.py --hours 1 --nodes 3 --kill

The archive is made of the farmyard recording (27 s, in files of 5 minutes, and one that is cut). Results are compared,
recording by recording, with those of processes of this machine without Ray.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
from ray.cluster_utils import Cluster

from htsat_edge.runtime.archive.cluster.parts import AnswerParts
from htsat_edge.runtime.archive.cluster.scan import hear_on_ray
from htsat_edge.runtime.archive.journal import Journal, KeptRecording, key_of
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.archive.scan import scan
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.walk import Unreadable, walk
from htsat_edge.runtime.archive.workers import Workers
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

FARMYARD = Path(__file__).parent / "data" / "recordings" / "farmyard.flac"
FILE_S, LONG_S = 300, 5400
MEMORY = 100 << 20
Rows = tuple[list[KeptRecording], list[Unreadable]]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0, help="of audio in short files; 1.5 more are in one")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2], help="sizes of the clusters, a CPU each")
    parser.add_argument("--hop-s", type=float, default=1.28)
    parser.add_argument("--kill", action="store_true", help="kill the last node when a quarter is done")
    args = parser.parse_args()
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")
    info = load_bundle(BUNDLED).info
    detection = Settings(hop_s=args.hop_s, early_margin=None)
    settings = HearingSettings(
        BUNDLED, detection, tuple(info.labels), precision="int8", backend="onnxruntime", source="measured"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = write_archive(folder / "archive", round(args.hours * 3600 / FILE_S))
        timed("1 process", folder / "here-1", archive, settings, 1)
        expected = timed("2 processes", folder / "here-2", archive, settings, 2)
        for nodes in args.nodes:
            found = on_cluster(folder / f"ray-{nodes}", archive, settings, nodes, args.kill)
            print(f"  equal to one machine's: {found == expected}", flush=True)


def write_archive(folder: Path, files: int) -> Path:
    """Write so many short recordings, and a long one."""
    folder.mkdir()
    samples, rate = soundfile.read(FARMYARD, dtype="float32")
    rng = np.random.default_rng(0)
    for number, seconds in enumerate([FILE_S] * files + [LONG_S]):
        with soundfile.SoundFile(folder / f"{number:04}.flac", "w", rate, 1, "PCM_16") as out:
            left = seconds * rate
            while left > 0:
                piece = np.roll(samples, rng.integers(len(samples)))[:left] * rng.uniform(0.1, 1)
                out.write(piece)
                left -= len(piece)
    return folder


def timed(what: str, out: Path, archive: Path, settings: HearingSettings, run: int | Cluster) -> Rows:
    """Hear the archive with so many processes, or on a cluster; print how long it took, and return what was found."""
    with Journal.open(out, key_of(settings), archive) as journal:
        journal.add_found(walk([archive]))
        begun = time.monotonic()
        with ScanProgress(journal.totals()) as progress:
            if isinstance(run, int):
                with Workers(settings, run) as workers:
                    scan(journal, settings, workers, progress)
            else:
                hear_on_ray(journal, settings, run.address, progress)
        spent, totals = time.monotonic() - begun, journal.totals()
        speed = totals.seconds_done / spent
        print(f"{what}: {totals.seconds_done / 3600:.2f} h in {spent:.0f} s, {speed:.0f} x real time", flush=True)
        return list(journal.recordings()), list(journal.failures())


def on_cluster(out: Path, archive: Path, settings: HearingSettings, nodes: int, kill: bool) -> Rows:
    """Hear the archive on a cluster of so many nodes."""
    options = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    others = [cluster.add_node(num_cpus=1, object_store_memory=MEMORY) for _ in range(nodes - 1)]
    cluster.wait_for_nodes()
    ended = threading.Event()

    def kill_one() -> None:
        answers = AnswerParts(out).answers
        while not ended.wait(0.2):
            if answers.is_dir() and len(list(answers.iterdir())) > nodes:
                cluster.remove_node(others[-1], allow_graceful=False)
                print("  a node was killed", flush=True)
                return

    if kill:
        threading.Thread(target=kill_one, daemon=True).start()
    try:
        return timed(f"Ray, {nodes} nodes", out, archive, settings, cluster)
    finally:
        ended.set()
        cluster.shutdown()


if __name__ == "__main__":
    main()
