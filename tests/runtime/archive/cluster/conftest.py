"""An archive that a small model hears, and clusters of Ray on this machine."""

from contextlib import contextmanager

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.archive.cluster.scan import hear_on_ray
from htsat_edge.runtime.archive.journal import Journal, key_of
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.archive.scan import scan
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.walk import walk
from htsat_edge.runtime.archive.workers import Workers
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings

RATE = 32_000
MEMORY = 80 * 2**20
"""Of a node, for objects."""


@pytest.fixture(scope="session")
def sounds(tmp_path_factory):
    """Write an archive: so many short recordings, one that is cut, and one that is none; return its folder."""

    def make(short, long_s=70):
        folder = tmp_path_factory.mktemp("archive")
        rng = np.random.default_rng(short)
        for number in range(short):
            soundfile.write(folder / f"x{number:03}_20260501_043000.wav", rng.normal(0, 0.1, 12 * RATE), RATE)
        swell = np.sin(np.arange(long_s * RATE) / RATE / 3)
        soundfile.write(folder / "long.flac", rng.normal(0, 0.1, long_s * RATE) * swell, RATE)
        (folder / "none.wav").write_bytes(b"nothing")
        return folder

    return make


@pytest.fixture
def settings(tiny_bundle):
    detection = Settings(threshold=0.5, early_margin=None)
    shown = tuple(detection.reported(load_bundle(tiny_bundle).info))
    return HearingSettings(
        tiny_bundle, detection, shown, precision="fp32", backend="onnxruntime", span_s=20.0, source="ray"
    )


@pytest.fixture
def begin(settings):
    """Open the journal of a scan, with what is to be heard."""

    @contextmanager
    def open_journal(out, archive):
        with Journal.open(out, key_of(settings), archive) as journal:
            journal.add_found(walk([archive], skip=[out]))
            yield journal

    return open_journal


@pytest.fixture
def heard_here(settings, begin, tmp_path):
    """What this machine's processes find in an archive, without Ray."""

    def hear(archive):
        with begin(tmp_path / "here", archive) as journal:
            with Workers(settings, 2) as workers, ScanProgress(journal.totals()) as progress:
                scan(journal, settings, workers, progress)
            return rows(journal)

    return hear


def rows(journal):
    """All that tables are written from."""
    return list(journal.recordings()), list(journal.failures())


@pytest.fixture(scope="module")
def start_cluster():
    """Start a cluster of nodes with one CPU each, and of GPUs, which it need not have, on the first; return it."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    started = []

    def start(nodes, gpus=0):
        options = {"num_cpus": 1, "num_gpus": gpus, "object_store_memory": MEMORY, "include_dashboard": False}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=options)
        started.append(cluster)
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
        cluster.wait_for_nodes()
        return cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield start
        for cluster in started:
            cluster.shutdown()


@pytest.fixture(scope="module")
def cluster(start_cluster):
    """A cluster of two nodes, which all tests of a file share."""
    return start_cluster(2)


@pytest.fixture
def hear():
    """Hear what a journal has to do on a cluster; return all that tables are written from."""

    def run(journal, settings, cluster, folders=(), gpus=None):
        with ScanProgress(journal.totals()) as progress:
            hear_on_ray(journal, settings, cluster.address, progress, folders=folders, gpus=gpus)
        return rows(journal)

    return run
