"""Sources that are read from a file, a pipe or ffmpeg, each by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import PcmConfig, StreamConfig
from htsat_edge.runtime.daemon.sources.feed import Backoff, Feed, mix
from htsat_edge.runtime.dsp.audio import AudioFile

BLOCK_S = 0.1
LIVE = ("rtsp:", "rtmp:", "rtp:", "srt:", "udp:")
"""Streams that do not wait to be read."""
STALL_S = 10.0
"""A stream that has given nothing for so long is opened again."""
TYPES = {"s16le": ("<i2", 2**15), "s32le": ("<i4", 2**31), "f32le": ("<f4", 1)}
"""Of raw samples: numpy's name, and full scale."""


class ThreadSource:
    """One feed, and a thread that fills it."""

    def __init__(self, feed: Feed) -> None:
        """Prepare to fill `feed`."""
        self.feeds = [feed]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=feed.name, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError


class FileSource(ThreadSource):
    """A recording, read once; nothing is lost, however slow detection is."""

    def __init__(self, path: Path, feed: Feed) -> None:
        """Open the recording; raise an HtsatEdgeError where it cannot be read."""
        super().__init__(feed)
        self._file = AudioFile(path)

    def _run(self) -> None:
        (feed,) = self.feeds
        try:
            feed.open(self._file.sample_rate)
            for block in self._file.blocks(self._file.sample_rate):
                feed.wait_for_room(self._stop)
                if self._stop.is_set():
                    break
                feed.write(block)
        except HtsatEdgeError as error:
            feed.report_failed(str(error))
        finally:
            feed.end()


class PcmSource(ThreadSource):
    """Raw samples on stdin. The writer waits when detection is behind."""

    def __init__(self, settings: PcmConfig, feed: Feed, descriptor: int | None = None) -> None:
        """Prepare to read a file descriptor, by default that of stdin."""
        super().__init__(feed)
        self._settings = settings
        if descriptor is None and sys.stdin is None:
            raise HtsatEdgeError(f"{feed.name}: stdin is closed")
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor

    def _run(self) -> None:
        (feed,) = self.feeds
        settings = self._settings
        feed.open(settings.sample_rate)
        decoder = Decoder(settings.format, settings.channels)
        try:
            while not self._stop.is_set():
                if not select.select([self._descriptor], [], [], 0.2)[0]:
                    continue
                content = os.read(self._descriptor, decoder.bytes_of(settings.sample_rate, BLOCK_S))
                if not content:
                    break
                feed.write(decoder.decode(content))
                feed.wait_for_room(self._stop)
        except OSError as error:
            feed.report_failed(f"stdin cannot be read: {error.strerror}")
        finally:
            feed.end()


class FfmpegSource(ThreadSource):
    """Anything that ffmpeg reads. It runs as a child, and is started again whenever it ends or gives nothing."""

    def __init__(self, settings: StreamConfig, feed: Feed, sample_rate: int, stall_s: float = STALL_S) -> None:
        """Prepare to decode at `sample_rate` Hz; raise an HtsatEdgeError without ffmpeg or the password."""
        if shutil.which("ffmpeg") is None:
            raise HtsatEdgeError(f"{feed.name}: needs ffmpeg: sudo apt install ffmpeg")
        super().__init__(feed)
        self._settings, self._rate, self._stall_s = settings, sample_rate, stall_s
        self._last_s: float | None = None
        self._command()

    def _command(self) -> list[str]:
        settings = self._settings
        url = settings.url.replace("{password}", self._password()) if settings.password else settings.url
        rate = ["-f", "f32le", "-ac", "1", "-ar", str(self._rate)]
        quiet = ["-nostdin", "-hide_banner", "-loglevel", "error"]
        return ["ffmpeg", *quiet, *settings.options, "-i", url, "-vn", *rate, "pipe:1"]

    def _password(self) -> str:
        return self._settings.password.read() if self._settings.password is not None else ""

    def _without_password(self, text: str) -> str:
        """Return what ffmpeg printed, in which it repeats the address, without the password."""
        return text.replace(self._password(), "{password}") if self._password() else text

    def _run(self) -> None:
        (feed,) = self.feeds
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                reason = self._listen(backoff)
            except (OSError, HtsatEdgeError) as error:
                reason = str(error)
            if not self._stop.is_set():
                feed.report_lost(f"{reason}; it is tried again until it is there")
            backoff.wait(self._stop)
        feed.end()

    def _listen(self, backoff: Backoff) -> str:
        """Read one ffmpeg to its end; return why it ended."""
        process = subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            return self._read(process.stdout.fileno(), process.stderr.fileno(), backoff)
        finally:
            process.kill()
            with contextlib.suppress(OSError):
                process.stdout.close()
                process.stderr.close()
            process.wait()

    def _read(self, audio: int, errors: int, backoff: Backoff) -> str:
        (feed,) = self.feeds
        decoder, given, alive, printed = Decoder("f32le", 1), False, time.monotonic(), b""
        waiting = [audio, errors]
        while not self._stop.is_set():
            ready = select.select(waiting, [], [], 0.2)[0]
            if errors in ready:  # also so that ffmpeg never waits to print
                more = os.read(errors, 4096)
                printed = (printed + more)[-4096:]
                if not more:
                    waiting.remove(errors)
            if audio not in ready:
                if time.monotonic() - alive > self._stall_s:
                    return f"it gave nothing for {self._stall_s:g} s"
                continue
            content = os.read(audio, decoder.bytes_of(self._rate, BLOCK_S))
            if not content:
                if errors in waiting:
                    printed += os.read(errors, 4096)
                lines = printed.decode(errors="replace").strip().splitlines()
                return self._without_password(lines[-1]) if lines else "the stream ended"
            samples, alive = decoder.decode(content), time.monotonic()
            if not given:
                lost_s = 0.0 if self._last_s is None else alive - self._last_s - len(samples) / self._rate
                feed.open(self._rate, max(0.0, lost_s), "the stream was interrupted")
                feed.report_back("stream")
                given = True
                backoff.reset()
            self._last_s = alive
            feed.write(samples)
            if not self._settings.url.startswith(LIVE):
                feed.wait_for_room(self._stop)  # a recording comes faster than it was recorded
        return "stopped"


class Decoder:
    """Turns bytes, in parts of any length, into samples (S,), all channels mixed."""

    def __init__(self, sample_format: str, channels: int) -> None:
        self._type, self._full_scale = TYPES[sample_format]
        self._channels = channels
        self._rest = b""

    def bytes_of(self, sample_rate: int, seconds: float) -> int:
        """Return how many bytes so much audio takes."""
        return round(sample_rate * seconds) * self._channels * np.dtype(self._type).itemsize

    def decode(self, content: bytes) -> FloatArray:
        """Take bytes; return the samples (S,) that they complete."""
        content = self._rest + content
        whole = len(content) - len(content) % (self._channels * np.dtype(self._type).itemsize)
        self._rest = content[whole:]
        frames = np.frombuffer(content[:whole], self._type).reshape(-1, self._channels)
        return mix((frames / np.float32(self._full_scale)).astype(np.float32), None)
