from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.store.numbers import MOST_HOLES, MOST_LOST, SeenNumbers


@given(first=st.sampled_from([1, 5]), numbers=st.lists(st.integers(1, 25), max_size=60), writes=st.booleans())
def test_each_number_counts_once_in_any_order(first, numbers, writes):
    """Against a set; what is written down between two of them is read again as it was."""
    seen, come = SeenNumbers(first), set()
    lost = 0
    for number in numbers:
        more = seen.add(number)
        assert (more is None) == (number in come)
        come.add(number)
        lost += more or 0
        assert lost == len(set(range(first, max(come))) - come)
        if writes:
            seen = SeenNumbers.read(seen.first, seen.last, seen.written)


def test_of_very_many_holes_the_oldest_are_given_up():
    """What they have lost stays lost, and what comes into one is not stored twice."""
    seen = SeenNumbers()
    assert [seen.add(2 * (i + 1)) for i in range(MOST_HOLES + 1)] == [1] * (MOST_HOLES + 1)
    assert seen.add(1) is None
    assert seen.add(3) == -1
    assert SeenNumbers.read(seen.first, seen.last, seen.written) == seen


def test_a_device_that_miscounts_has_lost_nothing_more():
    """And what it counts rightly afterwards is taken, each once."""
    seen = SeenNumbers()
    assert [seen.add(number) for number in (1, 3, 2**53 - 1, 4, 5, 4, 2)] == [0, 1, 0, 0, 0, None, 0]
    assert seen.add(2**53) == 0
    assert seen.add(2**53 + 2) == 1
    assert SeenNumbers().add(MOST_LOST) == MOST_LOST - 1
