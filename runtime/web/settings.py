"""What the page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.web import WebConfig


@dataclass(frozen=True)
class PageSettings:
    """What a page shows, and to whom."""

    web: WebConfig
    store: Path
    clips: Path | None
    """Folder of clips; None: there are none."""
    demo: bool = False
    config: DaemonConfig | None = None
    """The daemon's; None: it is not known, so no sound can be enrolled."""
    config_file: Path | None = None
    """Where the daemon has it from, and thresholds are written to; None: that is not known."""

    @property
    def socket(self) -> Path:
        """Where the daemon sends what it hears."""
        return self.web.socket_beside(self.store)
