"""How ffmpeg is called: cameras with passwords of every kind, and what it complains of; with a small RTSP server."""

import base64
import http.server
import logging
import os
import re
import shutil
import socketserver
import stat
import struct
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import Secret, StreamConfig
from htsat_edge.runtime.daemon.messages import SourceLost
from htsat_edge.runtime.daemon.sources.feed import Feed, Notice
from htsat_edge.runtime.daemon.sources.ffmpeg import Ffmpeg
from htsat_edge.runtime.daemon.sources.streams import FfmpegSource
from htsat_edge.runtime.dsp.blocks import AudioBlock

pytestmark = pytest.mark.usefixtures("short_pauses")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: sudo apt install ffmpeg")
SESSION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 L16/16000/1\r\na=control:track\r\n"
)
PACKET = 320
"""Samples."""


class Camera(socketserver.StreamRequestHandler):
    """Answers one client of RTSP over TCP, who must know the password, and sends two seconds of a rising ramp."""

    def handle(self):
        while request := self._head():
            method, auth = request.split()[0], re.search(r"Authorization: Basic (\S+)", request)
            if method == "OPTIONS":
                self._answer(request, "200 OK", "Public: DESCRIBE, SETUP, PLAY")
            elif not auth or base64.b64decode(auth[1]).decode() != self.server.user:
                self._answer(request, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"')
            elif method == "DESCRIBE":
                self._answer(request, "200 OK", "Content-Type: application/sdp", SESSION)
            elif method == "SETUP":
                self._answer(request, "200 OK", "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1")
            elif method == "PLAY":
                self._answer(request, "200 OK", "Session: 1")
                for number in range(self.server.packets):
                    samples = np.arange(number * PACKET, (number + 1) * PACKET).astype(">i2").tobytes()
                    packet = struct.pack(">BBHII", 0x80, 97, number, number * PACKET, 7) + samples
                    self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
                if self.server.packets:
                    return

    def _head(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = self.rfile.read(1)
            if not more:
                return ""
            head += more
        return head.decode(errors="replace")

    def _answer(self, request, status, header, body=""):
        number = re.search(r"CSeq: *(\d+)", request)[1]
        head = f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write((head + body).encode())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    packets, user = 100, "me:"

    def handle_error(self, *_):
        """A client that hangs up is no fault."""


@pytest.fixture
def camera():
    server = Server(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def listen(camera, monkeypatch):
    """Starts to listen to the camera with a password; stops after the test."""
    started = []

    def begin(password, options=("-rtsp_transport", "tcp")):
        monkeypatch.setenv("CAMERA", password)
        url = f"rtsp://me:{{password}}@127.0.0.1:{camera.server_address[1]}/1"
        settings = StreamConfig(url=url, password=Secret(env="CAMERA"), options=list(options))
        feed = Feed("gate", threading.Event(), live=True)
        started.append(FfmpegSource(settings, feed, 16_000))
        started[-1].start()
        return feed

    yield begin
    for source in started:
        source.stop()


def lines_of_processes():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


@needs_ffmpeg
@pytest.mark.parametrize("password", ["hunter2", "a#b/c?d", "%41", "p@ss:w ord", "ä'\\{password}", "&=+;,$!*"])
def test_a_camera_gets_its_password_as_it_is(password, camera, listen, wait_for):
    camera.user = f"me:{password}"
    feed = listen(password)
    blocks = []
    wait_for(lambda: isinstance(feed.read(), AudioBlock) or blocks.extend(feed.notices()) or blocks)
    assert [notice.text for notice in blocks if "ended" not in notice.text] == []


@needs_ffmpeg
def test_a_script_gives_the_same_samples_as_the_command_line(camera, listen, wait_for):
    camera.user = "me:hunter2"
    ramps = []
    for options in (["-rtsp_transport", "tcp"], ["-rtsp_transport", "tcp", "-re"]):
        feed, found = listen("hunter2", options), []
        wait_for(lambda feed=feed, found=found: found.append(feed.read()) or list(feed.notices()))
        found.extend(iter(feed.read, None))
        ramps.append(np.concatenate([item.samples for item in found if isinstance(item, AudioBlock)]))
    np.testing.assert_array_equal(ramps[0], np.arange(100 * PACKET, dtype=np.float32) / 2**15)
    np.testing.assert_array_equal(ramps[0], ramps[1])


@needs_ffmpeg
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_password_is_in_the_list_of_processes(camera, listen, wait_for):
    if re.match(
        "ffmpeg version n?[1-4]", subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True).stdout
    ):
        pytest.skip("ffmpeg takes options on stdin from 5.0 on")
    camera.user, camera.packets = "me:s3cr3t", 0  # it plays, and sends nothing
    listen("s3cr3t")
    wait_for(lambda: any(b"ffmpeg" in line and b"concat" in line for line in lines_of_processes()))
    assert not any(b"s3cr3t" in line for line in lines_of_processes())


@needs_ffmpeg
def test_a_wrong_password_is_reported_and_not_printed(camera, listen, wait_for):
    camera.user = "me:right"
    feed, found = listen("wr#ng"), []
    wait_for(lambda: found.extend(feed.notices()) or found)
    where = f"rtsp://127.0.0.1:{camera.server_address[1]}/1"
    reason = "Server returned 401 Unauthorized (authorization failed)"
    assert found == [Notice(SourceLost, f"{where}: {reason}; it is tried again until it is there")]


@needs_ffmpeg
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/silent.ts", "http://me:{{password}}@127.0.0.1:{port}/silent.ts"]
)
def test_a_camera_without_audio_is_called_that(url, tmp_path, monkeypatch, wait_for):
    monkeypatch.setenv("CAMERA", "x")
    video = ["-f", "lavfi", "-i", "testsrc=size=64x64:duration=1", tmp_path / "silent.ts"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *video], check=True)
    pages = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), pages) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = url.format(port=server.server_port)
        feed, found = Feed("gate", threading.Event(), live=True), []
        source = FfmpegSource(
            StreamConfig(url=url, password=Secret(env="CAMERA") if "me" in url else None), feed, 16_000
        )
        source.start()
        wait_for(lambda: found.extend(feed.notices()) or found)
        source.stop()
        server.shutdown()
    assert found[0].text == (
        "it sends no audio: turn on audio in the camera's settings, or name a stream of it that has audio; "
        "it is tried again until it is there"
    )


@pytest.fixture
def version(tmp_path, monkeypatch):
    """Puts a program in ffmpeg's place that only says its version."""

    def put(text):
        program = tmp_path / "bin" / "ffmpeg"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return put


@pytest.mark.parametrize(
    ("text", "options", "scripted"),
    [
        ("ffmpeg version 5.1.9-0+deb12u1 Copyright", ["-rtsp_transport", "tcp"], True),
        ("ffmpeg version n9.0.2-17-g2a571b6068 Copyright", [], True),
        ("ffmpeg version N-109468-gd39b34123d Copyright", [], True),
        ("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright", [], False),
        ("ffmpeg version 6.1.1 Copyright", ["-re"], False),
        ("ffmpeg version 6.1.1 Copyright", ["-f", "mulaw"], False),
        ("ffmpeg version 6.1.1 Copyright", ["-headers", "A: b\r\nC: {password}\r\n"], False),
    ],
)
def test_the_command_line_holds_a_password_only_where_a_script_cannot(
    text, options, scripted, version, monkeypatch, caplog
):
    version(text)
    monkeypatch.setenv("CAMERA", "s3c'r3t")
    settings = StreamConfig(url="rtsp://me:{password}@cam/1", password=Secret(env="CAMERA"), options=options)
    with caplog.at_level(logging.WARNING):
        command, script = Ffmpeg("gate", settings, 32_000).command()
    assert ("rtsp://me:s3c%27r3t@cam/1" in command) is not scripted
    assert ("file 'rtsp://me:s3c%27r3t@cam/1'\n" in script) is scripted
    assert ("show the password in the list of processes" in caplog.text) is not scripted
    if options and scripted:
        assert script.endswith("\noption rtsp_transport 'tcp'\n")


def test_options_may_hold_the_password_too(version, monkeypatch):
    version("ffmpeg version 6.1.1 Copyright")
    monkeypatch.setenv("CAMERA", "s3c'r%t")
    options = ["-headers", "Authorization: Bearer {password}"]
    settings = StreamConfig(url="https://cam/1", password=Secret(env="CAMERA"), options=options)
    command, script = Ffmpeg("gate", settings, 32_000).command()
    assert "s3c" not in "".join(command)
    assert script == "ffconcat version 1.0\nfile 'https://cam/1'\noption headers 'Authorization: Bearer s3c'\\''r%t'\n"


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("srt://cam:9000?passphrase={password}", "srt://cam:9000?passphrase=a#%41"),
        ("rtmp://me:{password}@cam/live", "rtmp://me:a#%41@cam/live"),
        ("http://cam/audio?user=me&password={password}", "http://cam/audio?user=me&password=a%23%2541"),
    ],
)
def test_a_password_is_escaped_where_it_will_be_decoded(url, opened, version, monkeypatch):
    version("ffmpeg version 6.1.1 Copyright")
    monkeypatch.setenv("CAMERA", "a#%41")
    _, script = Ffmpeg("gate", StreamConfig(url=url, password=Secret(env="CAMERA")), 32_000).command()
    assert f"file '{opened}'" in script


def test_a_stream_without_a_password_needs_no_script(version):
    version("ffmpeg version 6.1.1 Copyright")
    settings = StreamConfig(url="rtsp://cam/1", options=["-rtsp_transport", "tcp"])
    command, script = Ffmpeg("gate", settings, 32_000).command()
    assert command[command.index("-rtsp_transport") :][:4] == ["-rtsp_transport", "tcp", "-i", "rtsp://cam/1"]
    assert script == ""


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("", "the stream ended"),
        ("rtsp://me:s3c%27r3t@cam/1: Connection refused\n", "rtsp://cam/1: Connection refused"),
        ("[concat] x\npipe:0: Connection refused", "rtsp://cam/1: Connection refused"),
        ("Error opening input file pipe:0.\nError opening input files: No route", "rtsp://cam/1: No route"),
        ("it says s3c'r3t", "it says {password}"),
    ],
)
def test_what_ffmpeg_complains_of_is_said_without_the_password(printed, reason, version, monkeypatch):
    version("ffmpeg version 6.1.1 Copyright")
    monkeypatch.setenv("CAMERA", "s3c'r3t")
    settings = StreamConfig(url="rtsp://me:{password}@cam/1", password=Secret(env="CAMERA"))
    assert Ffmpeg("gate", settings, 32_000).explain(printed) == reason


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_a_file_is_no_stream(prefix, farmyard, version):
    """It was read again and again, for ever."""
    version("ffmpeg version 6.1.1 Copyright")
    settings = StreamConfig(url=f"{prefix}{farmyard}")
    with pytest.raises(HtsatEdgeError) as raised:
        Ffmpeg("gate", settings, 32_000)
    assert str(raised.value) == (
        f"gate: stream.url: {farmyard} is a file, and would be heard again and again; "
        f"write `file: {farmyard}` in place of `stream:`"
    )
    Ffmpeg("gate", StreamConfig(url=f"{prefix}{farmyard}", options=["-stream_loop", "-1"]), 32_000)


def test_a_password_that_is_not_there_is_an_error_at_once(version, monkeypatch):
    version("ffmpeg version 6.1.1 Copyright")
    monkeypatch.delenv("CAMERA", raising=False)
    settings = StreamConfig(url="rtsp://me:{password}@cam/1", password=Secret(env="CAMERA"))
    with pytest.raises(HtsatEdgeError, match="the environment has no CAMERA"):
        Ffmpeg("gate", settings, 32_000)


def test_without_ffmpeg_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HtsatEdgeError, match="yard: needs ffmpeg: sudo apt install ffmpeg"):
        Ffmpeg("yard", StreamConfig(url="x"), 32_000)
