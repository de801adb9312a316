import time

import pytest

from htsat_edge.runtime.common.timing import time_calls


def test_every_run_is_timed_and_no_warm_up():
    naps = iter([0.05, 0.05, 0.0, 0.02, 0.0])
    first, second, third = time_calls(lambda: time.sleep(next(naps)), runs=3, warm_up=2)
    assert next(naps, None) is None
    assert 0 <= first < 0.02 <= second
    assert third < second


@pytest.mark.parametrize("warm_up", [0, 2])
@pytest.mark.parametrize("most_s", [0, 100])
def test_no_runs_at_all(warm_up, most_s):
    assert time_calls(lambda: None, runs=0, warm_up=warm_up, most_s=most_s) == []


@pytest.mark.parametrize(("warm_up", "calls", "counted"), [(0, 2, 2), (1, 2, 1), (2, 2, 1), (9, 2, 1)])
def test_no_call_begins_after_the_time_is_up(warm_up, calls, counted, monkeypatch):
    ticks = iter([0, 6.0, 6, 13.0])  # the third call would fail
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    made = []
    found = time_calls(lambda: made.append(None), runs=5, warm_up=warm_up, most_s=10)
    assert (len(made), found) == (calls, [6.0, 7.0][2 - counted :])
