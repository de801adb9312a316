"""Two daemons that hear the same do not both store it."""

import errno
import fcntl
import re

import pytest

from htsat_edge.runtime.common.errors import NotReadyError
from htsat_edge.runtime.daemon.config import StoreConfig
from htsat_edge.runtime.daemon.outputs.store import StoreOutput


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def lock(path):
    return path.with_name("events.db.lock")


@pytest.fixture
def started(path):
    """Return what starts an output, which is closed at the end."""
    outputs = []

    def start():
        output = StoreOutput(StoreConfig(path=path))
        output.start()
        outputs.append(output)
        return output

    yield start
    for output in outputs:
        output.close()


@pytest.mark.parametrize(
    ("pid", "said"), [("31058\n", "process 31058; end that (kill 31058) or"), ("", "another htsat-edge; end")]
)
def test_what_another_process_writes_is_left_to_it_and_it_is_named(pid, said, path, lock, started):
    with lock.open("w+") as file:  # a lock of another descriptor is as one of another process
        file.write(pid)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(NotReadyError, match=rf"^outputs.store.path: {path}: is written by .*{re.escape(said)}"):
            started()
        with pytest.raises(NotReadyError, match=re.escape(said)):
            StoreOutput(StoreConfig(path=path)).check()
    assert not path.exists()
    started()


def test_a_daemon_that_is_loaded_again_goes_on_in_its_store(lock, started):
    """Also where a thread of the one before still writes."""
    before, after = started(), started()
    assert "free" in after.check()
    before.close()
    with lock.open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        after.close()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_file_system_that_knows_no_locks_keeps_nobody_from_listening(path, started, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    started()
    assert path.exists()
