"""The page."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from htsat_edge.runtime.daemon.config.section import Port, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=253)]


class WebConfig(Section):
    """A page that shows what is heard, what was heard, and why something was not reported."""

    host: Name | Annotated[str, Field(pattern=r"^[0-9A-Fa-f:.]+$")] = "127.0.0.1"
    """Address to listen on; any other than this device's own needs a password."""
    port: Port = 8480
    password_file: Path | None = None
    """Written by `htsat-edge web --set-password FILE`; it holds a hash, not the password."""
    names: list[Name] = []
    """Other names by which browsers ask for this device, such as that of a proxy in front; they need a password."""
    socket: Path | None = None
    """Unix socket by which the daemon sends what it hears to the page; null: beside the store, PATH.live."""
    start: bool = True
    """Start the page with the daemon, in a process of its own; else start it with `htsat-edge web`."""

    @property
    def is_local(self) -> bool:
        """Whether only programs on this device can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def socket_beside(self, store: Path) -> Path:
        """Return where the live socket is, of a daemon with this store."""
        return self.socket or Path(f"{store}.live")

    @model_validator(mode="after")
    def _safe(self) -> WebConfig:
        if self.password_file is None and not (self.is_local and not self.names):
            where = f"names: {', '.join(self.names)}" if self.is_local else f"host: {self.host}"
            raise ValueError(
                f"{where}: is not this device alone: a password is needed; "
                "write one with `htsat-edge web --set-password FILE`, and give FILE as `password_file`"
            )
        return self
