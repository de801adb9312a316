"""A scan on a real cluster of Ray, whose nodes are all on this machine."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from htsat_edge.runtime.archive.cluster.parts import AnswerParts
from htsat_edge.runtime.archive.cluster.scan import GROUP_BYTES, GROUP_JOBS, grouped, hear_on_ray
from htsat_edge.runtime.archive.records import Span
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.workers import HearFile, HearSpan
from htsat_edge.runtime.common.errors import HtsatEdgeError

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


def rows(journal):
    return list(journal.recordings()), list(journal.failures())


def hear(journal, settings, cluster):
    with ScanProgress(journal.totals()) as progress:
        hear_on_ray(journal, settings, cluster.address, progress)
    return rows(journal)


def test_a_cluster_finds_what_one_machine_finds(sounds, begin, settings, heard_here, start_cluster, tmp_path):
    archive = sounds(5)
    expected = heard_here(archive)
    assert len(expected[0]) == 6
    assert any(recording.events for recording in expected[0])
    assert [failed.path.name for failed in expected[1]] == ["none.wav"]
    cluster = start_cluster(2)
    out = tmp_path / "ray"
    with begin(out, archive) as journal:
        assert hear(journal, settings, cluster) == expected
        assert journal.totals().files_todo == 0
    assert sorted(path.name for path in out.iterdir()) == [".lock", "journal.sqlite"]


@pytest.mark.slow
def test_a_node_that_is_killed_costs_nothing(sounds, begin, settings, heard_here, start_cluster, tmp_path, wait_for):
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
def test_a_run_whose_driver_is_killed_goes_on(sounds, begin, settings, heard_here, start_cluster, tmp_path):
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
        assert hear(journal, settings, cluster) == expected


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_model_is_named(sounds, begin, settings, start_cluster, tmp_path):
    archive, cluster = sounds(1), start_cluster(1)
    with begin(tmp_path / "ray", archive) as journal:
        elsewhere = replace(settings, bundle=tmp_path / "elsewhere")
        with pytest.raises(HtsatEdgeError, match=r"^--ray: .* does not see .*elsewhere; put it on storage"):
            hear(journal, elsewhere, cluster)
        assert journal.totals().files_todo == 3


@pytest.mark.slow
def test_a_model_that_no_worker_can_load_ends_the_run_in_one_line(sounds, begin, settings, start_cluster, tmp_path):
    archive, cluster = sounds(1), start_cluster(1)
    with begin(tmp_path / "ray", archive) as journal:
        with pytest.raises(HtsatEdgeError, match=r"^--ray: .*int8.*; what is done is kept.*$") as raised:
            hear(journal, replace(settings, precision="int8"), cluster)
        assert "\n" not in str(raised.value)
        assert journal.totals().files_todo == 3


def test_without_a_cluster_one_line_says_how_to_start_one(sounds, begin, settings, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        begin(tmp_path / "out", sounds(1)) as journal,
        ScanProgress(journal.totals()) as progress,
        pytest.raises(HtsatEdgeError, match=r"^--ray: no cluster answers at 127.0.0.1:1: .*ray start --head"),
    ):
        hear_on_ray(journal, settings, "127.0.0.1:1", progress)


def test_workers_get_short_recordings_together_and_long_ones_alone(tmp_path):
    small = [HearFile(tmp_path / f"{n}.wav", 1000) for n in range(150)]
    big = [HearFile(tmp_path / f"big{n}.wav", GROUP_BYTES) for n in range(2)]
    spans = [HearSpan(Span(tmp_path / "long.wav", n, 2)) for n in range(2)]
    jobs = [*small, *big, *spans]
    groups = list(grouped(jobs, 1000))
    assert [job for group in groups for job in group] == jobs
    assert [len(group) for group in groups] == [GROUP_JOBS, GROUP_JOBS, 150 - 2 * GROUP_JOBS, 1, 1, 1, 1]
    assert [len(group) for group in grouped(small[:10], 3)] == [3, 3, 3, 1]
    assert list(grouped([], 3)) == []
