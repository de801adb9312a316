"""The live view of `listen`: a terminal that is as before, whatever happens to it, and messages that are as ever."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import soundfile
import yaml
from rich.console import Console

from htsat_edge.runtime.commands import listen, live_view
from htsat_edge.runtime.commands.live_view import LiveView, describe_source
from htsat_edge.runtime.daemon.config import SourceConfig
from htsat_edge.runtime.daemon.messages import ClockSet


class StoppedTerminal:
    """A terminal that takes nothing until it is let go."""

    def __init__(self):
        self.encoding, self.written, self.free = "utf-8", "", threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        self.free.wait(20)
        self.written += text

    def flush(self):
        pass


def test_a_terminal_that_takes_nothing_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(live_view, "CLOSE_S", 0.1)
    file = StoppedTerminal()
    begun_s = time.monotonic()
    with LiveView(Console(file=file, force_terminal=True, width=80, height=24), lambda: None) as view:
        for number in range(10_000):
            view._offer(ClockSet(time=None, by_s=number))
        assert len(view._queue) <= live_view.MOST_QUEUED
    assert time.monotonic() - begun_s < 10
    assert file.written == ""
    file.free.set()


def test_where_the_terminal_is_gone_whoever_wants_it_is_told(wait_for):
    class Gone(StoppedTerminal):
        def write(self, _):
            raise OSError(5, "Input/output error")

    told = []
    with LiveView(Console(file=Gone(), force_terminal=True), lambda: told.append(1)):
        wait_for(lambda: told, 20)
    assert told == [1]


def test_where_stdout_is_no_terminal_or_with_json_messages_are_as_ever(command, noise, monkeypatch):
    status_before, out, _ = command("listen", noise)
    assert json.loads(out.splitlines()[0])["state"] == "listening"
    monkeypatch.setattr(listen, "is_screen", lambda: True)
    assert command("listen", noise, "--json")[:2] == (status_before, out)


def test_the_view_takes_the_place_of_stdout_alone(command, farmyard, tmp_path, monkeypatch):
    monkeypatch.setattr(listen, "is_screen", lambda: True)
    samples, rate = soundfile.read(farmyard, 6 * 32_000)
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    (tmp_path / "detector.yaml").write_text(f"outputs: {{json_lines: {{path: {tmp_path / 'events.jsonl'}}}}}")
    status, out, _ = command("listen", "--config", tmp_path / "detector.yaml", tmp_path / "speech.wav")
    assert status == 0
    left = out.rpartition("\x1b[?1049l")[2]
    assert "1 event in" in left
    assert "0:01.3 Speech" in left
    assert '"type"' not in out
    written = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert sum(message["type"] == "end" for message in written) == 1


def test_where_no_picture_can_be_drawn_there_is_no_view(monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    for term, wanted in (("xterm", True), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        assert listen.is_screen() is wanted
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: False))
    assert not listen.is_screen()


class Terminal:
    """A terminal of a size, and all that was written to it."""

    def __init__(self, columns, rows):
        self._far, self.near = pty.openpty()
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.text = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with suppress(OSError):  # nobody has it open any more
            while content := os.read(self._far, 65536):
                self.text += content.decode(errors="replace")

    def close(self):
        os.close(self.near)
        self._thread.join(20)
        os.close(self._far)


def test_on_a_terminal_it_lives_through_a_reload_and_leaves_the_events(tmp_path, farmyard, wait_for):
    config, terminal = tmp_path / "detector.yaml", Terminal(70, 24)
    config.write_text(yaml.safe_dump({"sources": [{"name": "yard", "stdin": {"sample_rate": 32_000}}]}))
    daemon = subprocess.Popen(
        [sys.executable, "-m", "htsat_edge", "listen", "--config", config],
        stdin=subprocess.PIPE, stdout=terminal.near, stderr=terminal.near, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    try:
        wait_for(lambda: "samples on stdin: waits for its first samples" in terminal.text, 60)
        daemon.stdin.write(soundfile.read(farmyard, 7 * 32_000, dtype="int16")[0].tobytes())
        daemon.stdin.flush()
        wait_for(lambda: "Speech" in terminal.text and "goes on" in terminal.text, 60)
        config.write_text(config.read_text().replace("name: yard", "name: garden"))
        daemon.send_signal(signal.SIGHUP)
        wait_for(lambda: "the changed configuration is in force" in terminal.text, 60)
        wait_for(lambda: "garden" in terminal.text, 60)
        daemon.send_signal(signal.SIGINT)
        assert daemon.wait(60) == 0
    finally:
        daemon.kill()
        daemon.communicate()
        terminal.close()
    assert terminal.text.startswith("\x1b[?1049h")
    left = terminal.text.rpartition("\x1b[?1049l")[2]
    assert "1 event in" in left
    assert "Speech" in left
    assert "yard" in left
    assert "\x1b[?25h" in terminal.text  # the cursor is there again
    assert '"type"' not in terminal.text


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"microphone": {}}, "the default microphone"),
        ({"microphone": {"device": "usb:0d8c:0014"}}, "microphone usb:0d8c:0014"),
        ({"stdin": {"sample_rate": 8000}}, "samples on stdin"),
        ({"stream": {"url": "rtsp://me@camera/1?key=x"}}, "rtsp://camera/1?…"),
        ({"file": "a.wav"}, "a.wav"),
    ],
)
def test_a_source_is_described_without_secrets(content, what):
    assert describe_source(SourceConfig(name="yard", **content)) == what
