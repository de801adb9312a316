"""Raw samples on stdin: in any form, where something fails, and at the end."""

import os
import threading

import numpy as np
import pytest

from htsat_edge.runtime.daemon.config import PcmConfig
from htsat_edge.runtime.daemon.messages import SourceBack, SourceFailed, SourceLost
from htsat_edge.runtime.daemon.sources.feed import Notice
from htsat_edge.runtime.daemon.sources.streams import PcmSource
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap

pytestmark = pytest.mark.usefixtures("short_pauses")
RATE = 8000
FRAMES = np.arange(1, RATE + 1, dtype="<i2")
"""A second, of samples that are all different."""


@pytest.fixture
def read_through(feed):
    """Has a source read a pipe of a second to its end; returns what the feed gives."""

    def read(spoil=lambda source: None):
        reader, writer = os.pipe()
        os.write(writer, FRAMES.tobytes())
        os.close(writer)
        source = PcmSource(PcmConfig(sample_rate=RATE), feed, reader)
        spoil(source)
        source._thread._run()
        os.close(reader)
        return list(iter(feed.read, None))

    return read


def fail_at(call, *numbers):
    """Return `call`, which fails at some of its calls, counted from 1."""
    calls = []

    def do(*arguments):
        calls.append(1)
        if len(calls) in numbers:
            raise MemoryError
        return call(*arguments)

    return do


@pytest.mark.parametrize("where", ["_decoder._mix.push", "feeds[0].arrive"])
@pytest.mark.parametrize("numbers", [(3,), (3, 4), (1,)])
def test_samples_that_could_not_be_taken_are_a_gap_of_their_length(where, numbers, read_through, monkeypatch):
    """Of 8000 samples 7200 came, and a gap of no length."""

    def spoil(source):
        owner = source.feeds[0] if "feeds" in where else source._decoder._mix
        name = where.rpartition(".")[2]
        monkeypatch.setattr(owner, name, fail_at(getattr(owner, name), *numbers))

    found = read_through(spoil)
    at = 0.0
    for item in found:
        assert item.start_s == pytest.approx(at, abs=1e-9)
        at = item.end_s
        if isinstance(item, AudioBlock):
            first = round(item.start_s * RATE)
            np.testing.assert_array_equal(
                item.samples, FRAMES[first : first + len(item.samples)].astype(np.float32) / 2**15
            )
    assert at == pytest.approx(1.0)
    lost = [item for item in found if isinstance(item, Gap)]
    assert sum(gap.end_s - gap.start_s for gap in lost) == pytest.approx(0.1 * len(numbers))
    assert lost[-1].reason == "samples could not be taken"


def test_a_failure_and_the_end_are_reported(read_through, feed, monkeypatch):
    """The end of stdin beside other sources was no message, and the health said that it is heard."""
    read_through(lambda source: monkeypatch.setattr(feed, "arrive", fail_at(feed.arrive, 3)))
    lost, *others = feed.notices()
    assert lost.state is SourceLost
    assert lost.text.startswith("MemoryError")
    assert others == [Notice(SourceBack, "stdin is back"), Notice(SourceFailed, "stdin has ended")]
    assert feed.lost


def test_a_pipe_that_is_stopped_has_not_failed(feed):
    reader, writer = os.pipe()
    source = PcmSource(PcmConfig(sample_rate=RATE), feed, reader)
    source.start()
    source.stop()
    for descriptor in (reader, writer):
        os.close(descriptor)
    assert feed.ended
    assert not feed.lost


@pytest.mark.parametrize(
    ("sample_format", "dtype", "scale"),
    [("s16le", "<i2", 2**15), ("s24le", "<i4", 2**23), ("s32le", "<i4", 2**31), ("f32le", "<f4", 1)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_pipe_is_read_in_parts_of_any_length(sample_format, dtype, scale, channels, feed, start, read_all):
    rng = np.random.default_rng(0)
    frames = rng.uniform(-0.5, 0.5, (48_000, channels))
    content = (frames * scale).astype(dtype)
    wanted = (content / np.float32(scale)).astype(np.float32).mean(axis=1)
    if sample_format == "s24le":  # the highest byte of 32 bits only repeats the sign
        content = content.view(np.uint8).reshape(-1, 4)[:, :3]
    reader, writer = os.pipe()
    start(PcmSource(PcmConfig(sample_rate=48_000, format=sample_format, channels=channels), feed, reader))

    def write():
        left = content.tobytes()
        while left:
            size = int(rng.integers(1, 9000))
            os.write(writer, left[:size])
            left = left[size:]
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    np.testing.assert_allclose(np.concatenate([item.samples for item in read_all()]), wanted, atol=1e-6)
    thread.join()
    os.close(reader)


def test_a_pipe_that_gives_nothing_for_long_is_lost_until_it_does(feed, start, wait_for, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.sources.streams.STALL_S", 0.1)
    reader, writer = os.pipe()
    start(PcmSource(PcmConfig(sample_rate=48_000), feed, reader))
    wait_for(lambda: feed.lost)
    os.write(writer, bytes(9600))
    wait_for(lambda: not feed.lost)
    os.close(writer)
    wait_for(lambda: feed._ended)
    os.close(reader)
    assert [notice.state for notice in feed.notices()][:2] == [SourceLost, SourceBack]


def test_a_pipe_that_is_closed_under_it_is_reported(feed, start, read_all, tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)  # a folder cannot be read
    reported = []
    start(PcmSource(PcmConfig(sample_rate=48_000), feed, descriptor))
    read_all(reported)
    os.close(descriptor)
    assert reported == [Notice(SourceFailed, "stdin cannot be read: Is a directory")]
