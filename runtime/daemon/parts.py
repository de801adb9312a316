"""What a daemon works with between one configuration and the next, and what of it goes on after that."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig, SourceConfig
from htsat_edge.runtime.daemon.control import Command
from htsat_edge.runtime.daemon.hop import HopControl
from htsat_edge.runtime.daemon.page import Page
from htsat_edge.runtime.daemon.progress import SourceProgress
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Source
from htsat_edge.runtime.daemon.watch import Signature
from htsat_edge.runtime.models.sounds import Sounds


@dataclass
class Carried:
    """What goes on from one daemon to the next: sources, with how far each has come, and the page.

    Sources go on to be recorded meanwhile: what they give waits in their feeds.
    """

    news: threading.Event = field(default_factory=threading.Event)
    """What the feeds of all sources set."""
    sources: dict[str, Source] = field(default_factory=dict)
    """By their names in the configuration."""
    progress: dict[str, SourceProgress] = field(default_factory=dict)
    """By feed."""
    rules: dict[str, Rules] = field(default_factory=dict)
    """By feed, where the next daemon has the same."""
    page: Page | None = None
    paused: set[str] = field(default_factory=set)
    """Feeds that are not listened to, as somebody has asked; they stay so where their source begins anew."""
    commands: SimpleQueue[Command] = field(default_factory=SimpleQueue)
    """What others ask of whichever daemon runs."""
    retained: dict[str, bytes] = field(default_factory=dict)
    """The retained commands that were taken, by topic: what comes again at a connection undoes nothing."""

    def holds(self, source: Source) -> bool:
        """Return whether a source goes on."""
        return any(source is one for one in self.sources.values())

    def clear(self) -> None:
        """Forget all of it, since a daemon has taken it over."""
        self.sources, self.progress, self.rules, self.page, self.paused = {}, {}, {}, None, set()

    def stop(self) -> None:
        """End all of it, since no daemon takes it over."""
        for source in self.sources.values():
            source.stop()
        if self.page is not None:
            self.page.close()
        self.clear()


@dataclass
class Parts:
    """What a daemon works with; a context that releases all of it, but for what is carried on."""

    sources: Sequence[Source]
    sessions: Sequence[SourceSession]
    scorer: Scorer
    publisher: Publisher
    system: SystemClock
    news: threading.Event
    """Set when a source has something to read."""
    opened: ExitStack = field(default_factory=ExitStack)
    """Releases the parts, the last first."""
    hop: HopControl | None = None
    """None where the hop is fixed."""
    config: DaemonConfig = field(default_factory=DaemonConfig)
    """What is in force."""
    named: Mapping[str, Source] = field(default_factory=dict)
    """The sources by their names in the configuration."""
    carried: Carried = field(default_factory=Carried)
    """What a daemon before has left, until `run` has taken it over; then what this one leaves."""
    page: Page | None = None
    sounds: Sounds | None = None
    """Those that were enrolled on this device."""
    sounds_seen: Signature = ()
    """What their folder was like before they were read."""

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.opened.close()

    @property
    def commands(self) -> SimpleQueue[Command]:
        """What others ask of the daemon; set `news` when one is put there."""
        return self.carried.commands

    def carry_on(self, wanted: DaemonConfig, lost_too: bool) -> None:
        """Choose what goes on in a daemon with another configuration: what is the same there.

        Sources that are lost at present begin anew, unless these go on, too.
        """
        new = {source.name: source for source in wanted.sources}
        for old in self.config.sources:
            source = self.named.get(old.name)
            if source is None or old.name not in new or not is_same(old, new[old.name]):
                continue
            if lost_too or not any(feed.lost for feed in source.feeds):
                self.carried.sources[old.name] = source
        feeds = {feed.name for source in self.carried.sources.values() for feed in source.feeds}
        self.carried.paused = {session.feed.name for session in self.sessions if session.paused}
        kept = {session.feed.name: session for session in self.sessions if session.feed.name in feeds}
        self.carried.progress = {name: session.progress for name, session in kept.items()}
        if self.config.rules == wanted.rules:
            self.carried.rules = {name: session.rules for name, session in kept.items()}
        if self.config.with_thresholds_of(wanted) == wanted:
            self.carried.page = self.page


def is_same(old: SourceConfig, new: SourceConfig) -> bool:
    """Return whether a source is heard in the same way with another configuration, whatever is made of it."""
    return old.model_copy(update={"detection": new.detection, "level": new.level}) == new
