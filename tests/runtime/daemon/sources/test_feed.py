"""A feed between two threads, and the pauses between tries."""

import threading
import time

import numpy as np
import pytest

from htsat_edge.runtime.daemon.messages import SourceBack, SourceFailed, SourceLost
from htsat_edge.runtime.daemon.sources.feed import RING_S, Feed, Notice
from htsat_edge.runtime.dsp.blocks import Gap


@pytest.fixture
def feed():
    return Feed("yard", threading.Event(), live=True)


def read_all(feed):
    """Return what a feed gives until it has ended."""
    found = []
    while not feed.ended:
        item = feed.read()
        assert item is not None
        found.append(item)
    return found


def ones(length):
    return np.ones(length, np.float32)


def test_samples_that_are_no_numbers_are_a_gap(feed):
    feed.open(1000)
    feed.write(ones(100))
    feed.write(np.array([0.1] * 49 + [np.nan], np.float32))
    feed.write(np.array([np.inf] * 50, np.float32))
    feed.write(ones(100))
    feed.end()
    first, gap, second = read_all(feed)
    assert (gap.start_s, gap.end_s) == pytest.approx((0.149, 0.2))
    assert gap.reason == "samples that are no numbers, or far beyond full scale"
    assert (first.end_s, second.start_s) == pytest.approx((0.149, 0.2))


def test_a_rate_that_changes_moves_no_position(feed):
    feed.open(48_000)
    feed.write(ones(48_000))
    feed.open(16_000, 2.5, "another device")
    feed.write(ones(16_000))
    feed.open(16_000, 0.5, "the same again")
    feed.write(ones(160))
    feed.end()
    first, gap, second, again, third = read_all(feed)
    assert (first.sample_rate, second.sample_rate) == (48_000, 16_000)
    assert gap == Gap(1.0, 3.5, "another device")
    assert (second.start_s, again, third.start_s) == (3.5, Gap(4.5, 5.0, "the same again"), 5.0)


def test_a_source_that_is_opened_again_is_not_joined_to_what_came_before(feed):
    feed.open(1000)
    feed.write(ones(10))
    feed.open(1000)
    feed.write(ones(10))
    feed.end()
    assert read_all(feed)[1] == Gap(0.01, 0.01, "")


def test_a_block_is_at_most_a_second(feed):
    feed.open(100)
    feed.write(ones(250))
    feed.end()
    assert [(block.start_s, block.end_s) for block in read_all(feed)] == [(0, 1), (1, 2), (2, 2.5)]


def test_time_that_was_lost_is_a_gap(feed):
    feed.open(1000)
    feed.write(ones(10))
    feed.skip(0.25, "the device was not read in time")
    feed.end()
    assert read_all(feed)[1] == Gap(0.01, 0.26, "the device was not read in time")


def test_a_ring_that_is_begun_while_the_last_is_read_loses_nothing(feed):
    """The writer is as fast as can be: between the reader's look at a ring and its look at the next."""
    feed.open(1000)
    feed.write(ones(100))
    ring = feed._rings[0]
    read, done = ring.read, []

    def read_then_write(most):
        item = read(most)
        if item is None and not done:
            done.append(True)
            feed.write(ones(50))
            feed.open(2000, 3.0, "another device")
            feed.write(ones(200))
            feed.end()
        return item

    ring.read = read_then_write
    found = []
    while not feed.ended:
        if (item := feed.read()) is not None:
            found.append(item)
    ends = [x for item in found for x in (item.start_s, item.end_s)]
    assert ends == pytest.approx([0, 0.1, 0.1, 0.15, 0.15, 3.15, 3.15, 3.25])


def test_it_has_ended_when_all_is_read(feed):
    assert feed.read() is None
    feed.open(1000)
    feed.write(ones(10))
    assert not feed.ended
    feed.report_lost("unplugged")
    feed.end()
    assert not feed.ended
    feed.read()
    assert not feed.ended
    assert len(list(feed.notices())) == 1
    assert feed.ended


def test_how_far_detection_is_behind_is_over_all_rates(feed):
    assert feed.behind_s == 0
    feed.open(1000)
    feed.write(ones(500))
    feed.open(2000, 3.0, "another device")
    feed.write(ones(500))
    assert feed.behind_s == 0.75
    feed.read()
    assert feed.behind_s == 0.25


def test_a_writer_that_can_wait_waits_while_half_of_the_ring_is_full(feed):
    feed.open(1000)
    feed.write(ones(round(RING_S / 2 * 1000)))
    assert not feed.waits
    feed.wait_for_room(threading.Event())  # half of it is free
    assert feed.waits
    feed.write(ones(1))
    stop = threading.Event()
    thread = threading.Thread(target=feed.wait_for_room, args=(stop,))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    feed.read()
    thread.join(10)
    assert not thread.is_alive()
    feed.write(ones(5000))
    stop.set()
    feed.wait_for_room(stop)  # nor does it wait once it is to stop


def test_a_reader_that_is_further_behind_than_the_ring_is_long_loses_samples(feed):
    feed.open(1000)
    feed.write(ones(round(RING_S * 1000) + 1))
    feed.end()
    assert read_all(feed)[0] == Gap(0.0, 0.001, "overrun")


def test_lost_and_back_are_reported_once(feed):
    feed.report_back("the microphone")  # it never was lost
    assert not feed.lost
    feed.report_lost("unplugged")
    feed.report_lost("unplugged, still")
    assert feed.lost
    feed.report_back("the microphone")
    feed.report_back("the microphone")
    assert not feed.lost
    feed.report_failed("it is broken")
    assert feed.lost  # for good
    assert list(feed.notices()) == [
        Notice(SourceLost, "unplugged"),
        Notice(SourceBack, "the microphone is back"),
        Notice(SourceFailed, "it is broken"),
    ]
    assert list(feed.notices()) == []


def test_a_failure_is_logged_and_kept_and_an_end_is_neither(feed, caplog):
    feed.report_ended("stdin has ended")
    assert (feed.lost, feed.failed, caplog.messages) == (True, False, [])
    feed.report_failed("it breaks off")
    assert (feed.failed, caplog.messages) == (True, ["yard: it breaks off"])
    assert [notice.state for notice in feed.notices()] == [SourceFailed, SourceFailed]


def test_whatever_happens_is_news():
    news = threading.Event()
    feed = Feed("yard", news, live=True)
    feed.open(1000)
    acts = (lambda: feed.write(ones(1)), lambda: feed.report_lost("x"), lambda: feed.report_failed("x"), feed.end)
    for act in acts:
        news.clear()
        act()
        assert news.is_set()


@pytest.mark.parametrize("live", [True, False])
def test_a_live_feed_knows_when_its_samples_were_recorded(live):
    feed = Feed("yard", threading.Event(), live=live)
    feed.open(1000)
    before = time.monotonic()
    feed.write(ones(2500))
    feed.read()  # of which 1.5 s wait
    at = feed.clock.at(2.5)
    assert before <= at <= time.monotonic() if live else np.isnan(at)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -32.1])
def test_a_source_that_gives_no_numbers_for_long_is_lost_until_it_does(value, feed):
    feed.open(1000)
    feed.write(ones(100))
    for _ in range(29):
        feed.write(np.full(100, value, np.float32))
    assert not feed.lost
    for _ in range(20):
        feed.write(np.full(100, value, np.float32))
    assert feed.lost
    feed.report_back("the stream")  # another connection is no cure
    assert feed.lost
    for _ in range(11):
        feed.write(ones(100))
    assert not feed.lost
    feed.end()
    lost, back = feed.notices()
    assert lost == (
        SourceLost,
        "it gives samples that are no numbers, or far beyond full scale; it is heard again when it gives others",
    )
    assert back == (SourceBack, "the sound is back")
    first, gap, second, _ = read_all(feed)  # it was ten gaps a second
    assert (first.end_s, gap.start_s, gap.end_s, second.start_s) == pytest.approx((0.1, 0.1, 5.0, 5.0))


def test_a_live_source_that_loses_what_sounds_while_it_pauses_has_a_gap(feed, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    feed.open(1000)
    for number in range(100):
        now[0] = 0.1 * (number + 1) + (30.0 if number >= 50 else 0.0)
        feed.arrive(ones(100))
    feed.end()
    found = read_all(feed)
    (gap,) = (item for item in found if isinstance(item, Gap))
    assert (gap.start_s, gap.end_s) == pytest.approx((5.0, 35.0))
    assert gap.reason == "the source was interrupted"
    assert found[-1].end_s == pytest.approx(40.0)


@pytest.mark.parametrize("act", ["open", "skip", "open at another rate", "end"])
def test_what_is_held_is_written_before_what_follows(act, feed, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    feed.open(1000)
    for number in range(41):
        now[0] = 0.1 * (number + 1) + (2.0 if number == 40 else 0.0)
        feed.arrive(ones(100))
    assert feed.behind_s == pytest.approx(4.0)  # the last block is held
    match act:
        case "open":
            feed.open(1000, 1.0, "again")
        case "skip":
            feed.skip(1.0, "the device was not read in time")
        case "open at another rate":
            feed.open(2000)
    feed.end()
    found = [item for item in read_all(feed) if isinstance(item, Gap) or item.start_s > 5]
    assert found[0] == Gap(pytest.approx(4.0), pytest.approx(6.0), "the source was interrupted")
    assert (found[1].start_s, found[1].end_s) == pytest.approx((6.0, 6.1))


def hear(feed, declared, real, minutes, monkeypatch):
    """Let a feed hear a source whose rate is not what it says."""
    now = [0.0]
    monkeypatch.setattr("htsat_edge.runtime.daemon.sources.feed.time.monotonic", lambda: now[0])
    feed.open(declared)
    for _ in range(round(60 * minutes * real / declared)):
        now[0] += declared / real
        feed.write(np.zeros(declared, np.float32))
        feed.read()


@pytest.mark.parametrize(("declared", "real"), [(480, 441), (441, 480), (480, 160)])
def test_a_rate_that_is_not_what_was_declared_is_said_once(declared, real, feed, monkeypatch, caplog):
    """Times were wrong by up to 10 s, and nothing said so."""
    hear(feed, declared, real, 30, monkeypatch)
    (record,) = caplog.records
    assert record.message == (
        f"yard: gives {real} samples a second, but {declared} are declared: is its sample rate right?"
    )
    assert feed.clock.drift_ppm == pytest.approx(1e6 * (declared / real - 1), rel=1e-3)


@pytest.mark.parametrize("real", [480, 480.2])
def test_a_rate_that_is_about_right_is_not_said(real, feed, monkeypatch, caplog):
    hear(feed, 480, real, 10, monkeypatch)
    assert caplog.records == []


def test_a_recording_that_comes_through_a_pipe_has_no_rate(feed, monkeypatch, caplog):
    """It comes as fast as it is read."""
    feed.open(480)
    feed.write(np.zeros(480 * 6, np.float32))
    stop = threading.Event()
    stop.set()
    feed.wait_for_room(stop)
    hear(feed, 480, 960, 10, monkeypatch)
    assert caplog.records == []
