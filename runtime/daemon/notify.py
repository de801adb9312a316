"""Telling systemd how it goes (sd_notify): a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Says what systemd wants to know; does nothing where there is no systemd that does."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._watchdog_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        self._petted = 0.0

    def tell(self, **state: str) -> None:
        """Such as READY="1"."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in state.items())
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            try:
                datagrams.sendto(text.encode(), address)
            except OSError:  # systemd will notice by itself
                return

    def alive(self) -> None:
        """The program still works: to be called again and again; passed on as often as the watchdog needs it."""
        if self._watchdog_s and time.monotonic() - self._petted > self._watchdog_s / 3:
            self._petted = time.monotonic()
            self.tell(WATCHDOG="1")
