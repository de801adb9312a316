"""What the routes share: the store, the daemon, and who is logged in."""

from __future__ import annotations

from dataclasses import dataclass

from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.web.hub import Hub
from htsat_edge.runtime.web.logins import Logins
from htsat_edge.runtime.web.settings import PageSettings
from htsat_edge.runtime.web.teacher import Teacher
from htsat_edge.runtime.web.uploads import Uploads


@dataclass(frozen=True)
class PageContext:
    """What a page needs to answer."""

    settings: PageSettings
    hub: Hub
    logins: Logins
    uploads: Uploads
    teacher: Teacher

    @property
    def cookie(self) -> str:
        """Name of the cookie of a login; browsers do not keep apart the ports of a host."""
        return f"htsat-edge-{self.settings.web.port}"

    def read(self) -> StoreReader:
        """Return the store, a context."""
        return StoreReader(self.settings.store)
