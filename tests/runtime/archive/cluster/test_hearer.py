"""One worker of a cluster, without Ray: recordings on disk, and copies of those in a store."""

import pytest

from htsat_edge.runtime.archive.cluster.hearer import RayHearer, pack
from htsat_edge.runtime.archive.cluster.parts import AnswerParts
from htsat_edge.runtime.archive.cluster.storage import walk_urls
from htsat_edge.runtime.archive.records import FoundInRecording
from htsat_edge.runtime.archive.workers import Cut, GivenUp, HearFile

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def answers_of(settings, tmp_path):
    """Have a worker do jobs; return its answers by the name of the recording."""
    hearers = []

    def do(*jobs):
        hearers.append(RayHearer(settings))
        parts = AnswerParts(tmp_path / "results")
        parts.answers.mkdir(parents=True)
        parts.checkpoints.mkdir()
        parquet.write_table(hearers[-1]({"jobs": [pack(jobs)]}), parts.answers / "a-0.parquet")
        (parts.checkpoints / "a.parquet").touch()
        answers = {said.file.path.name: said for said in parts.take()}
        parts.clear()
        return answers

    yield do
    for hearer in hearers:
        hearer._workers.close()


def test_a_recording_at_a_url_is_heard_as_a_whole(sounds, answers_of, memory_store):
    archive = sounds(1, long_s=70)
    memory_store.put(f"{archive}/", "/bucket/", recursive=True)
    found = {file.path.name: file for file in walk_urls("memory://bucket")}
    there = answers_of(*(HearFile(file.path, file.size) for file in found.values()))
    here = answers_of(*(HearFile(archive / name, file.size) for name, file in found.items()))
    assert list(there) == ["long.flac", "none.wav", "x000_20260501_043000.wav"]
    assert {name: said.file for name, said in there.items()} == found
    assert isinstance(here["long.flac"].answer, Cut)
    assert isinstance(there["long.flac"].answer, FoundInRecording)
    assert there["long.flac"].answer.duration_s == there["long.flac"].heard_s == 70
    short = there["x000_20260501_043000.wav"].answer
    assert short == here["x000_20260501_043000.wav"].answer
    assert short.origin.said_by == "name"
    assert there["none.wav"].answer == here["none.wav"].answer
    assert isinstance(there["none.wav"].answer, GivenUp)


def test_what_vanishes_is_given_up_alone(sounds, answers_of):
    archive = sounds(1)
    here = answers_of(HearFile(archive / "gone.wav", 1), HearFile(archive / "x000_20260501_043000.wav", 1))
    assert "No such file" in here["gone.wav"].answer.reason
    assert isinstance(here["x000_20260501_043000.wav"].answer, FoundInRecording)


def test_what_changes_while_it_is_heard_is_given_up(sounds, answers_of, monkeypatch):
    path = sounds(1) / "x000_20260501_043000.wav"
    hear = RayHearer._do

    def hear_and_write(self, job):
        answer = hear(self, job)
        with path.open("ab") as file:
            file.write(b"more")
        return answer

    monkeypatch.setattr(RayHearer, "_do", hear_and_write)
    assert answers_of(HearFile(path, 1))[path.name].answer == GivenUp("was changed while it was heard")
