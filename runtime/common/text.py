"""Text for a terminal and for a log."""

from __future__ import annotations

import logging

from htsat_edge.runtime.common.urls import without_user


def visible(text: str) -> str:
    r"""Return a text in one line, with whatever does not show as it is, or commands the terminal, as \x1b has it."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def shown(text: str) -> str:
    """Return a text as an error or a log shows it: visible, and without the user parts and queries of URLs."""
    return visible(without_user(text))


class LogFormatter(logging.Formatter):
    """One line for each record, and what led to it where that is wanted."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line."""
        return shown(super().formatMessage(record))
