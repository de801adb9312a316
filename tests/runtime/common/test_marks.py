"""What may be written to; what marks each kind of file has is in tests/runtime/daemon/outputs/test_wrong_paths.py."""

import os

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.marks import refuse_foreign


def never(path):
    raise AssertionError(f"{path} was looked into")


def test_what_is_not_there_or_empty_may_be_written(tmp_path):
    (tmp_path / "empty").touch()
    for name in ("absent", "empty", "no folder/absent"):
        refuse_foreign("key", tmp_path / name, never)


def test_a_file_is_ours_where_it_has_our_mark(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    refuse_foreign("key", path, lambda _: True)
    (tmp_path / "link").symlink_to(path)
    refuse_foreign("key", tmp_path / "link", lambda found: found.read_text() == "x")
    wanted = f"^key: {path}: was not written by htsat-edge, and is left as it is; give another path$"
    with pytest.raises(HtsatEdgeError, match=wanted):
        refuse_foreign("key", path, lambda _: False)


@pytest.mark.parametrize("name", ["pipe", ".", "zero"])
def test_what_is_no_regular_file_is_not_opened(name, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(HtsatEdgeError, match="is no regular file"):
        refuse_foreign("key", tmp_path / name, never)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    def fails(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file").write_text("x")
    with pytest.raises(HtsatEdgeError, match=r"key: .*file: cannot be read: Permission denied"):
        refuse_foreign("key", tmp_path / "file", fails)
