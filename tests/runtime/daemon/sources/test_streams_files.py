"""Recordings as sources, many of them."""

import os
import threading
from pathlib import Path

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.sources import streams
from htsat_edge.runtime.daemon.sources.feed import RING_S, Feed
from htsat_edge.runtime.daemon.sources.streams import FileSource


def count_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_more_recordings_than_may_be_open_wait_for_each_other(farmyard, wait_for, monkeypatch):
    """None holds its file before its turn, so that a thousand of them do not run out of descriptors."""
    monkeypatch.setattr(streams, "OPEN_FILES", threading.Semaphore(1))
    descriptors = count_descriptors()
    news = threading.Event()
    feeds = [Feed(str(i), news, live=False) for i in range(3)]
    sources = [FileSource(farmyard, feed) for feed in feeds]
    assert count_descriptors() == descriptors
    for source in sources:
        source.start()
    wait_for(lambda: any(feed.behind_s > RING_S / 2 for feed in feeds))
    assert sorted(feed.behind_s > 0 for feed in feeds) == [False, False, True]
    heard_s = [0.0, 0.0, 0.0]

    def read_on():
        for i, feed in enumerate(feeds):
            while (item := feed.read()) is not None:
                heard_s[i] = item.end_s
        return all(feed.ended for feed in feeds)

    wait_for(read_on)
    for source in sources:
        source.stop()
    assert heard_s == pytest.approx([27.0] * 3)


def test_a_pipe_is_no_recording_to_listen_to(tmp_path):
    """It may never end: nothing waits for that."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(HtsatEdgeError, match=r"fifo: is a pipe; `htsat-edge listen --stdin` reads raw samples"):
        FileSource(tmp_path / "fifo", Feed("fifo", threading.Event(), live=False))
