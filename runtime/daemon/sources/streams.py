"""Sources that are read from a file, a pipe or ffmpeg, each by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray, UInt8Array
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import PcmConfig, StreamConfig
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.daemon.sources.ffmpeg import Ffmpeg
from htsat_edge.runtime.daemon.supervision import SupervisedThread, describe
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.channels import Downmix
from htsat_edge.runtime.dsp.formats import wav
from htsat_edge.runtime.dsp.formats.pipe import is_pipe

BLOCK_S = 0.1
READ_BYTES = 1 << 14
"""From ffmpeg at a time: about as much audio."""
LIVE = ("rtsp:", "rtmp:", "rtp:", "srt:", "udp:")
"""Streams that do not wait to be read."""
AGAIN = "; it is tried again until it is there"
"""Of what is reported of a source that is lost."""
STALL_S = 10.0
"""A stream that has given nothing for so long is opened again."""
TYPES = {"s16le": ("<i2", 2, 2**15), "s24le": ("<i4", 3, 2**31), "s32le": ("<i4", 4, 2**31), "f32le": ("<f4", 4, 1)}
"""Of raw samples: numpy's name, bytes in the stream, and full scale. Of 24 bits, a zero byte makes 32."""

CLOSE_S = 5.0
"""For a thread that waits for the system to end."""
OPEN_FILES = threading.Semaphore(100)
"""Recordings that are read at a time: others wait, since a process may open about a thousand files."""


class ThreadSource:
    """One feed, and a thread that fills it."""

    def __init__(self, feed: Feed) -> None:
        """Prepare to fill `feed`."""
        self.feeds = [feed]
        self._stop = threading.Event()
        self._thread = SupervisedThread(feed.name, self._run, self._lose, self._stop, feed.end)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        """Fill the feed until its source ends; an exception means that it is to be tried again."""
        raise NotImplementedError

    def _lose(self, reason: str) -> None:
        (feed,) = self.feeds
        if not self._stop.is_set():
            feed.report_lost(f"{reason}{AGAIN}")


class FileSource(ThreadSource):
    """A recording, read once; nothing is lost, however slow detection is."""

    def __init__(self, path: Path, feed: Feed) -> None:
        """Look at the recording; raise an HtsatEdgeError where it cannot be read."""
        super().__init__(feed)
        if is_pipe(path):  # which may give nothing for hours, and has no end to wait for
            raise HtsatEdgeError(
                f"{path}: is a pipe; `htsat-edge listen --stdin` reads raw samples, `htsat-edge detect` a recording"
            )
        self._file = AudioFile(path)

    def _run(self) -> None:
        (feed,) = self.feeds
        while not OPEN_FILES.acquire(timeout=0.2):
            if self._stop.is_set():
                return
        try:
            feed.open(self._file.sample_rate)
            for block in self._file.blocks(self._file.sample_rate):
                feed.wait_for_room(self._stop)
                if self._stop.is_set():
                    break
                feed.write(block)
        except Exception as error:  # to read it again would give its events twice
            feed.report_failed(describe(error))
        finally:
            OPEN_FILES.release()


class PcmSource(ThreadSource):
    """Raw samples on stdin. The writer waits when detection is behind."""

    def __init__(self, settings: PcmConfig, feed: Feed, descriptor: int | None = None) -> None:
        """Prepare to read a file descriptor, by default that of stdin."""
        super().__init__(feed)
        self._settings = settings
        self._decoder = Decoder(settings.format, settings.channels, settings.sample_rate, feed.name)
        self._given = 0
        """Frames that the feed has got, or knows to be lost."""
        try:
            self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        except (AttributeError, OSError, ValueError):
            raise HtsatEdgeError(f"{feed.name}: stdin is closed") from None

    def _run(self) -> None:
        (feed,) = self.feeds
        rate, decoder, given, alive = self._settings.sample_rate, self._decoder, False, time.monotonic()
        feed.open(rate, (decoder.frames - self._given) / rate, "samples could not be taken")
        self._given = decoder.frames
        try:
            while not self._stop.is_set():
                if not select.select([self._descriptor], [], [], 0.2)[0]:
                    if time.monotonic() - alive > STALL_S:
                        feed.report_lost(
                            f"it gave nothing for {STALL_S:g} s; it is heard again when it gives something"
                        )
                        given = False
                    continue
                content = os.read(self._descriptor, decoder.bytes_of(rate, BLOCK_S))
                if not content:
                    feed.report_ended("stdin has ended")
                    break
                feed.arrive(decoder.decode(content))
                self._given = decoder.frames
                alive = time.monotonic()
                if not given:
                    feed.report_back("stdin")
                    self._thread.worked()
                    given = True
                feed.wait_for_room(self._stop)
        except OSError as error:
            feed.report_failed(f"stdin cannot be read: {error.strerror}")


class FfmpegSource(ThreadSource):
    """Anything that ffmpeg reads. It runs as a child, and is started again whenever it ends or gives nothing."""

    def __init__(self, settings: StreamConfig, feed: Feed, sample_rate: int, stall_s: float = STALL_S) -> None:
        """Prepare to decode at `sample_rate` Hz; raise an HtsatEdgeError where that can never work."""
        super().__init__(feed)
        self._ffmpeg = Ffmpeg(feed.name, settings, sample_rate)
        self._settings, self._rate, self._stall_s = settings, sample_rate, stall_s
        self._decoder = WavDecoder(feed.name)
        self._last_s: float | None = None

    def _run(self) -> None:
        """Read one ffmpeg to its end; raise an HtsatEdgeError with why it ended."""
        command, script = self._ffmpeg.command()
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(script.encode())  # a pipe holds it whole
            self._read(process.stdout.fileno(), process.stderr.fileno())
        finally:
            process.kill()
            with contextlib.suppress(OSError):
                process.stdout.close()
                process.stderr.close()
            process.wait()

    def _read(self, audio: int, errors: int) -> None:
        (feed,) = self.feeds
        given, alive, printed, waiting = False, time.monotonic(), b"", [audio, errors]
        self._decoder.begin()
        while not self._stop.is_set():
            ready = select.select(waiting, [], [], 0.2)[0]
            if errors in ready:  # also so that ffmpeg never waits to print
                more = os.read(errors, 4096)
                printed = (printed + more)[-4096:]
                if not more:
                    waiting.remove(errors)
            if audio not in ready:
                if time.monotonic() - alive > self._stall_s:
                    raise HtsatEdgeError(f"it gave nothing for {self._stall_s:g} s")
                continue
            content = os.read(audio, READ_BYTES)
            if not content:
                if errors in waiting:
                    printed += os.read(errors, 4096)
                raise HtsatEdgeError(self._ffmpeg.explain(printed.decode(errors="replace")))
            samples, alive = self._decoder.decode(content), time.monotonic()
            if not len(samples):
                continue
            if not given:
                begun = alive - len(samples) / self._rate
                lost_s = 0.0 if self._last_s is None else max(0.0, begun - self._last_s)
                feed.open(self._rate, lost_s, "the stream was interrupted")
                self._last_s = begun  # nothing is lost twice where what follows fails
            feed.arrive(samples)
            self._last_s = alive
            if not given:
                feed.report_back("the stream")
                self._thread.worked()
                given = True
            if not self._settings.url.startswith(LIVE):
                feed.wait_for_room(self._stop)  # a recording comes faster than it was recorded


class Decoder:
    """Turns bytes, in parts of any length, into samples (S,), all channels mixed."""

    def __init__(self, sample_format: str, channels: int, sample_rate: int = 48_000, name: str = "") -> None:
        """Prepare for a format and channels; the log names the source where its channels cannot be mixed."""
        self._type, self._width, self._full_scale = TYPES[sample_format]
        self.channels, self._mix = channels, Downmix(channels, sample_rate, name=name)
        self._rest = b""
        self.frames = 0
        """Those that were taken, also where what follows has failed."""

    def begin(self) -> None:
        """Begin anew with the bytes; the channels are mixed as before."""
        self._rest = b""

    def bytes_of(self, sample_rate: int, seconds: float) -> int:
        """Return how many bytes so much audio takes."""
        return round(sample_rate * seconds) * self.channels * self._width

    def decode(self, content: bytes) -> FloatArray:
        """Take bytes; return the samples (S,) that they complete."""
        content = self._rest + content
        whole = len(content) - len(content) % (self.channels * self._width)
        self._rest = content[whole:]
        self.frames += whole // (self.channels * self._width)
        samples: UInt8Array = np.frombuffer(content[:whole], np.uint8).reshape(-1, self._width)
        if missing := np.dtype(self._type).itemsize - self._width:
            samples = np.pad(samples, ((0, 0), (missing, 0)))  # little-endian: the lowest byte comes first
        frames = samples.view(self._type).reshape(-1, self.channels)
        return self._mix.push((frames / np.float32(self._full_scale)).astype(np.float32))


class WavDecoder:
    """Turns a WAV of floats as ffmpeg writes it, in parts of any length, into samples (S,), all channels mixed.

    To mix them is not left to ffmpeg: those that cancel each other would be silence.
    """

    def __init__(self, name: str = "") -> None:
        """Prepare for any channels; the log names the source where they cannot be mixed."""
        self._name, self._head = name, b""
        self._decoder: Decoder | None = None
        self._begun = False

    def begin(self) -> None:
        """Begin with another WAV; as many channels as before are mixed as before."""
        self._head, self._begun = b"", False

    def decode(self, content: bytes) -> FloatArray:
        """Take bytes; return the samples (S,) that they complete."""
        if not self._begun:
            self._head += content
            header = wav.header(self._head)
            if header is None:
                return np.empty(0, np.float32)
            content, self._begun = self._head[header.start :], True
            if self._decoder is None or self._decoder.channels != header.channels:
                self._decoder = Decoder("f32le", header.channels, header.sample_rate, self._name)
            self._decoder.begin()
        assert self._decoder is not None
        return self._decoder.decode(content)
