"""Notice that the configuration file or the enrolled sounds have changed, without a signal.

A thread looks at them: a file system that hangs must not hold up detection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.supervision import SupervisedThread

LOOK_S = 0.4
"""From one look to the next; what has changed is taken when it is the same at the next look."""
STOP_S = 0.5
"""For the thread to end; one that hangs is left behind."""
Signature = tuple[object, ...]
"""What is another where a file's content is; files are not read for it."""
logger = logging.getLogger(__name__)


def sign(path: Path) -> Signature:
    """Return the signature of a file, or of what a symbolic link leads to; that of none where there is none."""
    try:
        status = path.stat()
    except OSError as error:
        return (error.errno,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def sign_sounds(folder: Path) -> Signature:
    """Return the signature of the sounds in a folder, which needs not exist: the json of each is written last."""
    try:
        return tuple((path.name, *sign(path)) for path in sorted(folder.glob("*.json")))
    except OSError as error:
        return (error.errno,)


class ChangeDetector:
    """Notices changes that have settled: what is only half written is another thing at the next look."""

    def __init__(self, known: Signature | None) -> None:
        """Begin with what is known; None: whatever is there is a change."""
        self._known = self._last = known

    def changed(self, signature: Signature) -> bool:
        """Take what was seen now; return whether it is other than what is known, and was the same at the last look."""
        settled, self._last = signature == self._last, signature
        if not settled or signature == self._known:
            return False
        self._known = signature
        return True

    def forget(self) -> None:
        """Have whatever is there be a change."""
        self._known = None


class FileWatch:
    """Watches the configuration file and the enrolled sounds from a thread of its own."""

    def __init__(
        self,
        read: Callable[[], DaemonConfig],
        config_file: Path | None = None,
        sounds: Path | None = None,
        sounds_seen: Signature = (),
        look_s: float = LOOK_S,
    ) -> None:
        """Prepare to watch.

        Parameters
        ----------
        read
            Reads the configuration.
        config_file
            Where it is; None: it is not watched. At the first look it is read whatever it is like: it may have changed
            since it was read before.
        sounds, sounds_seen
            The folder of the enrolled sounds, and what it was like before they were read; None: it is not watched.
        look_s
            Seconds from one look to the next.
        """
        self._read, self._path, self._folder, self._look_s = read, config_file, sounds, look_s
        self._config_changes, self._sound_changes = ChangeDetector(None), ChangeDetector(sounds_seen)
        self._new: DaemonConfig | None = None
        self._new_sounds = False
        self._error = ""
        """That was logged last."""
        self._stop = threading.Event()
        self._thread = SupervisedThread("watch", self._run, lambda _: None, self._stop)

    def start(self) -> None:
        """Begin to watch, where there is anything to watch."""
        if self._path is not None or self._folder is not None:
            self._thread.start()

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(STOP_S)

    def take_config(self) -> DaemonConfig | None:
        """Return the configuration that was read last, once; None where it has not changed."""
        new, self._new = self._new, None
        return new

    def take_sounds(self) -> bool:
        """Return whether the sounds have changed since the last time."""
        new, self._new_sounds = self._new_sounds, False
        return new

    def _run(self) -> None:
        while not self._stop.wait(self._look_s):
            if self._path is not None:
                self._look_at_config(self._path)
            if self._folder is not None and self._sound_changes.changed(sign_sounds(self._folder)):
                self._new_sounds = True

    def _look_at_config(self, path: Path) -> None:
        before = sign(path)
        if not self._config_changes.changed(before):
            return
        try:
            config = self._read()
        except HtsatEdgeError as error:
            if str(error) != self._error:
                self._error = str(error)
                logger.warning("%s; the configuration in force stays", error)
            return
        if sign(path) != before:  # it was written while it was read
            self._config_changes.forget()
            return
        self._error, self._new = "", config
