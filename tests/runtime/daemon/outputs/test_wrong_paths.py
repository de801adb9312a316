"""A wrong path in the configuration destroys nothing: what has no mark of ours is refused, or left alone."""

import hashlib
import os
import random
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import ClipsConfig, JsonLinesConfig, StoreConfig
from htsat_edge.runtime.daemon.outputs.clips import Clip, ClipWriter
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile
from htsat_edge.runtime.daemon.outputs.store import StoreOutput
from htsat_edge.runtime.store.database import Database

RNG = random.Random(15)
FOREIGN = {
    "photo.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF" + RNG.randbytes(300_000),
    "no newline": RNG.randbytes(200_000).replace(b"\n", b""),
    "letter.txt": b"Dear Sir or Madam,\nyour dog\n",
    "letter without an end": b"Dear Sir or Madam",
    "other.jsonl": b'{"level": "info", "text": "x"}\n{"level": "warn"}\n',
    "types.jsonl": b'{"type": "FeatureCollection", "features": []}\n',
    "list.json": b'["type", "source"]\n',
    "zeros.img": bytes(100_000),
    "a few zeros": bytes(900),
    "brackets": b"[" * 60_000 + b"\n",
    "nested.json": b'{"type": ' * 60_000 + b"\n",
    "theirs.jsonl": b'{"source": "yard", "type": "start"}\n',
    "letter in the end": b'{"type": "start", "source": "yard"}\nand this was added by hand',
    "one.db": b"SQLite format 3\0" + RNG.randbytes(4000),
}


def snapshot(folder):
    """All that is in a folder: content and time."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def outputs(path):
    return JsonLinesFile(JsonLinesConfig(path=path)), StoreOutput(StoreConfig(path=path))


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("number", [0, 1])
def test_a_file_of_somebody_else_is_refused_untouched(name, number, tmp_path):
    path = tmp_path / name
    path.write_bytes(FOREIGN[name])
    before = snapshot(tmp_path)
    key = ("json_lines", "store")[number]
    with pytest.raises(HtsatEdgeError, match=f"^outputs.{key}.path: .*{name}.* give another path$"):
        outputs(path)[number].start()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("old", [1, 3])
def test_an_old_file_that_rotation_would_delete_is_refused(old, tmp_path):
    (tmp_path / f"events.jsonl.{old}").write_bytes(FOREIGN["letter.txt"])
    before = snapshot(tmp_path)
    with pytest.raises(
        HtsatEdgeError, match=rf"events.jsonl.{old}: was not written by htsat-edge, and is left as it is"
    ):
        JsonLinesFile(JsonLinesConfig(path=tmp_path / "events.jsonl", keep=3)).start()
    assert snapshot(tmp_path) == before


@pytest.mark.usefixtures("short_pauses")
def test_what_takes_the_place_of_a_file_later_is_not_written_to(tmp_path, make_events, wait_for):
    """Neither is it rotated away."""
    path = tmp_path / "events.jsonl"
    output = JsonLinesFile(JsonLinesConfig(path=path, rotate_mb=0.001, keep=1))
    output.start()
    for _ in range(2):
        for name, content in (("events.jsonl", FOREIGN["letter.txt"]), ("events.jsonl.1", FOREIGN["photo.jpg"])):
            (tmp_path / name).write_bytes(content)
        before, failures = snapshot(tmp_path), output.failures
        output.offer(*make_events(1))
        wait_for(lambda failures=failures: output.failures > failures)
        assert snapshot(tmp_path) == before
        for file in tmp_path.iterdir():
            file.unlink()
        wait_for(lambda: output.waiting == 0 and output.sent > 0)
    output.close()
    assert output.dropped == 0


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE events (id INTEGER PRIMARY KEY, stored_at REAL)", "INSERT INTO events VALUES (1, 0)"],
        ["CREATE TABLE events (id, session, source, number, label, stored_at)", "PRAGMA user_version = 1"],
        ["PRAGMA application_id = 1234", "PRAGMA user_version = 0", "VACUUM"],
        ["CREATE VIEW events AS SELECT 1"],
        ["PRAGMA journal_mode = WAL", "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')"],
    ],
)
def test_the_database_of_another_program_is_refused_untouched(statements, tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    before = snapshot(tmp_path)
    with pytest.raises(HtsatEdgeError, match=r"theirs.db: was not written by htsat-edge, and is left as it is; give"):
        StoreOutput(StoreConfig(path=path)).start()
    assert snapshot(tmp_path) == before


def test_a_log_of_another_program_that_was_not_yet_written_back_stays(tmp_path):
    """Whoever opens such a database in the usual way, and closes it, writes it back."""
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE notes (text)")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO notes VALUES ('mine')")
        for suffix in ("", "-wal"):
            (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"theirs.db{suffix}").read_bytes())
    before = snapshot(tmp_path)
    with pytest.raises(HtsatEdgeError, match="was not written by htsat-edge"):
        StoreOutput(StoreConfig(path=tmp_path / "copy.db")).start()
    assert snapshot(tmp_path) == before


def test_what_is_ours_is_taken(tmp_path, make_events):
    """Whole, new and empty, or only begun when the power was cut."""
    (event,) = make_events(1)
    for content in (b"", b"{", event.encoded.encode()[:50] + bytes(900), event.encoded.encode() + b"\n{\0\0\0"):
        (tmp_path / "events.jsonl").write_bytes(content)
        output = JsonLinesFile(JsonLinesConfig(path=tmp_path / "events.jsonl"))
        output.start()
        output.close()
        whole = event.encoded + "\n" if b"\n" in content else ""
        assert (tmp_path / "events.jsonl").read_text() == whole
    (tmp_path / "empty.db").touch()
    Database(tmp_path / "ours.db").close()
    for name in ("empty.db", "ours.db"):
        output = StoreOutput(StoreConfig(path=tmp_path / name))
        output.start()
        output.close()


def test_only_the_end_of_a_file_is_read_at_the_start(tmp_path, make_events, monkeypatch):
    path, line = tmp_path / "events.jsonl", make_events(1)[0].encoded + "\n"
    with path.open("w") as file:
        file.write(line)
        file.truncate(1 << 36)  # 69 GB, of which the disk holds nothing
        file.seek((1 << 36) - 2 * len(line))
        file.write(f"\n{line}{line[:20]}")
    output = JsonLinesFile(JsonLinesConfig(path=path, rotate_mb=1e9))
    output.start()
    output.close()
    with path.open("rb") as file:
        file.seek(-len(line), os.SEEK_END)
        assert file.read().decode() == line


# Clips


@pytest.mark.parametrize("tag", [None, "another program"])
def test_music_beside_clips_is_never_deleted_whatever_the_quota(tag, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    names = [
        "01_Beatles_Help.flac",
        "20200101T120000_site-1_rec.wav",
        "0000001.50_a_b.flac",
        "0000001.50_yard_Dog.flac",
    ]
    for name in names:
        with soundfile.SoundFile(tmp_path / name, "w", 16_000, 1, "PCM_16") as file:
            if tag:
                file.software = tag
            file.write(noise)
        os.utime(tmp_path / name, (1000, 1000))
    for name, content in ((".debian.iso.part", b"iso"), (".0000009.50_yard_Dog.flac.part", b"theirs")):
        (tmp_path / name).write_bytes(content)
    before = snapshot(tmp_path)
    writer = ClipWriter(ClipsConfig(folder=tmp_path, format="wav", quota_mb=0.07))
    writer.start()
    for number in range(4):
        writer.put(Clip(f"000000{number}.50_yard_Dog", noise, 16_000))
    writer.close()
    assert (writer.sent, writer.dropped) == (4, 0)
    after = snapshot(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert after.keys() - before.keys() == {"0000002.50_yard_Dog.wav", "0000003.50_yard_Dog.wav"}


def test_a_clip_that_was_renamed_is_kept(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    writer = ClipWriter(ClipsConfig(folder=tmp_path, format="wav", quota_mb=0.04))
    writer.start()
    writer.put(Clip("0000001.50_yard_Dog", noise, 16_000))
    writer.close()
    (tmp_path / "0000001.50_yard_Dog.wav").rename(tmp_path / "the best bark.wav")
    again = ClipWriter(ClipsConfig(folder=tmp_path, format="wav", quota_mb=0.04))
    again.start()
    for number in (2, 3):
        again.put(Clip(f"000000{number}.50_yard_Dog", noise, 16_000))
    again.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000003.50_yard_Dog.wav", "the best bark.wav"]
