"""What is seen of the inputs, beside slow obvious twins."""

import weakref

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.calibration import observe as module
from htsat_edge.calibration.observe import METHODS, is_lopsided, least_error, observe, watch, with_outputs
from htsat_edge.runtime.models.backends.ort import open_session


def test_ends_and_grams_are_those_of_all_inputs(model, observed, windows):
    tensor = "layers.1.blocks.0.norm1"
    session = open_session(with_outputs(model, [tensor]).SerializeToString())
    (values,) = session.run([tensor], {"log_mel": windows})
    rows = values.reshape(-1, values.shape[-1])
    np.testing.assert_allclose(observed.grams[tensor], rows.T @ rows, rtol=1e-3, atol=1e-2)
    assert observed.ends[tensor] == pytest.approx((rows.min(), rows.max()), rel=1e-5)


@pytest.fixture(scope="module")
def some(model, linears, windows):
    """Every tenth layer, among them one with a lopsided input: entropy is slow."""
    return observe(model, linears[8::10], windows)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_lie_within_what_was_seen_and_hold_zero(method, symmetric, some):
    ranges = some.ranges(method, symmetric)
    assert any(is_lopsided(*ends) for ends in some.ends.values())
    assert ranges.keys() == some.ends.keys()
    for name, (low, high) in ranges.items():
        seen_low, seen_high = some.ends[name]
        assert low <= 0 <= high
        largest = max(-seen_low, seen_high)
        assert max(-low, high) <= largest * (1 + 1e-5)
        assert high > 0.1 * seen_high
        if symmetric:
            assert low == -high or is_lopsided(low, high)
        if method == "minmax" and not symmetric:
            assert (low, high) == (min(seen_low, 0), max(seen_high, 0))


@given(st.integers(0, 100), st.floats(1, 30))
@settings(deadline=None, max_examples=20)
def test_the_least_error_is_that_of_rounding_every_value(seed, outlier):
    values = np.append(np.random.default_rng(seed).normal(size=5000), outlier)
    counts, edges = np.histogram(values, 2048, range=(-outlier - 4, outlier + 4))
    whole = (float(values.min()), float(values.max()))

    def error(low, high):
        step = (high - low) / 255
        return np.square(np.clip(np.round((values - low) / step) * step + low, low, high) - values).sum()

    best = min(error(whole[0] * share, whole[1] * share) for share in np.linspace(0.3, 1, 71))
    assert error(*least_error(counts, edges, whole)) <= 1.1 * best


def test_a_window_is_let_go_before_the_next_is_asked_for(model, linears, windows):
    """So that memory does not grow with their number."""
    before = None

    def one_by_one():
        nonlocal before
        for _ in range(3):
            assert before is None or before() is None
            window = windows[0].copy()
            before = weakref.ref(window)
            yield window
            del window

    observe(model, linears, one_by_one())


def test_half_precision_is_rounded_in_float_whatever_onnxruntime_is_here(half_rounding, monkeypatch):
    opened = []
    monkeypatch.setattr(module, "open_session", opened.append)
    watch(onnx.load(half_rounding), ["scaled"])
    (content,) = opened
    graph = onnx.load_from_string(content).graph
    assert [node.op_type for node in graph.node] == ["Cast", "Cast", "QuantizeLinear", "DequantizeLinear"]
    assert [output.name for output in graph.output] == ["framewise", "scaled"]
