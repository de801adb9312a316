"""A journal on a real disk that has no room left."""

import os
import subprocess

import pytest

from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import ArchiveFile
from htsat_edge.runtime.common.errors import HtsatEdgeError


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode()}")
    try:
        files = [ArchiveFile(tmp_path / f"{number:05}.wav", 10, 0) for number in range(5000)]
        with Journal.open(disk / "results", {"hop_s": "1.28"}, tmp_path) as journal:
            with pytest.raises(HtsatEdgeError, match="the disk is full; what was done is kept"):
                journal.add_found(files)
            todo = len(list(journal.todo()))
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        with Journal.open(disk / "results", {"hop_s": "1.28"}, tmp_path) as journal:
            assert 0 < len(list(journal.todo())) == todo < len(files)
            journal.add_found(files)
            assert len(list(journal.todo())) == len(files)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
