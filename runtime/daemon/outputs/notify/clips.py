"""Notifications that wait for the clips of their events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from htsat_edge.runtime.daemon.outputs.notify.service import Notification

MOST_CLIPS = 200
"""Clips that are remembered, since an event may be chosen only at its end."""
Key = tuple[str, int]
"""Of an event: its source and id."""


@dataclass(frozen=True)
class AwaitingClip:
    """A notification that waits, and who is to send it."""

    notification: Notification
    services: Sequence[str]
    until_s: float
    """In monotonic time; then it goes without."""


class ClipsAwaited:
    """Joins notifications with the clips of their events, in any order; each comes out once."""

    def __init__(self) -> None:
        """Begin with neither."""
        self._waiting: dict[Key, list[AwaitingClip]] = {}
        self._clips: OrderedDict[Key, Path] = OrderedDict()

    def expect(self, key: Key, awaiting: AwaitingClip) -> list[AwaitingClip]:
        """Take a notification; return it at once where the clip of its event is there."""
        if (clip := self._clips.get(key)) is not None:
            return [_attach(awaiting, clip)]
        self._waiting.setdefault(key, []).append(awaiting)
        return []

    def take(self, key: Key, clip: Path) -> list[AwaitingClip]:
        """Take a clip; return what has waited for it."""
        self._clips[key] = clip
        if len(self._clips) > MOST_CLIPS:
            self._clips.popitem(last=False)
        return [_attach(awaiting, clip) for awaiting in self._waiting.pop(key, ())]

    def hasten(self, key: Key, until_s: float) -> None:
        """Let what waits for the clip of an event that has ended wait no longer than this."""
        if key in self._waiting:
            self._waiting[key] = [replace(one, until_s=min(one.until_s, until_s)) for one in self._waiting[key]]

    def expire(self, now_s: float) -> list[AwaitingClip]:
        """Return what has waited for long enough; it says that it has no clip."""
        late = []
        for key, awaited in [*self._waiting.items()]:
            if over := [one for one in awaited if one.until_s <= now_s]:
                late += [replace(one, notification=one.notification.without_clip()) for one in over]
                awaited[:] = [one for one in awaited if one.until_s > now_s]
            if not awaited:
                del self._waiting[key]
        return late


def _attach(awaiting: AwaitingClip, clip: Path) -> AwaitingClip:
    return replace(awaiting, notification=replace(awaiting.notification, clip=clip))
