"""Clips in their folder: within its quota, and without touching what is not ours."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import begin_part
from htsat_edge.runtime.daemon.config import ClipsConfig
from htsat_edge.runtime.daemon.outputs.clips import Clip, ClipWriter
from htsat_edge.runtime.daemon.outputs.sender import RefusedError
from htsat_edge.runtime.store.writes import SavedClip


def write(folder, names, seconds=1, **settings):
    """Write clips of noise, one a name, each a second later than the last."""
    writer = ClipWriter(ClipsConfig(folder=folder, **settings))
    writer.start()
    for name in names:
        writer.put(Clip(name, np.random.default_rng(0).uniform(-0.5, 0.5, seconds * 16_000).astype(np.float32), 16_000))
    writer.close()
    assert writer.failures == 0
    return writer


@pytest.mark.parametrize("kind", ["flac", "wav"])
def test_a_clip_is_a_file_of_16_bits(kind, tmp_path):
    write(tmp_path / "state" / "clips", ["20261126T180001_yard_Dog"], format=kind)
    (path,) = (tmp_path / "state" / "clips").iterdir()
    assert path.name == f"20261126T180001_yard_Dog.{kind}"
    samples, rate = soundfile.read(path, dtype="float32")
    assert (rate, soundfile.info(path).subtype) == (16_000, "PCM_16")
    np.testing.assert_allclose(samples, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), atol=1e-4)


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    for _ in range(3):
        write(tmp_path, ["0000001.50_yard_Dog"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000001.50_yard_Dog.flac",
        "0000001.50_yard_Dog_2.flac",
        "0000001.50_yard_Dog_3.flac",
    ]


def test_the_oldest_clips_go_where_the_quota_is_full_and_no_other_file(tmp_path):
    """A clip of a second is 32 kB; three fit into 100 kB."""
    (tmp_path / "notes.txt").write_text("x" * 200_000)
    for number in range(5):  # by name, the last is the oldest
        write(tmp_path, [f"2026112{9 - number}T180001_yard_Dog"], format="wav", quota_mb=0.1)
        os.utime(tmp_path / f"2026112{9 - number}T180001_yard_Dog.wav", (1.78e9 + number, 1.78e9 + number))
    left = sorted(path.name for path in tmp_path.glob("*.wav"))
    assert left == [f"2026112{number}T180001_yard_Dog.wav" for number in (5, 6, 7)]
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("wrong", [30.0, 4e9])
def test_a_clock_that_is_set_does_not_change_which_clips_are_the_oldest(wrong, tmp_path, monkeypatch):
    """Of this run by their order; of an earlier run, those of a wrong clock count as just written."""
    settings = {"format": "wav", "quota_mb": 0.1}
    names = ["20260101T000000_yard_Old", "19700101T000025_yard_Dog"]
    write(tmp_path, names, **settings)
    for name, at in zip(names, (1.77e9, wrong), strict=True):
        os.utime(tmp_path / f"{name}.wav", (at, at))
    writer = ClipWriter(ClipsConfig(folder=tmp_path, **settings))
    link = os.link
    for number in (1, 2):

        def wrongly_timed(part, target, number=number, **options):
            os.utime(part, (wrong - number, wrong - number))
            link(part, target, **options)

        monkeypatch.setattr(os, "link", wrongly_timed)
        writer.send([Clip(f"19700101T00005{number}_yard_New", np.zeros(16_000, np.float32), 16_000)])
        writer.sent += 1
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"19700101T000025_yard_Dog.wav", "19700101T000051_yard_New.wav", "19700101T000052_yard_New.wav"}
    writer.send([Clip("19700101T000053_yard_New", np.zeros(16_000, np.float32), 16_000)])
    assert "19700101T000025_yard_Dog.wav" not in {path.name for path in tmp_path.iterdir()}


def test_a_clip_that_a_power_cut_has_torn_is_deleted(tmp_path):
    part, _ = begin_part(tmp_path / "0000001.50_yard_Dog.flac")
    part.write_text("torn")
    write(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_is_larger_than_the_quota_is_lost_and_none_is_deleted_for_it(tmp_path):
    write(tmp_path, ["20261126T180001_yard_Dog"], format="wav", quota_mb=0.1)
    writer = write(tmp_path, ["20261126T180009_yard_Dog"], seconds=4, format="wav", quota_mb=0.1)
    assert (writer.sent, writer.dropped) == (0, 1)
    assert list(writer.notices()) == ["a clip of 0.1 MB is larger than quota_mb; what is refused is lost"]
    assert [path.name for path in tmp_path.iterdir()] == ["20261126T180001_yard_Dog.wav"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_the_umask_is_obeyed(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write(tmp_path, ["20261126T180001_yard_Dog"])
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_clip_that_goes_while_the_folder_is_looked_at_is_no_failure(tmp_path, monkeypatch):
    """Nor is anything forgotten of it where the folder cannot be read."""
    names = [f"20260101T00000{number}_yard_Dog" for number in range(3)]
    writer = write(tmp_path, names, format="wav", quota_mb=0.15)
    lstat, order = Path.lstat, dict(writer._written)

    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "lstat", fail)
    with pytest.raises(OSError, match="Input/output"):
        writer.send([Clip("20260101T000009_yard_Dog", np.zeros(16_000, np.float32), 16_000)])
    assert writer._written == order

    def vanish(path):
        if names[0] in path.name:
            path.unlink(missing_ok=True)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", vanish)
    for number in (3, 4):
        writer.send([Clip(f"20260101T00000{number}_yard_Dog", np.zeros(16_000, np.float32), 16_000)])
    left = sorted(path.name[14:15] for path in tmp_path.iterdir())
    assert left == ["1", "2", "3", "4"]


def test_a_clip_that_goes_before_its_time_is_mended_is_no_failure(tmp_path, monkeypatch):
    write(tmp_path, ["19700101T000025_yard_Dog"])
    (path,) = tmp_path.iterdir()
    os.utime(path, (25, 25))
    utime = os.utime

    def late(path, times, **options):
        Path(path).unlink()
        utime(path, times, **options)

    monkeypatch.setattr(os, "utime", late)
    write(tmp_path, ["20260101T000000_yard_Dog"])
    assert [path.name for path in tmp_path.iterdir()] == ["20260101T000000_yard_Dog.flac"]


def test_two_daemons_of_one_folder_never_overwrite_each_others_clips(tmp_path, monkeypatch):
    """The other one writes the same name just after this one has seen that it is free."""
    write(tmp_path / "theirs", ["0000001.50_yard_Dog"], seconds=2)
    (theirs,) = (tmp_path / "theirs").iterdir()
    content, link, folder = theirs.read_bytes(), os.link, tmp_path / "clips"
    lexists = os.path.lexists

    def raced(part, path, **options):
        if theirs.exists():
            theirs.replace(path)
        link(part, path, **options)

    def free(path):
        there = lexists(path)
        if theirs.exists():
            theirs.replace(path)
        return there

    monkeypatch.setattr(os, "link", raced)
    monkeypatch.setattr(os.path, "lexists", free)
    write(folder, ["0000001.50_yard_Dog"])
    assert (folder / "0000001.50_yard_Dog.flac").read_bytes() == content
    assert {path.name for path in folder.iterdir()} == {"0000001.50_yard_Dog.flac", "0000001.50_yard_Dog_2.flac"}


def test_a_part_that_another_daemon_deletes_at_its_start_is_written_again(tmp_path, monkeypatch):
    writer, link, others = ClipWriter(ClipsConfig(folder=tmp_path)), os.link, []

    def after_a_start(part, path, **options):
        if not others:
            others.append(ClipWriter(ClipsConfig(folder=tmp_path)))
            others[0].start()
        link(part, path, **options)

    monkeypatch.setattr(os, "link", after_a_start)
    writer.start()
    writer.put(Clip("0000001.50_yard_Dog", np.zeros(16_000, np.float32), 16_000))
    writer.close()
    others[0].close()
    assert (writer.sent, writer.dropped, writer.failures) == (1, 0, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["0000001.50_yard_Dog.flac"]


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), NotImplementedError()])
def test_a_file_system_without_second_names_takes_clips_too(error, tmp_path, monkeypatch):
    """As that of a memory stick."""

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):
        write(tmp_path, ["0000001.50_yard_Dog"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000001.50_yard_Dog.flac",
        "0000001.50_yard_Dog_2.flac",
    ]


def test_no_link_in_the_folder_is_followed(tmp_path):
    """Nor is one replaced: a clip whose name is taken gets a number."""
    theirs = tmp_path / "theirs.key"
    theirs.write_text("secret")
    theirs.chmod(0o600)
    folder = tmp_path / "clips"
    folder.mkdir()
    names = [".0000001.50_yard_Dog.flac.part", ".probe", "0000001.50_yard_Dog.flac"]
    for name in names:
        (folder / name).symlink_to(theirs)
    before = theirs.stat()
    write(folder, ["0000001.50_yard_Dog"])
    assert theirs.read_text() == "secret"
    assert (theirs.stat().st_mode, theirs.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    made = {path.name for path in folder.iterdir() if not path.is_symlink()}
    assert made == {"0000001.50_yard_Dog_2.flac"}
    assert {path.name for path in folder.iterdir() if path.is_symlink()} == set(names)


def test_a_folder_that_cannot_be_is_an_error_before_anything_begins(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HtsatEdgeError, match=r"outputs.clips.folder: .*file: cannot be written to: "):
        ClipWriter(ClipsConfig(folder=tmp_path / "file")).start()


class Told:
    """What a writer reports, and which clips are locked."""

    def __init__(self):
        self.saved, self.removed, self.locked, self.readable = [], [], set(), True

    def record(self, write):
        (self.saved if isinstance(write, SavedClip) else self.removed).append(write)

    def locked_clips(self):
        if not self.readable:
            raise HtsatEdgeError("the store is locked")
        return self.locked


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def save(told, tmp_path):
    """Writes clips of a second, 32 kB; three fit into the quota."""
    writer = ClipWriter(ClipsConfig(folder=tmp_path, format="wav", quota_mb=0.1), told.record, told.locked_clips)

    def write(number):
        clip = Clip(f"000000{number}.50_yard_Dog", np.zeros(16_000, np.float32), 16_000, "yard", number, 4.5, None)
        writer.send([clip])
        writer.sent += 1

    return write


def names(folder):
    return sorted(int(path.name[6]) for path in folder.glob("*.wav"))


def test_the_store_is_told_which_clips_are_there(save, told, tmp_path):
    for number in (1, 2, 3, 4, 4):
        save(number)
    assert told.saved[0] == SavedClip("yard", 1, "0000001.50_yard_Dog.wav", 4.5, 5.5, None)
    assert told.saved[-1].name == "0000004.50_yard_Dog_2.wav"
    there = {write.name for write in told.saved} - {write.name for write in told.removed}
    assert there == {path.name for path in tmp_path.glob("*.wav")}


def test_a_locked_clip_stays_and_others_go(save, told, tmp_path):
    told.locked = {"0000001.50_yard_Dog.wav", "0000003.50_yard_Dog.wav"}
    for number in range(1, 8):
        save(number)
    assert names(tmp_path) == [1, 3, 7]
    told.locked = set()
    save(8)
    assert names(tmp_path) == [3, 7, 8]


def test_where_all_are_locked_the_new_clip_is_refused_and_the_quota_kept(save, told, tmp_path):
    told.locked = {f"000000{number}.50_yard_Dog.wav" for number in (1, 2, 3)}
    for number in (1, 2, 3):
        save(number)
    with pytest.raises(RefusedError, match="clips that are locked fill quota_mb"):
        save(4)
    assert names(tmp_path) == [1, 2, 3]
    assert told.removed == []


def test_nothing_is_deleted_before_it_was_known_once_what_is_locked(save, told, tmp_path):
    """What fits is written; the rest is tried again."""
    told.locked, told.readable = {"0000001.50_yard_Dog.wav"}, False
    for number in (1, 2, 3):
        save(number)
    with pytest.raises(HtsatEdgeError, match="it must be known which clips are locked: the store is locked"):
        save(4)
    assert names(tmp_path) == [1, 2, 3]
    told.readable = True
    save(4)
    assert names(tmp_path) == [1, 3, 4]


def test_a_store_that_cannot_be_read_does_not_fill_the_disk(save, told, tmp_path):
    told.locked = {"0000001.50_yard_Dog.wav"}
    for number in (1, 2, 3, 4):
        save(number)
    told.readable = False
    for number in (5, 6, 7):
        save(number)
    assert names(tmp_path) == [1, 6, 7]
