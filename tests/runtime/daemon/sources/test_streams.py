"""Files, pipes and ffmpeg, for real."""

import http.server
import os
import shutil
import threading
import time

import numpy as np
import pytest
import soundfile
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import Pcm, Secret, Stream
from htsat_edge.runtime.daemon.sources import Feed, Lost, Piece
from htsat_edge.runtime.daemon.sources.streams import Decoder, FfmpegSource, FileSource, PcmSource


@pytest.fixture
def feed():
    return Feed("yard", threading.Event(), live=True)


def read_all(feed, seconds=20, told=None):
    """What a feed gives until it ends; what it says goes into `told`."""
    found, end = [], time.monotonic() + seconds
    while not feed.ended:
        assert time.monotonic() < end, "it did not end"
        item = feed.read()
        if item is None:
            time.sleep(0.002)
        else:
            found.append(item)
        (told if told is not None else []).extend(feed.notices())
    return found


def joined(found):
    return np.concatenate([item.samples for item in found if isinstance(item, Piece)])


def test_a_file_is_read_whole_however_slow_the_reader_is(farmyard, feed):
    source = FileSource(farmyard, feed)
    source.start()
    found = []
    while not feed.ended:
        time.sleep(0.02)
        if (item := feed.read()) is not None:
            found.append(item)
    source.stop()
    wanted, rate = soundfile.read(farmyard, dtype="float32")
    np.testing.assert_array_equal(joined(found), wanted)
    assert found[3].start_s == 3.0
    assert {item.sample_rate for item in found} == {rate}


def test_a_file_that_breaks_off_says_so(tmp_path, farmyard, feed):
    whole = farmyard.read_bytes()
    broken = tmp_path / "broken.flac"
    broken.write_bytes(whole[: len(whole) // 2])
    source = FileSource(broken, feed)
    source.start()
    told = []
    read_all(feed, told=told)
    (notice,) = told
    assert notice.state == "failed"
    assert "is truncated or damaged" in notice.text


@pytest.mark.parametrize(
    ("sample_format", "dtype", "scale"), [("s16le", "<i2", 2**15), ("s32le", "<i4", 2**31), ("f32le", "<f4", 1)]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_pipe_is_read_in_pieces_of_any_length(sample_format, dtype, scale, channels, feed):
    rng = np.random.default_rng(0)
    frames = rng.uniform(-0.5, 0.5, (48_000, channels))
    content = (frames * scale).astype(dtype)
    wanted = (content / np.float32(scale)).astype(np.float32).mean(axis=1)
    reader, writer = os.pipe()
    source = PcmSource(Pcm(sample_rate=48_000, format=sample_format, channels=channels), feed, reader)
    source.start()

    def write():
        left = content.tobytes()
        while left:
            size = int(rng.integers(1, 9000))
            os.write(writer, left[:size])
            left = left[size:]
        os.close(writer)

    threading.Thread(target=write).start()
    np.testing.assert_allclose(joined(read_all(feed)), wanted, atol=1e-6)
    source.stop()
    os.close(reader)


def test_samples_that_are_no_numbers_are_a_gap(feed):
    feed.open(1000)
    feed.write(np.ones(100, np.float32))
    feed.write(np.array([0.1] * 49 + [np.nan], np.float32))
    feed.write(np.ones(100, np.float32))
    feed.end()
    first, gap, second = read_all(feed)
    assert (gap.start_s, gap.end_s) == pytest.approx((0.1, 0.15))
    assert gap.reason == "samples that are no numbers"
    assert (first.start_s, second.start_s) == (0.0, 0.15)


def test_a_rate_that_changes_moves_no_position(feed):
    feed.open(48_000)
    feed.write(np.ones(48_000, np.float32))
    feed.open(16_000, 2.5, "another device")
    feed.write(np.ones(16_000, np.float32))
    feed.open(16_000, 0.5, "the same again")
    feed.write(np.ones(160, np.float32))
    feed.end()
    first, gap, second, again, third = read_all(feed)
    assert (first.sample_rate, second.sample_rate) == (48_000, 16_000)
    assert gap == Lost(1.0, 3.5, "another device")
    assert (second.start_s, again, third.start_s) == (3.5, Lost(4.5, 5.0, "the same again"), 5.0)


def test_a_span_that_is_begun_while_the_last_is_read_loses_nothing(feed):
    """The writer is as fast as can be: between the reader's look at a ring and its look at the next span."""
    feed.open(1000)
    feed.write(np.ones(100, np.float32))
    ring = feed._spans[0].ring
    read, done = ring.read, []

    def read_then_write(most):
        item = read(most)
        if item is None and not done:
            done.append(True)
            feed.write(np.ones(50, np.float32))
            feed.open(2000, 3.0, "another device")
            feed.write(np.ones(200, np.float32))
            feed.end()
        return item

    ring.read = read_then_write
    found = []
    while not feed.ended:
        if (item := feed.read()) is not None:
            found.append(item)
    ends = [x for item in found for x in (item.start_s, item.end_s)]
    assert ends == pytest.approx([0, 0.1, 0.1, 0.15, 0.15, 3.15, 3.15, 3.25])


def test_any_pieces_decode_to_the_same():
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
def server(tmp_path, farmyard):
    """A recording over HTTP, at a port of its own; it may be stopped and started again."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(farmyard.parent))

        def log_message(self, *_):
            pass

    made = []

    def start(port=0):
        made.append(http.server.ThreadingHTTPServer(("127.0.0.1", port), Quiet))
        threading.Thread(target=made[-1].serve_forever, args=(0.05,), daemon=True).start()
        return made[-1]

    yield start
    for one in made:
        one.shutdown()
        one.server_close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.sources.FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("htsat_edge.runtime.daemon.sources.LONGEST_PAUSE_S", 0.2)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: sudo apt install ffmpeg")


@needs_ffmpeg
def test_ffmpeg_is_started_again_whenever_it_ends(server, feed, farmyard):
    port = server().server_port
    source = FfmpegSource(Stream(url=f"http://127.0.0.1:{port}/{farmyard.name}"), feed, 32_000)
    source.start()
    found = []

    def gaps():
        while (item := feed.read()) is not None:
            found.append(item)
        return [item for item in found if isinstance(item, Lost)]

    wait_for(lambda: len(gaps()) >= 2)
    source.stop()
    told = [(notice.state, notice.text) for notice in feed.notices()]
    assert told[:2] == [
        ("lost", "the stream ended; it is tried again until it is there"),
        ("back", "the stream is back"),
    ]
    wanted, _ = soundfile.read(farmyard, dtype="float32")
    first = found[: found.index(gaps()[0])]
    np.testing.assert_allclose(joined(first), wanted, atol=1e-4)
    at = 0.0
    for item in found:  # nothing is missing between what was heard and what was lost
        assert item.start_s == pytest.approx(at, abs=1e-6)
        at = item.end_s


@needs_ffmpeg
def test_a_stream_that_is_not_there_is_tried_for_ever_and_says_why(server, feed, farmyard):
    one = server()
    port = one.server_port
    one.shutdown()
    one.server_close()
    source = FfmpegSource(Stream(url=f"http://127.0.0.1:{port}/{farmyard.name}"), feed, 32_000)
    source.start()
    time.sleep(1.0)  # several tries, of which only the first is told
    (notice,) = feed.notices()
    assert "Connection refused" in notice.text
    assert feed.lost
    server(port)
    wait_for(lambda: isinstance(feed.read(), Piece))
    assert not feed.lost
    assert [notice.state for notice in feed.notices()][:1] == ["back"]
    source.stop()


def test_what_ffmpeg_complains_of_does_not_stop_it(feed, tmp_path, monkeypatch):
    """A pipe that nobody reads would block it after 64 kB of complaints."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\nfor i in 1 2 3 4; do head -c 100000 /dev/zero | tr '\\0' x >&2; head -c 128000 /dev/zero; done\n"
        "echo the end >&2\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    source = FfmpegSource(Stream(url="x"), feed, 32_000, stall_s=5)
    source.start()
    found = []
    wait_for(lambda: found.extend(feed.notices()) or found)
    assert found[0].text.endswith("the end; it is tried again until it is there")
    source.stop()
    assert feed.read().end_s >= 1.0


@needs_ffmpeg
def test_a_stream_that_gives_nothing_is_begun_anew(feed):
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.wav"
        source = FfmpegSource(Stream(url=url), feed, 32_000, stall_s=0.5)
        source.start()
        told = []
        wait_for(lambda: told.extend(feed.notices()) or told)
        assert told[0].text == "it gave nothing for 0.5 s; it is tried again until it is there"
        source.stop()


@needs_ffmpeg
def test_a_password_comes_from_elsewhere_and_is_never_told(feed, monkeypatch):
    monkeypatch.setenv("CAMERA", "hunter2")
    settings = Stream(url="rtsp://me:{password}@127.0.0.1:9/x", password=Secret(env="CAMERA"))
    source = FfmpegSource(settings, feed, 32_000)
    assert "rtsp://me:hunter2@127.0.0.1:9/x" in source._command()
    source.start()
    told = []
    wait_for(lambda: told.extend(feed.notices()) or told)
    source.stop()
    assert "hunter2" not in told[0].text
    monkeypatch.delenv("CAMERA")
    with pytest.raises(HtsatEdgeError, match="the environment has no CAMERA"):
        FfmpegSource(settings, feed, 32_000)


def test_without_ffmpeg_it_says_what_to_install(feed, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HtsatEdgeError, match="yard: needs ffmpeg: sudo apt install ffmpeg"):
        FfmpegSource(Stream(url="x"), feed, 32_000)
