import numpy as np
import pytest
from scipy.special import expit, logit

from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.tuning.intervals import DAY_S
from htsat_edge.runtime.tuning.verdicts import LEAST_EACH, LEAST_VERDICTS, fit_verdicts

THRESHOLDS = (0.2, 0.4, 0.6, 0.8)


def drawn(rng, count):
    """Return scores, and which events are right: the truth is a logistic of the score's logit."""
    logits = rng.normal(0, 1.5, count)
    return expit(logits), rng.uniform(size=count) < expit(1.2 * logits - 0.5)


def peaks_of(scores):
    """Return the codes of the peaks at or above each threshold, (n, 256)."""
    codes = np.searchsorted(SCORES, scores) - 1
    return np.stack([np.bincount(codes[scores >= x], minlength=256) for x in THRESHOLDS])


def test_the_true_share_that_is_right_is_within_the_interval_for_most_seeds():
    within = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        fit = fit_verdicts(*drawn(rng, 60))
        scores, right = drawn(rng, 20_000)
        outlook = fit.outlook(peaks_of(scores), 200 * DAY_S)
        true = np.array([right[scores >= x].mean() for x in THRESHOLDS])
        wrong = np.array([(~right[scores >= x]).sum() / 200 for x in THRESHOLDS])
        found = np.array([right[scores >= x].sum() for x in THRESHOLDS]) / right[scores >= THRESHOLDS[0]].sum()
        pairs = ((outlook.precision, true), (outlook.false_per_day, wrong), (outlook.recall, found))
        within.append([(r.low <= x + 1e-9) & (x <= r.high + 1e-9) for r, x in pairs])
    assert np.mean(within, axis=0).min() > 0.8


def test_it_is_sure_the_more_the_more_verdicts_there_are_and_never_falls():
    rng = np.random.default_rng(0)
    few, many = fit_verdicts(*drawn(rng, 20)), fit_verdicts(*drawn(rng, 2000))
    peaks = peaks_of(drawn(rng, 500)[0])
    widths = []
    for fit in (few, many):
        outlook = fit.outlook(peaks, 7 * DAY_S)
        widths.append((outlook.precision.high - outlook.precision.low).max())
        for found in outlook[1:]:
            assert (found.low <= found.value + 0.02).all()
            assert (found.value <= found.high + 0.02).all()
        assert (np.diff(outlook.precision.value) >= 0).all()
        assert (np.diff(outlook.recall.value) <= 0).all()
        assert outlook.recall.value[0] == 1
        assert outlook.false_per_day.value[0] <= peaks[0].sum() / 7
    assert widths[1] < widths[0] / 4


def test_scores_that_part_right_from_wrong_give_a_fit_all_the_same():
    scores = np.array([0.3, 0.35, 0.4, 0.45, 0.5, 0.7, 0.75, 0.8, 0.85, 0.9])
    fit = fit_verdicts(scores, scores > 0.6)
    assert np.isfinite(fit.right).all()
    low, high = (fit.right[np.searchsorted(SCORES, x)] for x in (0.3, 0.9))
    assert low < 0.3
    assert high > 0.7


def test_wrong_that_score_higher_than_right_make_no_share_that_falls():
    scores = expit(np.linspace(-2, 2, 20))
    fit = fit_verdicts(scores, scores < 0.5)
    assert fit.right[50] == pytest.approx(fit.right[250], abs=0.01)
    assert (np.diff(fit.draws) >= 0).all()


def test_too_few_give_none():
    scores = np.linspace(0.3, 0.9, 30)
    right = np.arange(30) >= LEAST_EACH
    assert fit_verdicts(scores, right) is not None
    assert fit_verdicts(scores[1:], right[1:]) is None
    assert fit_verdicts(scores[: LEAST_VERDICTS - 1], right[: LEAST_VERDICTS - 1]) is None


def test_no_events_have_no_precision():
    fit = fit_verdicts(*drawn(np.random.default_rng(0), 60))
    outlook = fit.outlook(np.zeros((2, 256), np.int64), DAY_S)
    assert np.isnan(outlook.precision.value).all()
    assert outlook.false_per_day.low.max() < 0.01
    assert logit(fit.right[1]) < logit(fit.right[255])
