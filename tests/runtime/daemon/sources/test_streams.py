"""Files, pipes and ffmpeg, for real."""

import http.server
import os
import shutil
import socket
import threading
import time

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.daemon.config import PcmConfig, StreamConfig
from htsat_edge.runtime.daemon.messages import SourceBack, SourceFailed, SourceLost
from htsat_edge.runtime.daemon.sources.feed import RING_S, Feed, Notice
from htsat_edge.runtime.daemon.sources.streams import Decoder, FfmpegSource, FileSource, PcmSource
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap

pytestmark = pytest.mark.usefixtures("short_pauses")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: sudo apt install ffmpeg")


@pytest.fixture
def news():
    return threading.Event()


@pytest.fixture
def feed(news):
    return Feed("yard", news, live=True)


@pytest.fixture
def read_all(feed, news):
    """Returns what the feed gives until it ends; what it reports goes into `reported`."""

    def read(reported=None):
        found, reported = [], [] if reported is None else reported
        while not feed.ended:
            item = feed.read()
            if item is not None:
                found.append(item)
            else:
                news.wait(0.05)
                news.clear()
            reported.extend(feed.notices())
        return found

    return read


@pytest.fixture
def start():
    """Starts a source, and stops it after the test."""
    started = []

    def begin(source):
        started.append(source)
        source.start()
        return source

    yield begin
    for source in started:
        source.stop()


def joined(found):
    return np.concatenate([item.samples for item in found if isinstance(item, AudioBlock)])


def test_a_file_is_read_whole_however_slow_the_reader_is(farmyard, feed, start, read_all, wait_for):
    start(FileSource(farmyard, feed))
    wait_for(lambda: feed.behind_s > RING_S / 2)  # then it waits for the reader
    assert feed.behind_s <= RING_S / 2 + 1  # a file is read by the second
    found = read_all()
    wanted, rate = soundfile.read(farmyard, dtype="float32")
    np.testing.assert_array_equal(joined(found), wanted)
    assert all(isinstance(item, AudioBlock) and item.sample_rate == rate for item in found)
    assert [item.end_s for item in found[:-1]] == pytest.approx([item.start_s for item in found[1:]])


def test_a_file_that_breaks_off_is_reported(tmp_path, farmyard, feed, start, read_all):
    content = bytearray(farmyard.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = bytes(5000)
    broken = tmp_path / "broken.flac"
    broken.write_bytes(content)
    start(FileSource(broken, feed))
    reported = []
    read_all(reported)
    (notice,) = reported
    assert notice.state is SourceFailed
    assert "is truncated or damaged" in notice.text


def test_a_file_that_is_stopped_ends(farmyard, feed, wait_for):
    source = FileSource(farmyard, feed)
    source.start()
    wait_for(lambda: feed.behind_s > RING_S / 2)
    source.stop()
    while feed.read() is not None:
        pass
    assert feed.ended


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
    np.testing.assert_allclose(joined(read_all()), wanted, atol=1e-6)
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


def test_24_bits_reach_full_scale():
    decoded = Decoder("s24le", 1).decode(
        bytes([0xFF, 0xFF, 0x7F, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0xFF, 0xFF, 0xFF])
    )
    np.testing.assert_array_equal(decoded, np.array([1 - 2.0**-23, -1, 2.0**-23, -(2.0**-23)], np.float32))


def test_any_parts_decode_to_the_same():
    content = np.arange(-300, 300, dtype="<i2").tobytes()
    for sizes in ([1] * 1200, [1200], [7, 13, 500, 680]):
        decoder, at, found = Decoder("s16le", 2), 0, []
        for size in sizes:
            found.append(decoder.decode(content[at : at + size]))
            at += size
        np.testing.assert_array_equal(
            np.concatenate(found), np.arange(-300, 300).reshape(-1, 2).mean(axis=1).astype(np.float32) / 2**15
        )


@pytest.fixture
def serve(farmyard):
    """Serves the recordings over HTTP at a port; it may be stopped and started again."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(farmyard.parent))

        def log_message(self, *_):
            pass

    made = []

    def begin(port=0):
        made.append(http.server.ThreadingHTTPServer(("127.0.0.1", port), Quiet))
        threading.Thread(target=made[-1].serve_forever, args=(0.05,), daemon=True).start()
        return made[-1].server_port

    yield begin
    for one in made:
        one.shutdown()
        one.server_close()


@needs_ffmpeg
def test_ffmpeg_is_started_again_whenever_it_ends(serve, feed, farmyard, start, wait_for):
    source = start(FfmpegSource(StreamConfig(url=f"http://127.0.0.1:{serve()}/{farmyard.name}"), feed, 32_000))
    found = []

    def gaps():
        while (item := feed.read()) is not None:
            found.append(item)
        return [item for item in found if isinstance(item, Gap)]

    wait_for(lambda: len(gaps()) >= 2)
    source.stop()
    assert list(feed.notices())[:2] == [
        Notice(SourceLost, "the stream ended; it is tried again until it is there"),
        Notice(SourceBack, "the stream is back"),
    ]
    wanted, _ = soundfile.read(farmyard, dtype="float32")
    first = found[: found.index(gaps()[0])]
    np.testing.assert_allclose(joined(first), wanted, atol=1e-4)
    assert gaps()[0].reason == "the stream was interrupted"
    at = 0.0
    for item in found:  # nothing is missing between what was heard and what was lost
        assert item.start_s == pytest.approx(at, abs=1e-6)
        at = item.end_s


@needs_ffmpeg
def test_a_stream_that_is_not_there_is_found_when_it_is(serve, feed, farmyard, start, wait_for, free_port):
    port, reported = free_port(), []
    start(FfmpegSource(StreamConfig(url=f"http://127.0.0.1:{port}/{farmyard.name}"), feed, 32_000))
    wait_for(lambda: reported.extend(feed.notices()) or reported)
    (notice,) = reported
    assert notice.state is SourceLost
    assert "Connection refused" in notice.text
    assert feed.lost
    serve(port)
    wait_for(lambda: isinstance(feed.read(), AudioBlock))
    assert not feed.lost
    assert [notice.state for notice in feed.notices()][:1] == [SourceBack]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Puts a shell script in ffmpeg's place."""

    def put(text):
        program = tmp_path / "bin" / "ffmpeg"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return put


def test_of_many_tries_that_fail_only_the_first_is_reported(script, feed, tmp_path, start, wait_for):
    script(f"echo try >> {tmp_path}/tries; echo no such stream >&2; exit 1")
    start(FfmpegSource(StreamConfig(url="x"), feed, 32_000))
    wait_for(lambda: (tmp_path / "tries").exists() and (tmp_path / "tries").read_text().count("try") >= 4)
    assert list(feed.notices()) == [Notice(SourceLost, "no such stream; it is tried again until it is there")]


def test_a_stream_that_works_is_soon_tried_again_however_long_it_was_away(script, feed, start, tmp_path, monkeypatch):
    """Three failures, a second of sound, and again: pauses double, and begin anew after the sound."""
    pauses = []

    class Stop:
        """The source's own, which is not waited for."""

        def wait(self, seconds):
            pauses.append(seconds)
            return False

        def is_set(self):
            return len(pauses) == 6

        def set(self):
            pass

    script(
        f"echo try >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) = 4 ] && head -c 128000 /dev/zero; exit 0",
    )
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    source = FfmpegSource(StreamConfig(url="rtsp://x"), feed, 32_000)
    source._stop = source._thread._stop = Stop()
    source._thread._run()
    assert pauses == [0.5, 1, 2, 0.5, 1, 2]
    assert feed.behind_s == 1


def test_what_lies_between_two_tries_is_lost_and_no_more(script, feed, start, wait_for):
    """Every try begins with 0.1 s of sound, which was recorded before it came."""
    script("sleep 0.2; dd if=/dev/zero bs=12800 count=1 2>&-")
    found, begun = [], time.monotonic()
    start(FfmpegSource(StreamConfig(url="rtsp://x"), feed, 32_000))
    wait_for(lambda: found.extend(iter(feed.read, None)) or sum(isinstance(item, Gap) for item in found) >= 6)
    assert found[-1].end_s < 0.1 + (time.monotonic() - begun) + 0.3
    assert all(item.end_s - item.start_s >= 0.1 for item in found if isinstance(item, Gap))


def test_what_ffmpeg_complains_of_does_not_stop_it(script, feed, start, wait_for):
    """A pipe that nobody reads would block it after 64 kB of complaints."""
    script(
        "for i in 1 2 3 4; do head -c 100000 /dev/zero | tr '\\0' x >&2; head -c 128000 /dev/zero; done\n"
        "echo the end >&2"
    )
    start(FfmpegSource(StreamConfig(url="x"), feed, 32_000, stall_s=5))
    found = []
    wait_for(lambda: found.extend(feed.notices()) or found)
    assert found[0].text.endswith("the end; it is tried again until it is there")
    assert feed.read().end_s >= 1.0


def test_what_ffmpeg_says_after_the_end_of_the_audio_is_the_reason(script, feed, start, wait_for):
    script("exec 1>&-; sleep 0.3; echo the camera hung up >&2")
    start(FfmpegSource(StreamConfig(url="x"), feed, 32_000))
    found = []
    wait_for(lambda: found.extend(feed.notices()) or found)
    assert found[0].text == "the camera hung up; it is tried again until it is there"


@needs_ffmpeg
def test_a_stream_that_gives_nothing_is_begun_anew(feed, start, wait_for):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.wav"
        start(FfmpegSource(StreamConfig(url=url), feed, 32_000, stall_s=0.5))
        found = []
        wait_for(lambda: found.extend(feed.notices()) or found)
        assert found[0].text == "it gave nothing for 0.5 s; it is tried again until it is there"
