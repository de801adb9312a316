"""Files that change are noticed without a signal, once they have settled."""

import logging
import os

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig, DetectionConfig
from htsat_edge.runtime.daemon.watch import ChangeDetector, FileWatch, sign, sign_sounds


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text("0.1")
    return path


def put(path, text):
    """Write a file in one move: what is half written is an error of its own."""
    part = path.with_name("part")
    part.write_text(text)
    part.replace(path)


@pytest.fixture
def watching(path, wait_for):
    """Watches the file, whose whole content is a threshold."""
    running = []

    class Watching:
        def __init__(self, config_file=path, **more):
            self.reads = 0
            self.watch = FileWatch(self._read, config_file, look_s=0.01, **more)
            self.watch.start()
            running.append(self.watch)

        def _read(self):
            self.reads += 1
            text = path.read_text()
            if text == "broken":
                raise HtsatEdgeError(f"{path}: is broken")
            return DaemonConfig(detection=DetectionConfig(threshold=float(text)))

        def next(self):
            """The threshold that is noticed next."""
            found = []
            wait_for(lambda: found.append(self.watch.take_config()) or found[-1] is not None, 20)
            return found[-1].detection.threshold

    yield Watching
    for watch in running:
        watch.close()


def test_a_file_is_read_at_first_and_whenever_it_has_changed(watching, path):
    one = watching()
    assert one.next() == 0.1  # it may have changed before it was watched
    put(path, "0.2")
    assert one.next() == 0.2
    assert one.watch.take_config() is None
    os.utime(path, (1e9, 1e9))
    assert one.next() == 0.2
    assert one.reads == 3


def test_a_file_that_is_replaced_is_seen_also_by_way_of_a_link(watching, path, tmp_path):
    """As editors do, and Kubernetes, which changes a link to the folder."""
    for name, content in (("a", "0.3"), ("b", "0.4")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(content)
    path.unlink()
    (tmp_path / "now").symlink_to("a")
    path.symlink_to("now/file")
    one = watching()
    assert one.next() == 0.3
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").replace(tmp_path / "now")
    assert one.next() == 0.4


def test_a_file_that_is_gone_or_broken_is_logged_once_and_read_when_it_is_back(watching, path, wait_for, caplog):
    one = watching()
    assert one.next() == 0.1
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            put(path, "broken")
            reads = one.reads
            wait_for(lambda reads=reads: one.reads > reads, 20)
        put(path, "0.5")
        assert one.next() == 0.5
    assert [record.message for record in caplog.records] == [
        f"{path}: is broken; the configuration in force stays",
    ]
    path.unlink()
    put(path, "0.6")
    assert one.next() == 0.6


def test_a_change_counts_once_it_has_settled():
    changes = ChangeDetector((1,))
    assert [changes.changed(one) for one in [(1,), (2,), (3,), (3,), (3,), (2,), (3,), (3,)]] == [
        *[False] * 3,
        True,
        *[False] * 4,
    ]
    changes.forget()
    assert changes.changed((3,))


def test_nothing_is_watched_where_there_is_nothing(watching):
    one = watching(None)
    assert not one.watch._thread.is_alive()
    assert (one.watch.take_config(), one.watch.take_sounds(), one.reads) == (None, False, 0)


def test_sounds_that_were_added_since_they_were_read_or_change_later(watching, tmp_path, wait_for):
    folder = tmp_path / "sounds"
    before = sign_sounds(folder)
    assert before == ()
    folder.mkdir()
    (folder / "doorbell.npz").write_text("is no json")
    assert sign_sounds(folder) == before
    (folder / "doorbell.json").write_text("{}")
    one = watching(None, sounds=folder, sounds_seen=before)
    wait_for(one.watch.take_sounds, 20)
    assert not one.watch.take_sounds()
    (folder / "doorbell.json").unlink()
    wait_for(one.watch.take_sounds, 20)
    assert one.reads == 0


def test_the_signature_of_what_cannot_be_read(tmp_path):
    assert sign(tmp_path / "absent") == (2,)
    assert sign_sounds(tmp_path / "absent") == ()
