"""A service that notifies people: a thread with a bounded queue, and a process of its own for each delivery."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.daemon.config.notify import ServiceConfig
from htsat_edge.runtime.daemon.outputs.sender import Output, RefusedError

if TYPE_CHECKING:
    from htsat_edge.runtime.daemon.outputs.notify.deliver import DeliveryAnswer

QUEUED = 100
"""Notifications that a service may be behind."""
MOST_LATE_S = 600.0
"""A notification that could not be sent for so long is news no more: it is lost, and counted."""
START_S = 30.0
"""For the process to start, on a slow device that is busy."""
NO_CLIP = "its clip is not attached"


@dataclass(frozen=True)
class Notification:
    """What somebody is to read."""

    title: str
    text: str
    made_s: float
    """Monotonic time from which on it gets old."""
    clip: Path | None = None
    """A file to attach."""

    def without_clip(self, reason: str = NO_CLIP) -> Notification:
        """Return the same without its clip, which it says."""
        return replace(self, clip=None, text=f"{self.text}\n({reason})")


class NotificationService(Output[Notification]):
    """Delivers notifications one by one, and again until one is too old; what the service refuses is lost."""

    batch = 1

    def __init__(self, name: str, settings: ServiceConfig) -> None:
        """Prepare to deliver to a service, which `name` stands for in messages: its address is a secret."""
        super().__init__(f"notify {name}", QUEUED)
        self._key, self._settings = f"outputs.notify.services.{name}.url", settings
        self._url = ""

    def start(self) -> None:
        """Begin; raise an HtsatEdgeError where Apprise or the address is missing."""
        self._read_url()
        super().start()

    def check(self) -> str:
        """Reach the service's host, and notify nobody."""
        self._read_url()
        answer = ask(self._url, self._settings.timeout_s, Notification("", "", 0.0), check=True)
        if answer["failure"]:
            raise HtsatEdgeError(f"{self._key}: {answer['failure']}")
        return answer["found"]

    def end(self) -> None:
        """Go on: the notifier, which may decide something still, ends this by `finish`."""

    def finish(self) -> None:
        """Deliver what is queued, if that is quick, and end; without waiting for it."""
        super().end()

    def close(self) -> None:
        """End, and wait for that."""
        self.finish()
        super().close()

    def offer(self, message: Message) -> None:
        """Take no message: the notifier chooses what is worth a notification."""

    def send(self, batch: Sequence[Notification]) -> None:
        """Deliver a notification."""
        (notification,) = batch
        if time.monotonic() - notification.made_s > MOST_LATE_S:
            raise RefusedError(f"could not be reached for {MOST_LATE_S / 60:g} minutes; a notification is too old now")
        if notification.clip is not None and not notification.clip.is_file():  # the quota has taken it
            notification = notification.without_clip()
        try:
            self._notify(notification)
        except RefusedError:
            if notification.clip is None:
                raise
            self._notify(notification.without_clip())  # it may be too large for the service

    def _notify(self, notification: Notification) -> None:
        """Deliver a notification; raise where that has failed."""
        answer = ask(self._url, self._settings.timeout_s, notification)
        if answer["failure"] and answer["refused"]:
            raise RefusedError(answer["failure"])
        if answer["failure"]:
            raise ConnectionError(answer["failure"])

    def _read_url(self) -> None:
        if find_spec("apprise") is None:
            raise HtsatEdgeError('outputs.notify needs Apprise: pip install "htsat-edge[notify]"')
        self._url = self._settings.url.read()


def ask(url: str, timeout_s: float, notification: Notification, check: bool = False) -> DeliveryAnswer:
    """Have a process deliver a notification, or only reach the service; raise a ConnectionError where it cannot say."""
    request = {
        "url": url,
        "timeout_s": timeout_s,
        "check": check,
        "title": notification.title,
        "text": notification.text,
        "clip": None if notification.clip is None else str(notification.clip),
    }
    late = f"has not answered within {timeout_s:g} s"
    try:
        done = subprocess.run(
            command_of("htsat_edge.runtime.daemon.outputs.notify.deliver"),
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may hold secrets
            timeout=START_S + timeout_s,
            start_new_session=True,  # Ctrl-C is the daemon's
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConnectionError(late) from None
    if done.returncode == -signal.SIGALRM:
        raise ConnectionError(late)
    try:
        answer: DeliveryAnswer = json.loads(done.stdout)
    except ValueError:
        raise ConnectionError(f"its process has ended with status {done.returncode}") from None
    return answer
