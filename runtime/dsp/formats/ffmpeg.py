"""Decode what libsndfile does not know, such as what phones and browsers record, with ffmpeg as a child."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.formats import wav

BLOCK = 1 << 16
"""Frames at a time where they are only counted."""
CONTAINERS = (
    "aa,aac,aax,ac3,adx,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,avr,caf,dsf,dss,dts,dtshd,eac3,flac,flv,gsm,"
    "hcom,iff,ilbc,ircam,loas,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,nut,ogg,oma,paf,pvf,qcp,"
    "rm,sds,shn,sox,spdif,tak,truehd,tta,voc,vqf,w64,wav,wtv,wv,wve,xwma"
)
"""Formats of files that hold their audio. Playlists and scripts name other files, and would have ffmpeg read those."""
NO_AUDIO = "does not contain any stream"
"""ffmpeg's words for a file without a track that was asked for."""
UNKNOWN = "Invalid data found when processing input"
"""Its words for what it does not know."""
NOT_LISTED = "Format not on whitelist"
"""How it begins to say that a file is none of CONTAINERS."""


def is_installed() -> bool:
    """Return whether there is ffmpeg."""
    return shutil.which("ffmpeg") is not None


class FfmpegReader:
    """Reads the audio of a file from front to back, as ffmpeg decodes it: its own rate and channels, float32."""

    is_float = False

    def __init__(self, path: Path) -> None:
        """Start ffmpeg; raise an HtsatEdgeError, which names no file, where it finds no audio."""
        quiet = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]
        source = ["-format_whitelist", CONTAINERS, "-protocol_whitelist", "file", "-i", f"file:{path}"]
        self._path = path
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  open as long as ffmpeg runs
        self._process = subprocess.Popen(
            ["ffmpeg", *quiet, *source, "-vn", "-sn", "-dn", "-f", "wav", "-c:a", "pcm_f32le", "pipe:1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        try:
            self.sample_rate, self.channels = self._header()
        except BaseException:
            self.close()
            raise

    def measure(self) -> int | None:
        """Return about how many samples a channel has; None where the file does not say."""
        log = self._logged()
        found = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", log)
        if found is None or "Estimating duration from bitrate" in log:
            return None
        hours, minutes, seconds = map(float, found.groups())
        return round((3600 * hours + 60 * minutes + seconds) * self.sample_rate)

    def read(self, length: int) -> FloatArray:
        """Return the next frames (S, channels), at most `length`; none at the end."""
        assert self._process.stdout is not None
        content = self._process.stdout.read(length * self.channels * 4)
        whole = len(content) - len(content) % (self.channels * 4)
        return np.frombuffer(content[:whole], "<f4").reshape(-1, self.channels)

    def finish(self) -> str | None:
        """Wait for the end; return what ffmpeg found wrong with the file, and raise where it gave up."""
        status, errors = self._process.wait(), self._errors()
        if status != 0:
            raise HtsatEdgeError(errors[0] if errors else f"ffmpeg ends with status {status}")
        return errors[0] if errors else None

    def close(self) -> None:
        """End ffmpeg."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()
        self._log.close()

    def _header(self) -> tuple[int, int]:
        """Read the head of the WAV that ffmpeg writes; return its rate and channels."""
        assert self._process.stdout is not None
        content = b""
        while more := self._process.stdout.read(1):
            content += more
            if header := wav.header(content):
                return header.sample_rate, header.channels
        self._process.wait()
        errors = self._errors()
        if errors and errors[0].startswith(NOT_LISTED):
            raise HtsatEdgeError(UNKNOWN)
        raise HtsatEdgeError("no audio" if NO_AUDIO in self._logged() else errors[0] if errors else "no audio")

    def _errors(self) -> list[str]:
        lines = [re.fullmatch(r"(?:\[[^]]* @ \w+\] )?\[(?:error|fatal)\] (.*)", line) for line in self._lines()]
        return [line[1].strip().removeprefix(f"file:{self._path}: ") for line in lines if line]

    def _lines(self) -> list[str]:
        return self._logged().splitlines()

    def _logged(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), min(size, 1 << 20), 0).decode(errors="replace")


def count(path: Path) -> int:
    """Return how many samples a channel has, by decoding all of it."""
    reader = FfmpegReader(path)
    try:
        return sum(iter(lambda: len(reader.read(BLOCK)), 0))
    finally:
        reader.close()
