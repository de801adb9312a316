"""What the page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.daemon.config.web import WebConfig


@dataclass(frozen=True)
class PageSettings:
    """What a page shows, and to whom."""

    web: WebConfig
    store: Path
    clips: Path | None
    """Folder of clips; None: there are none."""
    demo: bool = False

    @property
    def socket(self) -> Path:
        """Where the daemon sends what it hears."""
        return self.web.socket_beside(self.store)
