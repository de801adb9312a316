"""End programs at Ctrl-C: quietly, with status 130, at any moment, also while they import."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

INTERRUPTED = 130
"""The exit status, by the custom of shells: 128 + SIGINT."""


def end_at_interrupt() -> None:
    """End this process at once at Ctrl-C: for programs that have no work yet which must be cleaned up.

    While a program imports, an exception would come out as a traceback; libraries written in C turn it into another
    one, or into none. Where Ctrl-C is ignored, as in a job of `nohup`, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def noting_interrupts() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt at Ctrl-C in a `with` block, and note it in the list that the block gets.

    Whatever comes out of the block afterwards has come of the interrupt: libraries turn it into errors of their own.
    """
    noted: list[int] = []

    def note(number: int, _: Any) -> NoReturn:
        noted.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before not in (signal.default_int_handler, _end) or threading.current_thread() is not threading.main_thread():
        yield noted
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ignoring_hangups() -> Iterator[None]:
    """Ignore SIGHUP in a `with` block: for programs that handle it once they have begun."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _end(*_: Any) -> NoReturn:
    os._exit(INTERRUPTED)
