import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.daemon.sources.ring import RingBuffer
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap

RATE = 1000


def ramp(start, length):
    """Return samples that say their position; whole numbers up to 2^24 are exact."""
    return np.arange(start, start + length, dtype=np.float32)


def make_ring(capacity, base_s=0.0):
    return RingBuffer(capacity, RATE, threading.Event(), base_s)


def drain(ring, most=7):
    found = []
    while (item := ring.read(most)) is not None:
        found.append(item)
    return found


def positions(item):
    """Return the first position of a block or gap, and that after the last."""
    return round(item.start_s * RATE), round(item.end_s * RATE)


def test_what_is_written_is_read_across_the_seam():
    ring, position, found = make_ring(10), 0, []
    for length in (3, 4, 5, 6, 10, 1):
        ring.write(ramp(position, length))
        position += length
        found += drain(ring)
    assert all(isinstance(item, AudioBlock) and item.samples[0] == positions(item)[0] for item in found)
    assert max(len(item.samples) for item in found) == 7
    np.testing.assert_array_equal(np.concatenate([item.samples for item in found]), ramp(0, position))


def test_a_block_is_a_copy():
    ring = make_ring(4)
    ring.write(ramp(0, 4))
    block = ring.read(4)
    ring.write(ramp(4, 4))
    np.testing.assert_array_equal(block.samples, ramp(0, 4))


def test_a_late_reader_loses_the_oldest_samples():
    ring = make_ring(10)
    ring.write(ramp(0, 8))
    assert positions(ring.read(3)) == (0, 3)
    ring.write(ramp(8, 9))
    assert ring.waiting_s == 0.014
    assert ring.read(100) == Gap(0.003, 0.007, "overrun")
    block = ring.read(100)
    np.testing.assert_array_equal(block.samples, ramp(7, 10))
    assert (block.start_s, block.sample_rate) == (0.007, RATE)
    assert ring.read(100) is None
    assert ring.waiting_s == 0


def test_more_than_fits_at_once():
    ring = make_ring(5)
    ring.write(ramp(0, 23))
    assert ring.read(100) == Gap(0.0, 0.018, "overrun")
    np.testing.assert_array_equal(ring.read(100).samples, ramp(18, 5))


def test_what_was_lost_before_it_came_is_a_gap_where_it_was():
    ring = make_ring(10)
    ring.write(ramp(0, 4))
    ring.skip(1000, "unplugged")
    ring.write(ramp(1004, 3))
    ring.skip(0, "restarted")
    assert ring.end_s == 1.007
    ring.write(ramp(1007, 1))
    first, gap, second, restart, third = drain(ring)
    assert (gap, restart) == (Gap(0.004, 1.004, "unplugged"), Gap(1.007, 1.007, "restarted"))
    for block, start, length in ((first, 0, 4), (second, 1004, 3), (third, 1007, 1)):
        assert positions(block)[0] == start
        np.testing.assert_array_equal(block.samples, ramp(start, length))


def test_positions_begin_where_the_ring_does():
    ring = make_ring(10, base_s=60.5)
    assert ring.end_s == 60.5
    ring.write(ramp(0, 5))
    ring.skip(5, "late")
    block, gap = drain(ring)
    assert [block.start_s, block.end_s, gap.start_s, gap.end_s] == pytest.approx([60.5, 60.505, 60.505, 60.51])


def test_a_ring_is_idle_when_samples_and_gaps_are_read():
    ring = make_ring(10)
    assert ring.idle
    ring.write(ramp(0, 1))
    assert not ring.idle
    ring.read(10)
    assert ring.idle
    ring.skip(0, "restarted")
    assert not ring.idle
    ring.read(10)
    assert ring.idle


def test_news_is_set_by_samples_and_gaps():
    news = threading.Event()
    ring = RingBuffer(10, RATE, news)
    for act in (lambda: ring.write(ramp(0, 1)), lambda: ring.skip(1, "late")):
        news.clear()
        act()
        assert news.is_set()


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 30)),
            st.tuples(st.just("skip"), st.integers(0, 50)),
            st.tuples(st.just("read"), st.integers(1, 20)),
        ),
        max_size=40,
    )
)
def test_every_position_is_read_or_lost_exactly_once(steps):
    ring, position, found = make_ring(16), 0, []
    for verb, number in steps:
        if verb == "write":
            ring.write(ramp(position, number))
            position += number
        elif verb == "skip":
            ring.skip(number, "test")
            position += number
        elif (item := ring.read(number)) is not None:
            found.append(item)
    found += drain(ring)
    assert round(ring.end_s * RATE) == position
    at = 0
    for item in found:
        start, end = positions(item)
        assert start == at
        if isinstance(item, AudioBlock):
            np.testing.assert_array_equal(item.samples, ramp(at, len(item.samples)))
        at = end
    assert at == position


def test_two_threads_lose_nothing_but_what_they_report():
    """The writer is faster than the reader at times: blocks must never be torn."""
    news, total, rng = threading.Event(), 3_000_000, np.random.default_rng(0)
    ring = RingBuffer(4096, RATE, news)
    lengths = rng.integers(1, 700, 20_000)

    def write():
        position = 0
        for length in lengths:
            if position >= total:
                break
            ring.write(ramp(position, int(length)))
            position += int(length)
        ring.skip(0, "end")

    thread = threading.Thread(target=write)
    thread.start()
    at = blocks = 0
    while True:
        item = ring.read(512)
        if item is None:
            assert news.wait(10)
            news.clear()
            continue
        start, end = positions(item)
        assert start == at
        if isinstance(item, AudioBlock):
            assert (item.samples == ramp(at, len(item.samples))).all()
            blocks += 1
        elif item.reason == "end":
            break
        at = end
    thread.join()
    assert at == round(ring.end_s * RATE)
    assert blocks > 10
