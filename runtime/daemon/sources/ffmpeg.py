"""Call ffmpeg to decode a stream, without a password in the list of processes, and explain what it complains of."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import urllib.parse

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.urls import without_user
from htsat_edge.runtime.daemon.config import PASSWORD, StreamConfig
from htsat_edge.runtime.dsp.formats.ffmpeg import is_installed

SCRIPTED = 5
"""The first version of ffmpeg whose scripts may hold options."""
SCRIPT_OPTIONS = {
    "allowed_media_types",
    "analyzeduration",
    "auth_type",
    "buffer_size",
    "ca_file",
    "cert_file",
    "cookies",
    "fflags",
    "headers",
    "http_proxy",
    "key_file",
    "localaddr",
    "max_delay",
    "max_port",
    "max_redirects",
    "min_port",
    "passphrase",
    "pkt_size",
    "probesize",
    "reconnect",
    "reconnect_at_eof",
    "reconnect_delay_max",
    "reconnect_on_http_error",
    "reconnect_on_network_error",
    "reconnect_streamed",
    "referer",
    "reorder_queue_size",
    "rtsp_flags",
    "rtsp_transport",
    "rw_timeout",
    "seekable",
    "streamid",
    "timeout",
    "tls_verify",
    "user_agent",
    "verify",
}
"""Options that open a stream, each with one value; others, such as -f and -re, are those of the command line."""
PROTOCOLS = "pipe,http,https,httpproxy,tls,tcp,udp,rtp,srtp,rtmp,rtmps,rtmpt,rtmpts,ffrtmphttp,srt,rist,mmsh,mmst,"
PROTOCOLS += "sctp,udplite,ftp,sftp,crypto,data"
"""What a script may open: the network. A playlist that comes from there must not name files of this machine."""
NO_AUDIO = re.compile(r"does not contain any stream|matches no streams")
RAW = ("srt:", "rtmp")
"""Addresses whose parts ffmpeg does not decode."""
OPENED = re.compile(r"^(pipe:0|Error opening input files)(?=: )")
"""How a line begins that says why the stream could not be opened, without naming it."""
logger = logging.getLogger(__name__)


class Ffmpeg:
    """A way to call ffmpeg for one stream."""

    def __init__(self, name: str, settings: StreamConfig, sample_rate: int) -> None:
        """Prepare to decode at `sample_rate` Hz; raise an HtsatEdgeError without ffmpeg, or where that cannot work."""
        if not is_installed():
            raise HtsatEdgeError(f"{name}: needs ffmpeg: sudo apt install ffmpeg")
        self._name, self._settings = name, settings
        self._decode = ["-vn", "-f", "wav", "-c:a", "pcm_f32le", "-ar", str(sample_rate), "pipe:1"]
        self._scripted = settings.password is not None and self._can_script()
        self.command()
        if settings.password is not None and not self._scripted:
            logger.warning("%s: this ffmpeg, or its options, show the password in the list of processes", name)

    def command(self) -> tuple[list[str], str]:
        """Return the command line, and what ffmpeg is to read on stdin.

        Raises
        ------
        HtsatEdgeError
            The password is not there, or the stream is a file.
        """
        path = self._settings.url.removeprefix("file:")  # an address is seldom a path, and may be too long for one
        if os.path.isfile(path) and "-stream_loop" not in self._settings.options:  # noqa: PTH113
            raise HtsatEdgeError(
                f"{self._name}: stream.url: {path} is a file, and would be heard again and again; "
                f"write `file: {path}` in place of `stream:`"
            )
        quiet = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error"]
        if not self._scripted:
            return [*quiet, *self._options(), "-i", self._url(), *self._decode], ""
        script = ["-protocol_whitelist", PROTOCOLS, "-f", "concat", "-safe", "0", "-i", "pipe:0"]
        return [*quiet, *script, *self._decode], self._script()

    def explain(self, printed: str) -> str:
        """Return in one line why ffmpeg has ended, without passwords, of what it printed."""
        if NO_AUDIO.search(printed):
            return "it sends no audio: turn on audio in the camera's settings, or name a stream of it that has audio"
        lines = printed.strip().splitlines()
        if not lines:
            return "the stream ended"
        line = OPENED.sub(lambda _: self._settings.url, lines[-1])
        return without_user(self._without_password(line))

    def _url(self) -> str:
        # Elsewhere it is decoded: as it is, "#" would end the address, and "%41" would become "A".
        url, password = self._settings.url, self._password()
        return url.replace(PASSWORD, password if url.startswith(RAW) else urllib.parse.quote(password, safe=""))

    def _options(self) -> list[str]:
        return [option.replace(PASSWORD, self._password()) for option in self._settings.options]

    def _password(self) -> str:
        return self._settings.password.read() if self._settings.password is not None else ""

    def _without_password(self, text: str) -> str:
        if password := self._password():
            for form in (urllib.parse.quote(password, safe=""), password):
                text = text.replace(form, PASSWORD)
        return text

    def _can_script(self) -> bool:
        """Return whether the address and the options can be given to ffmpeg on stdin."""
        options = self._settings.options
        keys = [option.removeprefix("-") for option in options[::2]]
        if len(options) % 2 or not SCRIPT_OPTIONS.issuperset(keys) or "://" not in self._settings.url:
            return False
        if not "".join(options).isprintable():  # a script has one option a line
            return False
        try:
            asked = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        version = re.match(r"ffmpeg version n?(\d+)\.", asked.stdout)
        return version is None or int(version[1]) >= SCRIPTED  # others are numbered by their commits, and newer

    def _script(self) -> str:
        lines, options = ["ffconcat version 1.0", f"file {_quoted(self._url())}"], self._options()
        for key, value in zip(options[::2], options[1::2], strict=True):
            lines.append(f"option {key.removeprefix('-')} {_quoted(value)}")
        return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """Return a text as one word of a script."""
    return "'" + text.replace("'", r"'\''") + "'"
