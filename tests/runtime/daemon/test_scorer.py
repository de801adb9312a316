import time

import numpy as np
import pytest

from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.dsp.level import level_dbfs
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.backends.backend import Scores


class MeanModel:
    """A model whose scores are the mean of its window; it remembers the windows of each run."""

    def __init__(self):
        self.runs = []

    def infer(self, log_mel):
        self.runs.append(log_mel)
        scores = np.tile(log_mel.mean(axis=(1, 2))[:, None, None], (1, 2, 3))
        return Scores(scores, scores[:, 0], scores[:, 0])

    def close(self):
        pass


@pytest.fixture(scope="module")
def window_of():
    """Makes a window of ten seconds of noise."""

    def make(level_dbfs):
        samples = 10 ** (level_dbfs / 20) * np.random.default_rng(0).normal(size=320_000)
        return Window(0, LogMel(FrontEnd())(samples.astype(np.float32)))

    return make


@pytest.mark.parametrize("count", [1, 3])
def test_windows_are_scored_in_one_run_each_with_its_own_scores(count, window_of):
    model, windows = MeanModel(), [window_of(level) for level in (-20, -40, -90)][:count]
    scorer = Scorer(model, FrontEnd(), None)
    scores = scorer(windows)
    assert [len(batch) for batch in model.runs] == [count]
    for window, own in zip(windows, scores, strict=True):
        assert own.shape == (2, 3)
        assert own == pytest.approx(window.log_mel.mean(), rel=1e-5)
    assert (scorer.runs, scorer.windows, scorer.gated) == (1, count, 0)


def test_nothing_to_score_is_no_run():
    model = MeanModel()
    scorer = Scorer(model, FrontEnd(), -50.0)
    assert scorer([]) == []
    assert (model.runs, scorer.runs) == ([], 0)


def test_a_gate_runs_the_model_once_for_all_silence(window_of):
    model = MeanModel()
    scorer = Scorer(model, FrontEnd(), -50.0)
    loud, quiet = window_of(-40), window_of(-60)
    for windows in ([loud], [quiet], [quiet, loud, quiet], [quiet]):
        for window, scores in zip(windows, scorer(windows), strict=True):
            assert scores == pytest.approx(loud.log_mel.mean() if window is loud else -100, rel=1e-5)
    assert [len(batch) for batch in model.runs] == [1, 1, 1]
    assert (model.runs[1] == -100).all()
    assert (scorer.gated, scorer.windows, scorer.runs) == (4, 3, 3)


def test_a_window_at_the_gate_is_run(window_of):
    window = window_of(-50)
    level = level_dbfs(window.log_mel, FrontEnd())
    for gate_dbfs, gated in ((level, 0), (level + 0.01, 1)):
        scorer = Scorer(MeanModel(), FrontEnd(), gate_dbfs)
        scorer([window])
        assert scorer.gated == gated


def test_runs_are_timed():
    class SlowModel(MeanModel):
        def infer(self, log_mel):
            end = time.perf_counter() + (0.02 if len(self.runs) == 1 else 0.002)
            while time.perf_counter() < end:
                pass
            return super().infer(log_mel)

    scorer = Scorer(SlowModel(), FrontEnd(), None)
    assert (scorer.seconds, scorer.slowest) == (0, 0)
    begun = time.perf_counter()
    for _ in range(3):
        scorer([Window(0, np.zeros((4, 2), np.float32))])
    took = time.perf_counter() - begun
    assert 0.02 <= scorer.slowest <= scorer.seconds - 0.004 <= took - 0.004


def test_what_a_window_takes_is_that_of_most_of_the_last_runs():
    """An engine that is loaded meanwhile, in a run of 9 s, changes nothing; a device that is slower does."""
    ticks = []
    scorer = Scorer(MeanModel(), FrontEnd(), None, clock=lambda: ticks.pop(0))
    assert scorer.window_s == 0

    def run(seconds, windows=1):
        ticks.extend([0.0, seconds])
        scorer(windows * [Window(0, np.zeros((4, 2), np.float32))])

    for _ in range(8):
        run(0.5, windows=2)
    run(9.0)
    assert scorer.window_s == 0.25
    for _ in range(4):
        run(1.0)
    assert scorer.window_s == 1.0
