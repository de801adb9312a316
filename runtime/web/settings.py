"""What the page is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.web import WebConfig
from htsat_edge.runtime.fleet.link import BrokerLink
from htsat_edge.runtime.store.engine import StorePlace


@dataclass(frozen=True)
class PageSettings:
    """What a page shows, and to whom."""

    web: WebConfig
    store: StorePlace
    clips: Path | None
    """Folder of clips; None: there are none."""
    demo: bool = False
    config: DaemonConfig | None = None
    """The daemon's; None: it is not known, so no sound can be enrolled."""
    config_file: Path | None = None
    """Where the daemon has it from, and thresholds are written to; None: that is not known."""

    fleet: bool = False
    """Whether the store is a collector's, with the events of many devices: then there is no daemon beside the page."""
    page_password: Secret | None = None
    """Of the devices' pages, from which clips are fetched; None: they ask for none."""
    page_hosts: Sequence[str] | None = None
    """Patterns of the hosts of these pages; None: any."""
    broker: Callable[[], BrokerLink] | None = None
    """Returns how the collector reaches its broker; None: that is not known."""

    @property
    def socket(self) -> Path | None:
        """Where the daemon sends what it hears; None where there is no daemon."""
        return self.web.socket_beside(self.store) if isinstance(self.store, Path) and not self.fleet else None
