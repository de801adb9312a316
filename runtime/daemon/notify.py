"""Report the daemon's state to systemd (sd_notify): a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Reports to systemd; does nothing where there is none that wants it."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._watchdog_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        self._alive_at = 0.0

    def report(self, **state: str) -> None:
        """Report a state such as READY="1"."""
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
        """Report that the program still works; call it often, it reports as often as the watchdog needs."""
        if self._watchdog_s and time.monotonic() - self._alive_at > self._watchdog_s / 3:
            self._alive_at = time.monotonic()
            self.report(WATCHDOG="1")
