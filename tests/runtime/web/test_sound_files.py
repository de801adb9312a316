"""Files of sounds by the page: recordings that are sent, sounds that are taken along; and what is neither."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.web import guard
from htsat_edge.runtime.web.sound_zip import MOST_BYTES
from htsat_edge.runtime.web.uploads import KEPT_S, MOST, Uploads

RATE = 32_000
LABEL = "Our doorbell"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n/private.mp3\n#EXT-X-ENDLIST\n\0\0"
"""That of HLS, which names another file."""


def noise(seconds, kind="WAV", level=0.1):
    content = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, level, round(seconds * RATE))
    soundfile.write(content, samples, RATE, format=kind)
    return content.getvalue()


@pytest.fixture
def library(own_store):
    return Library(own_store.parent / "sounds", load_bundle())


@pytest.fixture
def add_sound(put_sound, library):
    """Put a sound into the library, without learning it."""
    return lambda: put_sound(library, LABEL, np.ones(256, np.float32), -1.0)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "ring.wav: is empty"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "ring.wav: is text, want a recording"),
        (PLAYLIST, "ring.wav: is no recording that can be read: Format not recognised"),
        (b"RIFF\0\0\0\0WAVE", "ring.wav: "),
        (np.random.default_rng(0).bytes(5000), "ring.wav: "),
        (noise(1, level=0), "ring.wav: is silent"),
        (noise(0.05), "ring.wav: is 0.05 s long"),
        (noise(31), "ring.wav: is longer than 30 s"),
    ],
)
def test_what_is_no_recording_of_a_sound(home, content, detail):
    answer = home.ask("POST", "/api/sounds/uploads?filename=ring.wav", content)
    assert answer.status == 400
    assert answer.json["detail"].startswith(detail)
    assert "/tmp" not in answer.json["detail"]
    assert "\n" not in answer.json["detail"]


def test_a_sound_is_taken_to_another_device(home, add_sound, library, own_store, serve, tmp_path):
    sound = add_sound()
    archive = home.get("sounds/our-doorbell/export")
    assert (archive.status, archive.headers["content-type"]) == (200, "application/zip")
    other = tmp_path / "other.yaml"
    other.write_text(f"model: {{sounds: {tmp_path / 'other'}}}\noutputs: {{store: {{path: {own_store}}}}}\n")
    page = serve(own_store, other)
    done = page.ask("POST", "/api/sounds/import", archive.content, Content_Type="application/zip")
    assert (done.status, done.json["label"], done.json["recordings"]) == (200, LABEL, 3)
    (there,) = load_model(sounds=tmp_path / "other").sounds.usable
    assert there.info.report == sound.info.report
    assert np.array_equal(there.weight, sound.weight)
    again = page.ask("POST", "/api/sounds/import", archive.content)
    assert (again.status, "enrolled already" in again.json["detail"]) == (400, True)


def test_zips_that_hold_no_sound(home, add_sound, library):
    """Whatever is in it, one line, and nothing is written outside."""
    add_sound()
    whole = home.get("sounds/our-doorbell/export").content
    home.ask("DELETE", "/api/sounds/our-doorbell")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    json_name, flac = "our-doorbell.json", next(name for name in files if name.endswith(".flac"))
    foreign = json.dumps({**json.loads(files[json_name]), "graph_sha256": "0" * 64})
    head = io.BytesIO()
    np.savez_compressed(head, weight=np.zeros(2_000_000, np.float32), bias=0.0)
    quiet = noise(700, "FLAC", level=0)
    for wrong, reason in (
        ({"../evil.json": b"{}"}, "something else"),
        ({"/tmp/evil.json": b"{}"}, "something else"),
        ({"our-doorbell/../../evil-0123456789ab.flac": b""}, "something else"),
        ({"other.json": b"{}"}, "something else"),
        ({"x" * 100: b""}, "something else"),
        ({f"our-doorbell/positive-{k:012x}.flac": b"" for k in range(1001)}, "more than a sound does"),
        ({f"our-doorbell/positive-{k:012x}.flac": bytes(10**7) for k in range(21)}, "more than a sound does"),
        ({json_name: b"{"}, "is not JSON"),
        ({json_name: foreign}, "another graph"),
        ({"our-doorbell.npz": b"PK"}, "the ZIP cannot be read"),
        ({"our-doorbell.npz": head.getvalue()}, "is too large"),
        ({flac: files[flac][:-100]}, ""),
        ({flac: quiet}, "is no recording of a sound's"),
    ):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in {**files, **wrong}.items():
                archive.writestr(name, text)
        answer = home.ask("POST", "/api/sounds/import", content.getvalue())
        assert (answer.status, reason in answer.json["detail"]) == (400, True), (wrong.keys(), answer.json)
        assert "/tmp/tmp" not in answer.json["detail"]
    for content in (b"", b"PK", whole[:-30], whole[: len(whole) // 2], os.urandom(1000)):
        assert home.ask("POST", "/api/sounds/import", content).status == 400
    assert home.get("sounds").json["sounds"] == []
    assert [path.name for path in library.folder.iterdir()] == [".lock"]


def test_uploads_are_few_and_do_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "htsat-edge-uploads-killed"
    left.mkdir()
    os.utime(left, (1, 1))
    uploads = Uploads()

    def add(name):
        token, path = uploads.begin(name)
        path.write_bytes(noise(1, "FLAC"))
        try:
            return uploads.keep(token, name, RATE).id
        finally:
            uploads.end(token)

    tokens = [add(f"{k}.flac") for k in range(MOST)]
    (folder,) = tmp_path.iterdir()  # that of a page which was killed is gone
    assert len([*folder.iterdir()]) == MOST
    with pytest.raises(Exception, match="50 recordings wait already"):
        add("more.flac")
    assert uploads.remove(tokens[:2]) == 2
    coming, path = uploads.begin("x.mp3")
    assert path.suffix == ".mp3"
    uploads.end(coming)
    monkeypatch.setattr("htsat_edge.runtime.web.uploads.KEPT_S", -KEPT_S)
    uploads.expire()
    assert [*folder.iterdir()] == []
    uploads.close()
    assert [*tmp_path.iterdir()] == []


def test_files_that_are_too_long_or_too_slow(home, monkeypatch):
    answer = home.ask("POST", "/api/sounds/uploads", b"", Content_Length=str(20_000_001))
    assert (answer.status, answer.json) == (413, {"detail": "the body is longer than 20000000 bytes"})
    answer = home.ask("POST", "/api/sounds/import", b"", Content_Length=str(MOST_BYTES + 1))
    assert (answer.status, answer.json["detail"]) == (413, f"the body is longer than {MOST_BYTES} bytes")
    monkeypatch.setattr("htsat_edge.runtime.web.guard.MOST_FILE", dict.fromkeys(guard.MOST_FILE, 100_000))
    with home.connect() as connection:  # its length is not said before
        head = "POST /api/sounds/uploads HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(2 * (b"10000\r\n" + b"x" * 0x10000 + b"\r\n"))
        assert b" 413 " in connection.recv(100)
    monkeypatch.setattr("htsat_edge.runtime.web.guard.FILE_S", 0.2)
    with home.connect() as connection:
        connection.sendall(f"{head}Content-Length: 50000\r\n\r\n".encode() + b"RIFF")
        assert b" 408 " in connection.recv(100)
    assert home.ask("POST", "/api/sounds/import", b"x" * 100_000).json["detail"].startswith("the ZIP cannot be read")
