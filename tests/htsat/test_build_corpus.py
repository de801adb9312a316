"""The real apt-get and dpkg-deb, on a repository of one package that lies in a folder."""

import csv
import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.htsat.build_corpus import COLUMNS, MANIFEST, cut, main
from htsat_edge.htsat.corpus import read_corpora
from htsat_edge.runtime.common.config import read_csv

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get, of Debian or Ubuntu")

RATE = 22050
DEMO = Path(__file__).parent.parent / "data" / "recordings" / "farmyard.csv"
CONTROL = """Package: sounds
Version: 1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: sounds
"""


def noise(seconds, seed=0):
    return (0.3 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).clip(-1, 1).astype(np.float32)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A package with two recordings, one of them in an archive, and an apt that knows of nothing else."""
    tree = tmp_path / "tree"
    share = tree / "usr" / "share" / "sounds"
    share.mkdir(parents=True)
    soundfile.write(share / "rain.wav", noise(3), RATE)
    soundfile.write(tmp_path / "dog.ogg", noise(1, 1), RATE)
    with zipfile.ZipFile(share / "base.pk3", "w") as archive:
        archive.write(tmp_path / "dog.ogg", "sfx/dog.ogg")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    repo = tmp_path / "repo"
    repo.mkdir()
    deb = repo / "sounds_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, deb], check=True, capture_output=True)
    sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
    entry = f"{CONTROL}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256}\n"
    (repo / "Packages").write_text(entry)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repo} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list"; Dir::Etc::sourceparts "-";\n'
        f'Dir::State "{tmp_path}/state"; Dir::Cache "{tmp_path}/cache"; APT::Sandbox::User "root";\n'
        f'Dir::State::status "{tmp_path}/status";\n'
    )
    (tmp_path / "status").touch()
    (tmp_path / "state" / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "cache" / "archives" / "partial").mkdir(parents=True)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)
    return tmp_path


def row(file, path, label, offset, package="sounds", split="train"):
    return {
        "file": file,
        "package": package,
        "path": path,
        "class": label,
        "onset": "0.5",
        "offset": str(offset),
        "group": label,
        "split": split,
    }


def write_manifest(folder, rows):
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


RAIN = row("Rain/a.flac", "usr/share/sounds/rain.wav", "Rain", 2.5)
DOG = row("Dog/b.flac", "usr/share/sounds/base.pk3!sfx/dog.ogg", "Dog", 1, split="val")


def build(folder, rows):
    return main(["--manifest", str(write_manifest(folder, rows)), "--out", str(folder / "out")])


def test_recordings_are_cut_from_a_package(repository, capsys):
    assert build(repository, [RAIN, DOG]) == 0
    rain, dog = read_corpora([repository / "out"])
    assert (rain.label, rain.split, dog.label, dog.split) == ("Rain", "train", "Dog", "val")
    samples, rate = soundfile.read(rain.path)
    assert rate == 32000
    assert len(samples) == pytest.approx(2 * 32000, abs=3)
    assert np.abs(samples).max() == pytest.approx(0.9, abs=1e-3)
    assert "2 recordings in" in capsys.readouterr().out
    assert {path.name for path in (repository / "out").iterdir()} == {"Rain", "Dog", "manifest.csv", "missing.csv"}


def test_what_is_there_is_not_fetched_again(repository):
    build(repository, [RAIN, DOG])
    before = (repository / "out" / RAIN["file"]).stat().st_mtime_ns
    (repository / "out" / DOG["file"]).unlink()
    assert build(repository, [RAIN, DOG]) == 0
    assert (repository / "out" / RAIN["file"]).stat().st_mtime_ns == before
    assert (repository / "out" / DOG["file"]).exists()
    (repository / "repo" / "sounds_1_all.deb").unlink()
    assert build(repository, [RAIN, DOG]) == 0


def test_what_is_missing_is_listed_and_the_rest_is_there(repository, capsys):
    lost = [
        row("Dog/c.flac", "usr/share/sounds/absent.wav", "Dog", 1),
        row("Dog/d.flac", "usr/share/sounds/base.pk3!sfx/cat.ogg", "Dog", 1),
        row("Dog/e.flac", "usr/share/sounds/rain.wav", "Dog", 9),
        row("Dog/f.flac", "usr/share/sounds/rain.wav", "Dog", 1, package="no-such-package"),
    ]
    assert build(repository, [RAIN, DOG, *lost]) == 0
    captured = capsys.readouterr()
    assert "2 recordings in" in captured.out
    assert "4 are missing" in captured.err
    assert len(captured.err.splitlines()) == 1
    with (repository / "out" / "missing.csv").open() as file:
        reasons = {found["file"]: found["reason"] for found in csv.DictReader(file)}
    assert list(reasons) == ["Dog/f.flac", "Dog/c.flac", "Dog/d.flac", "Dog/e.flac"]
    assert "Unable to locate package no-such-package" in reasons["Dog/f.flac"]
    assert "the package has no usr/share/sounds/absent.wav" in reasons["Dog/c.flac"]
    assert "cat.ogg" in reasons["Dog/d.flac"]
    assert "lasts 3.000 s, want 9: it is another recording" in reasons["Dog/e.flac"]
    assert len(read_corpora([repository / "out"])) == 2


def test_a_damaged_package_is_listed(repository):
    deb = repository / "repo" / "sounds_1_all.deb"
    deb.write_bytes(deb.read_bytes()[:-200] + bytes(200))
    assert build(repository, [RAIN]) == 0
    assert "package cannot be downloaded or read" in (repository / "out" / "missing.csv").read_text()


def test_cutting_fades_the_ends_and_removes_an_offset():
    samples = cut(noise(2) + 0.4, RATE, 0.5, 1.5)
    assert abs(samples.mean()) < 1e-2
    assert np.abs(samples[:3]).max() < 0.1
    assert np.abs(samples[-3:]).max() < 0.1
    with pytest.raises(ValueError, match="is silent"):
        cut(np.full(RATE, 0.3, np.float32), RATE, 0, 1)


def test_without_apt_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.strip().endswith("needs apt-get: run it on Debian or Ubuntu")


def test_no_recording_is_learned_from_and_held():
    """Packages hold copies of one file: one to learn from and one to measure on would be the same sound."""
    held = {}
    for row in read_csv(MANIFEST, COLUMNS):
        same = (row["package"], Path(row["path"]).name, row["onset"], row["offset"])
        assert held.setdefault(same, row["split"] != "train") == (row["split"] != "train")


def test_the_demo_is_never_learned_from():
    """It shows what the model does with sounds that it has not learned from."""
    demo = {row["path"] for row in read_csv(DEMO, ["path"])}
    splits = [row["split"] for row in read_csv(MANIFEST, COLUMNS) if row["path"] in demo]
    assert splits == ["val"] * len(demo)


def test_the_shipped_manifest_is_whole():
    """Each group is held or not; no two recordings are in one place; a licence and a holder for each."""
    rows = read_csv(MANIFEST, [*COLUMNS, "version", "licence", "attribution"])
    assert len(rows) == len({found["file"] for found in rows})
    splits = {}
    for found in rows:
        held = found["split"] != "train"
        assert splits.setdefault(found["group"], held) == held
        assert 0 <= float(found["onset"]) < float(found["offset"])
