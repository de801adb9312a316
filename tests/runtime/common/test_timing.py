import time

from htsat_edge.runtime.common.timing import time_calls


def test_every_run_is_timed_and_no_warm_up():
    naps = iter([0.05, 0.05, 0.0, 0.02, 0.0])
    first, second, third = time_calls(lambda: time.sleep(next(naps)), runs=3, warm_up=2)
    assert next(naps, None) is None
    assert 0 <= first < 0.02 <= second
    assert third < second


def test_no_runs_at_all():
    assert time_calls(lambda: None, runs=0) == []
