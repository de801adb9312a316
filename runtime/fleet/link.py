"""Whether a collector reaches its broker, for its page."""

from __future__ import annotations

from htsat_edge.runtime.store.records import Record


class BrokerLink(Record):
    """The connection of a collector to its broker."""

    connected: bool
    since: float
    """When that began, in seconds since 1970: what is known of the devices may be from then."""
