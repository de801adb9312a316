"""Machines of a cluster, and the run itself, that are killed midway."""

import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from htsat_edge.runtime.archive.cluster.parts import AnswerParts, take_left

pytest.importorskip("ray.data")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own, in its threads

DRIVER = """
import os, pickle, sys
from pathlib import Path
from htsat_edge.runtime.archive.cluster.scan import hear_on_ray
from htsat_edge.runtime.archive.journal import Journal, key_of
from htsat_edge.runtime.archive.scan_progress import ScanProgress

address, out, archive, settings = pickle.loads(bytes.fromhex(sys.argv[1]))
with Journal.open(out, key_of(settings), archive) as journal, ScanProgress(journal.totals()) as progress:
    Journal.finish = lambda *_: os.kill(os.getpid(), 9)  # just before the first answer is kept
    hear_on_ray(journal, settings, address, progress)
"""


@pytest.mark.slow
def test_a_node_that_is_killed_costs_nothing(
    sounds, begin, settings, heard_here, start_cluster, hear, tmp_path, wait_for
):
    archive = sounds(60)
    expected = heard_here(archive)
    cluster = start_cluster(1)
    doomed = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)][-1]
    cluster.wait_for_nodes()
    parts, killed = AnswerParts(tmp_path / "ray"), []

    def kill():
        wait_for(lambda: parts.answers.is_dir() and len(list(parts.answers.iterdir())) >= 3)
        cluster.remove_node(doomed, allow_graceful=False)
        killed.append(len(list(parts.answers.iterdir())))

    killer = threading.Thread(target=kill)
    killer.start()
    with begin(tmp_path / "ray", archive) as journal:
        assert hear(journal, settings, cluster) == expected
    killer.join()
    assert killed[0] < 12  # there was work left


@pytest.mark.slow
def test_a_run_whose_driver_is_killed_goes_on(sounds, begin, settings, heard_here, start_cluster, hear, tmp_path):
    archive, out = sounds(20), tmp_path / "ray"
    expected = heard_here(archive)
    cluster = start_cluster(3)
    with begin(out, archive):
        pass
    told = pickle.dumps((cluster.address, out, archive, settings)).hex()
    driver = subprocess.run([sys.executable, "-c", DRIVER, told], env=os.environ, check=False)
    assert driver.returncode == -signal.SIGKILL
    left = [said.file.path for said in AnswerParts(out).take()]
    assert left
    with begin(out, archive) as journal:
        assert journal.totals().files_done == 0
        take_left(journal)
        assert journal.totals().files_done == len(set(left) - {archive / "none.wav", archive / "long.flac"})
        assert hear(journal, settings, cluster) == expected
