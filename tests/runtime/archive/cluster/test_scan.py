"""A scan on a real cluster of Ray, whose nodes are all on this machine."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.archive.cluster.nodes import require_ray
from htsat_edge.runtime.archive.cluster.scan import GROUP_BYTES, GROUP_JOBS, grouped, hear_on_ray
from htsat_edge.runtime.archive.records import Span
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.workers import HearFile, HearSpan
from htsat_edge.runtime.commands.cli import main
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.models.backends.kserve import RemoteServer

pytest.importorskip("ray.data")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own, in its threads
GONE = RemoteServer("http://127.0.0.1:1")


def test_a_cluster_finds_what_one_machine_finds(sounds, begin, settings, heard_here, cluster, hear, tmp_path):
    archive = sounds(5)
    expected = heard_here(archive)
    assert len(expected[0]) == 6
    assert any(recording.events for recording in expected[0])
    assert [failed.path.name for failed in expected[1]] == ["none.wav"]
    out = tmp_path / "ray"
    with begin(out, archive) as journal:
        assert hear(journal, settings, cluster) == expected
        assert journal.totals().files_todo == 0
    assert sorted(path.name for path in out.iterdir()) == [".lock", "journal.sqlite"]


def test_the_command_writes_what_it_writes_without_ray(cluster, tiny_bundle, tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder, store = tmp_path / "folder", tmp_path / "store"
    for path, rate, channels in (
        (folder / "site" / "20260501_043000.wav", 32_000, 1),
        (folder / "b.flac", 48_000, 2),
        (store / "site" / "c.flac", 48_000, 2),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, (12 * rate, channels)), rate)
    (store / "bad.wav").write_text("no audio")
    options = ["--bundle", tiny_bundle, "--threshold", 0.5, "--channel", "each", "--format", "csv,audacity", "--scores"]
    runs = ("here", [store, "--processes", 2]), ("ray", [f"file://{store}", "--ray", cluster.address])
    for out, others in runs:
        assert main([str(one) for one in ("scan", folder, *others, "--out", tmp_path / out, *options)]) == 2
        assert capsys.readouterr().out.startswith("3 recordings, ")
    here, ray = results_of(tmp_path / "here"), results_of(tmp_path / "ray")
    assert ray == here
    assert {*here} >= {"events.csv", "files.csv", "failed.csv", "c.flac.txt", "c.flac.npz", "20260501_043000.wav.npz"}
    assert len(here["events.csv"]) > 3
    assert f"file://{store}/site/c.flac" in (tmp_path / "ray" / "files.csv").read_text()


def results_of(out):
    """Tables and files of recordings by name; where the recordings at URLs lie is the same place."""
    tables = {path.name: sorted(path.read_text().replace("file://", "").splitlines()) for path in out.glob("*.csv")}
    return tables | {
        path.name: path.read_bytes() for name in ("labels", "scores") for path in out.glob(f"{name}/**/*.*")
    }


@pytest.mark.slow
def test_a_machine_that_does_not_see_all_is_named(sounds, begin, settings, cluster, hear, tmp_path):
    archive, elsewhere = sounds(1), tmp_path / "elsewhere"
    with begin(tmp_path / "ray", archive) as journal:
        for wanted, folders in ((replace(settings, bundle=elsewhere), [archive]), (settings, [archive, elsewhere])):
            with pytest.raises(HtsatEdgeError, match=r"^--ray: .* does not see .*elsewhere; put it on storage"):
                hear(journal, wanted, cluster, folders)
        assert journal.totals().files_todo == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [
        ({"precision": "int8"}, HtsatEdgeError, r"\S+: has no int8.onnx"),
        ({"backend": "remote", "server": GONE}, NotReadyError, f"{GONE.url}: cannot be reached"),
    ],
)
def test_a_model_that_no_worker_can_load_ends_the_run_in_one_line(
    wanted, kind, said, sounds, begin, settings, cluster, hear, tmp_path
):
    archive = sounds(1)
    with begin(tmp_path / "ray", archive) as journal:
        with pytest.raises(HtsatEdgeError, match=rf"^--ray: {said}.*; what is done is kept.*$") as raised:
            hear(journal, replace(settings, **wanted), cluster)
        assert type(raised.value) is kind
        assert "\n" not in str(raised.value)
        assert journal.totals().files_todo == 3


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(HtsatEdgeError, match=r'^--ray needs ray: pip install "htsat-edge\[cluster\]"$'):
        require_ray()


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
