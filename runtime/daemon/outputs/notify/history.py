"""What was heard before an event, as the rules of notifications ask for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.store.problems import StoreError
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, StoredEvent

logger = logging.getLogger(__name__)


class EventHistory:
    """The store's events; none where they cannot be read: a notification too many is better than none."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the database at a path; None: nothing was heard."""
        self._path, self._warnings = path, RepeatedWarnings(logger)

    def find(self, wanted: EventFilter, most: int) -> Sequence[StoredEvent]:
        """Return the newest of the events that a filter lets through, at most so many."""
        if self._path is None:
            return ()
        try:
            with StoreReader(self._path) as reader:
                return reader.events(wanted, most).events
        except StoreError as error:
            self._warnings.warn("unread", f"notify: {error}; rules take it that nothing was heard before")
            return ()
