import pytest

from htsat_edge.runtime.daemon.coverage import Coverage


def test_a_share_is_of_what_was_heard_or_lost():
    coverage = Coverage()
    assert coverage.share == 1.0
    coverage.add(9.0, heard=True)
    coverage.add(1.0, heard=False)
    assert coverage.share == pytest.approx(0.9)


def test_what_was_heard_may_be_lost_later_but_no_more_than_that():
    coverage = Coverage(heard_s=5.0)
    coverage.lose(2.0)
    assert coverage == Coverage(heard_s=3.0, lost_s=2.0, gaps=1)
    coverage.lose(9.0)
    assert coverage == Coverage(heard_s=0.0, lost_s=5.0, gaps=2)
