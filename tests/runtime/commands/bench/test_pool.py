"""Processes that take turns."""

import pytest

from htsat_edge.runtime.commands.bench.plan import matrix_products
from htsat_edge.runtime.commands.bench.pool import Worker, time_in_turn
from htsat_edge.runtime.commands.bench.results import Candidate, Observation
from htsat_edge.runtime.common.errors import HtsatEdgeError


def candidate(name, kind="bundle"):
    return Candidate(name=name, kind=kind)


class FakeWorker:
    """A worker without a process that notes its turns."""

    def __init__(self, turns, candidate, fails_in_turn=None):
        if fails_in_turn == 0:
            raise HtsatEdgeError(f"{candidate.name}: cannot be loaded")
        self.candidate, self.closed = candidate, False
        self._turns, self._runs, self._fails_in_turn = turns, 0, fails_in_turn

    def run(self):
        self._turns.append(self.candidate.name)
        self._runs += 1
        if self._runs == self._fails_in_turn:
            raise HtsatEdgeError(f"{self.candidate.name}: failed in turn {self._runs}")

    def close(self):
        self.closed = True

    def observed(self):
        return Observation(self.candidate, 1.0, 2.0, "onnxruntime", {"model": [0.5] * self._runs})


def take_turns(candidates, runs, fails=None):
    """Let fakes take turns; return what was observed, what failed, the turns and the workers."""
    turns, workers = [], []

    def start(candidate):
        workers.append(FakeWorker(turns, candidate, (fails or {}).get(candidate.name)))
        return workers[-1]

    try:
        observed, failed = time_in_turn(candidates, runs, after_run=lambda: turns.append("|"), start=start)
    finally:
        assert all(worker.closed for worker in workers)
    return [one.candidate.name for one in observed], failed, "".join(turns)


def test_every_other_round_is_in_the_opposite_order():
    candidates = [candidate("a"), candidate("b", "baseline"), candidate("c", "gemm")]
    assert take_turns(candidates, 3) == (["a", "b", "c"], {}, "a|b|c|c|b|a|a|b|c|")


def test_one_that_fails_is_reported_and_the_others_go_on():
    candidates = [candidate("a"), candidate("b"), candidate("c")]
    assert take_turns(candidates, 2, {"b": 0, "c": 1}) == (
        ["a"],
        {"b, 1 thread": "b: cannot be loaded", "c, 1 thread": "c: failed in turn 1"},
        "a|c|a|",
    )


@pytest.mark.parametrize(
    ("fails", "message"),
    [({"a": 0, "b": 0}, "a: cannot be loaded"), ({"a": 2, "b": 0}, "a: failed in turn 2"), ({"a": 1, "b": 1}, "a: ")],
)
def test_without_a_candidate_of_the_bundle_nothing_is_timed(fails, message):
    with pytest.raises(HtsatEdgeError, match=message):
        take_turns([candidate("a"), candidate("b"), candidate("c", "baseline")], 2, fails)


class DyingWorker(Worker):
    """A process that is killed before its first task where it runs in 8 bits."""

    def run(self):
        if self.candidate.name == "gemm-int8":
            self.kill()
        super().run()


def test_a_process_that_dies_is_reported_and_the_others_go_on(bundle):
    fp32 = Candidate(name="fp32", kind="bundle", path=str(bundle), precision="fp32")
    observed, failed = time_in_turn([fp32, *matrix_products([1])], 2, start=DyingWorker)
    assert [one.candidate.name for one in observed] == ["fp32", "gemm-fp32"]
    assert failed == {"gemm-int8, 1 thread": "gemm-int8: its process ended with status -9"}
    assert [list(one.seconds) for one in observed] == [["model", "audio", "hop"], ["model"]]
    for one in observed:
        assert {len(seconds) for seconds in one.seconds.values()} == {2}
        assert one.startup_s > 0
        assert one.peak_memory_mb > 20


def test_the_reason_of_a_process_that_cannot_load_its_model_is_its_error(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(HtsatEdgeError, match=r"broken\.onnx"):
        Worker(Candidate(name="broken", kind="baseline", path=str(tmp_path / "broken.onnx")))
