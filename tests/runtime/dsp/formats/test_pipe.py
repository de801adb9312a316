import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import pipe


def read(file):
    return np.concatenate(list(file.blocks(7000)))


@pytest.fixture
def own_temporary_folder(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.mp3"])
def test_a_named_pipe_is_read_to_its_end(name, noise, tmp_path, write, own_temporary_folder):
    path, fifo = write(tmp_path / name, noise), tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(path.read_bytes()))
    writer.start()
    file = AudioFile(fifo)
    writer.join()
    np.testing.assert_array_equal(read(file), read(AudioFile(path)))
    np.testing.assert_array_equal(read(file), read(AudioFile(path)))
    assert len(list(own_temporary_folder.iterdir())) == 1
    del file
    assert list(own_temporary_folder.iterdir()) == []


def test_what_a_shell_makes_of_a_command(noise, tmp_path, write):
    """`<(sox …)` is a path such as /dev/fd/63."""
    path = write(tmp_path / "x.flac", noise)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        found = read(AudioFile(Path(f"/dev/fd/{process.stdout.fileno()}")))
    np.testing.assert_array_equal(found, read(AudioFile(path)))


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("piped", [True, False])
def test_standard_input(name, piped, noise, tmp_path, write, monkeypatch):
    path = write(tmp_path / "x.flac", noise)
    saved = os.dup(0)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process, path.open("rb") as file:
        try:
            os.dup2(process.stdout.fileno() if piped else file.fileno(), 0)
            found = read(AudioFile(Path(name)))
        finally:
            os.dup2(saved, 0)
            os.close(saved)
    np.testing.assert_array_equal(found, read(AudioFile(path)))


def test_nobody_is_warned_that_a_pipe_does_not_know_its_length(noise, tmp_path, write, caplog):
    path = write(tmp_path / "x.wav", noise)
    content = path.read_bytes()
    at = content.index(b"data") + 4
    endless = tmp_path / "endless.wav"
    endless.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
    with subprocess.Popen(["cat", endless], stdout=subprocess.PIPE) as process:
        found = read(AudioFile(Path(f"/dev/fd/{process.stdout.fileno()}")))
    np.testing.assert_array_equal(found, read(AudioFile(path)))
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_pipe_that_gives_nothing_is_empty(tmp_path):
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
        path = Path(f"/dev/fd/{process.stdout.fileno()}")
        with pytest.raises(HtsatEdgeError, match=rf"{path}: is empty"):
            AudioFile(path)


def test_no_room_for_a_pipe(monkeypatch, own_temporary_folder):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
        path = Path(f"/dev/fd/{process.stdout.fileno()}")
        with pytest.raises(HtsatEdgeError) as error:
            AudioFile(path)
    assert str(error.value) == (
        f"{path}: cannot be kept in {own_temporary_folder} until it ends: No space left on device; what has no end is "
        "for `htsat-edge listen --stdin`"
    )
    assert list(own_temporary_folder.iterdir()) == []


@pytest.mark.parametrize(("name", "wrong"), [("/dev/null", "is empty"), ("/dev/zero", "is a device, want a recording")])
def test_a_device_is_no_recording(name, wrong):
    with pytest.raises(HtsatEdgeError, match=rf"^{name}: {wrong}"):
        AudioFile(Path(name))


def test_pipes_are_known(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    kinds = {name: pipe.is_pipe(tmp_path / name) for name in ("file", "fifo", "socket", "absent")}
    assert kinds == {"file": False, "fifo": True, "socket": True, "absent": False}
    assert pipe.is_pipe(Path("-"))
