"""Files, pipes and ffmpeg, for real."""

import http.server
import os
import shutil
import socket
import struct
import threading
import time

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.daemon.config import StreamConfig
from htsat_edge.runtime.daemon.messages import SourceBack, SourceFailed, SourceLost
from htsat_edge.runtime.daemon.sources.feed import RING_S, Notice
from htsat_edge.runtime.daemon.sources.streams import Decoder, FfmpegSource, FileSource, WavDecoder
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap

pytestmark = pytest.mark.usefixtures("short_pauses")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: sudo apt install ffmpeg")


def wav_head(channels, rate=32_000):
    """What ffmpeg writes before floats without an end."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    return b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"LIST\4\0\0\0INFOdata\xff\xff\xff\xff"


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


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_wav_decodes_to_the_same_in_any_parts(channels):
    frames = np.random.default_rng(0).normal(0, 0.1, (3000, channels)).astype("<f4")
    content = wav_head(channels) + frames.tobytes()
    for size in (1, 7, 100, len(content)):
        decoder = WavDecoder()
        found = [decoder.decode(content[at : at + size]) for at in range(0, len(content), size)]
        np.testing.assert_array_equal(np.concatenate(found), frames.mean(axis=1))


def test_channels_that_cancel_are_said_once_however_often_the_stream_begins_anew(caplog):
    x = np.random.default_rng(0).normal(0, 0.1, 6400).astype("<f4")
    content, decoder = wav_head(2) + np.stack([x, -x], axis=1).tobytes(), WavDecoder("gate")
    first = decoder.decode(content + b"abc")
    decoder.begin()
    np.testing.assert_array_equal(first[3200:], x[3200:])  # what came before it was known is mixed
    np.testing.assert_array_equal(decoder.decode(content), x)
    decoder.begin()
    np.testing.assert_array_equal(decoder.decode(wav_head(1) + x.tobytes()), x)
    assert len(caplog.messages) == 1


@needs_ffmpeg
def test_a_stream_whose_channels_cancel_is_heard(farmyard, feed, start, wait_for, tmp_path):
    """ffmpeg's own mix of them is silence."""
    wanted, rate = soundfile.read(farmyard, dtype="float32")
    soundfile.write(tmp_path / "x.wav", np.stack([wanted, -wanted], axis=1), rate, "FLOAT")
    start(FfmpegSource(StreamConfig(url=str(tmp_path / "x.wav"), options=["-stream_loop", "-1"]), feed, rate))
    wait_for(lambda: feed.behind_s > 1)
    found = joined(iter(feed.read, None))
    np.testing.assert_array_equal(found[rate // 10 :], wanted[rate // 10 : len(found)])


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
    """Puts a shell script in ffmpeg's place; the file `head` is how what ffmpeg writes begins."""

    (tmp_path / "head").write_bytes(wav_head(1))

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
        f"echo try >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) = 4 ] || exit 0\n"
        f"cat {tmp_path}/head; head -c 128000 /dev/zero"
    )
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    source = FfmpegSource(StreamConfig(url="rtsp://x"), feed, 32_000)
    source._stop = source._thread._stop = Stop()
    source._thread._run()
    assert pauses == [0.5, 1, 2, 0.5, 1, 2]
    assert feed.behind_s == 1


def test_what_lies_between_two_tries_is_lost_and_no_more(script, feed, start, wait_for, tmp_path):
    """Every try begins with 0.1 s of sound, which was recorded before it came."""
    script(f"sleep 0.2; head -c 12800 /dev/zero | cat {tmp_path}/head -")
    found, begun = [], time.monotonic()
    start(FfmpegSource(StreamConfig(url="rtsp://x"), feed, 32_000))
    wait_for(lambda: found.extend(iter(feed.read, None)) or sum(isinstance(item, Gap) for item in found) >= 6)
    assert found[-1].end_s < 0.1 + (time.monotonic() - begun) + 0.3
    assert all(item.end_s - item.start_s >= 0.1 for item in found if isinstance(item, Gap))


def test_samples_that_could_not_be_taken_are_lost_once(script, feed, start, wait_for, tmp_path, monkeypatch):
    """Of every second ffmpeg the samples fail, after the feed was opened."""
    script(f"cat {tmp_path}/head; head -c 12800 /dev/zero; sleep 0.2")
    opened, arrive, opens, found, begun = feed.open, feed.arrive, [], [], time.monotonic()

    def fail(samples):
        if len(opens) % 2 == 0:
            raise ValueError("no room")
        arrive(samples)

    monkeypatch.setattr(feed, "open", lambda *arguments: opens.append(arguments) or opened(*arguments))
    monkeypatch.setattr(feed, "arrive", fail)
    start(FfmpegSource(StreamConfig(url="rtsp://x"), feed, 32_000))
    wait_for(lambda: found.extend(iter(feed.read, None)) or len(opens) >= 10)
    found.extend(iter(feed.read, None))
    assert sum(isinstance(item, Gap) for item in found) >= 3
    assert found[-1].end_s < 0.1 + (time.monotonic() - begun) + 0.3


def test_what_ffmpeg_complains_of_does_not_stop_it(script, feed, start, wait_for, tmp_path):
    """A pipe that nobody reads would block it after 64 kB of complaints."""
    script(
        f"cat {tmp_path}/head\n"
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
