import os

import pytest

from htsat_edge.runtime.common import folders
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.folders import try_file, try_folder

needs_no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def test_a_folder_that_is_to_be_made_is_tried_where_it_will_be(tmp_path):
    assert try_folder(tmp_path / "a" / "b").startswith(f"{tmp_path}/a/b: ")
    assert try_file(tmp_path / "a" / "b").startswith(f"{tmp_path}/a: ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(HtsatEdgeError, match="/a: is no folder"):
        try_folder(tmp_path / "a" / "b")
    try_file(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"
    with pytest.raises(HtsatEdgeError, match=r"cannot be written to by .*: Is a directory"):
        try_file(tmp_path)


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "FREE_MB", 1e9)
    with pytest.raises(HtsatEdgeError, match="MB are free, want"):
        try_folder(tmp_path)


def test_a_system_that_nobody_may_write_to():
    with pytest.raises(HtsatEdgeError, match="/proc: cannot be written to by "):
        try_folder(folders.Path("/proc/a/b"))


@needs_no_root
def test_a_folder_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(HtsatEdgeError, match=r"cannot be written to by .*: Permission denied"):
        try_folder(tmp_path / "a")
