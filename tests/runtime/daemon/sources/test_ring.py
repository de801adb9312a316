import threading

import numpy as np
from htsat_edge.runtime.daemon.sources.ring import Chunk, Gap, RingBuffer
from hypothesis import given
from hypothesis import strategies as st


def ramp(start, length):
    """Samples that tell their position; whole numbers up to 2^24 are exact."""
    return np.arange(start, start + length, dtype=np.float32)


def ring_of(capacity):
    return RingBuffer(capacity, threading.Event())


def drain(ring, most=7):
    found = []
    while (item := ring.read(most)) is not None:
        found.append(item)
    return found


def test_what_is_written_is_read_across_the_seam():
    ring, position, found = ring_of(10), 0, []
    for length in (3, 4, 5, 6, 10, 1):
        ring.write(ramp(position, length))
        position += length
        found += drain(ring)
    assert all(isinstance(item, Chunk) and item.samples[0] == item.start for item in found)
    np.testing.assert_array_equal(np.concatenate([item.samples for item in found]), ramp(0, position))


def test_a_chunk_is_a_copy():
    ring = ring_of(4)
    ring.write(ramp(0, 4))
    chunk = ring.read(4)
    ring.write(ramp(4, 4))
    np.testing.assert_array_equal(chunk.samples, ramp(0, 4))


def test_a_late_reader_loses_the_oldest_and_is_told():
    ring = ring_of(10)
    ring.write(ramp(0, 8))
    assert ring.read(3).start == 0
    ring.write(ramp(8, 9))
    assert ring.waiting == 14
    assert ring.read(100) == Gap(3, 4, "overrun")
    np.testing.assert_array_equal(ring.read(100).samples, ramp(7, 10))
    assert ring.read(100) is None


def test_more_than_fits_at_once():
    ring = ring_of(5)
    ring.write(ramp(0, 23))
    assert ring.read(100) == Gap(0, 18, "overrun")
    np.testing.assert_array_equal(ring.read(100).samples, ramp(18, 5))


def test_what_was_lost_before_it_came_is_told_where_it_was():
    ring = ring_of(10)
    ring.write(ramp(0, 4))
    ring.skip(1000, "unplugged")
    ring.write(ramp(1004, 3))
    ring.skip(0, "restarted")
    assert ring.position == 1007
    ring.write(ramp(1007, 1))
    first, gap, second, restart, third = drain(ring)
    assert (gap, restart) == (Gap(4, 1000, "unplugged"), Gap(1007, 0, "restarted"))
    for chunk, start, length in ((first, 0, 4), (second, 1004, 3), (third, 1007, 1)):
        assert chunk.start == start
        np.testing.assert_array_equal(chunk.samples, ramp(start, length))


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
    ring, position, found = ring_of(16), 0, []
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
    assert ring.position == position
    at = 0
    for item in found:
        assert item.start == at
        if isinstance(item, Chunk):
            np.testing.assert_array_equal(item.samples, ramp(at, len(item.samples)))
        at += item.length if isinstance(item, Gap) else len(item.samples)
    assert at == position


def test_two_threads_lose_nothing_but_what_they_tell():
    """The writer is faster than the reader at times: chunks must never be torn."""
    news, total, rng = threading.Event(), 3_000_000, np.random.default_rng(0)
    ring = RingBuffer(4096, news)
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
    at = chunks = 0
    while True:
        item = ring.read(512)
        if item is None:
            assert news.wait(10)
            news.clear()
            continue
        assert item.start == at
        if isinstance(item, Gap):
            at += item.length
            if item.reason == "end":
                break
        else:
            assert (item.samples == ramp(at, len(item.samples))).all()
            at += len(item.samples)
            chunks += 1
    thread.join()
    assert at == ring.position
    assert chunks > 10
