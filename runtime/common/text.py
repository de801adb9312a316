"""Text for a terminal and for a log."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from htsat_edge.runtime.common.urls import without_user


def visible(text: str) -> str:
    r"""Return a text in one line, with whatever does not show as it is, or commands the terminal, as \x1b has it."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def is_name(text: str) -> bool:
    """Return whether a text can stand as a name: something of it shows, and nothing commands the terminal."""
    return text.isprintable() and bool(text.strip())


def shown(text: str) -> str:
    """Return a text as an error or a log shows it: visible, and without the user parts and queries of URLs."""
    return visible(without_user(text))


def listed(names: Iterable[object], most: int = 3, separator: str = ", ") -> str:
    """Return names for a message, of many the first few and how many more there are: a, b, c and 412 more."""
    texts = [str(name) for name in names]
    if len(texts) <= most + 1:  # "and 1 more" would be as long as the name
        return separator.join(texts)
    return f"{separator.join(texts[:most])} and {len(texts) - most} more"


def plural(count: int, noun: str) -> str:
    """Return a count and its noun, such as `1 run` or `2 runs`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def clock(seconds: float, digits: int = 2) -> str:
    """Return seconds as 1:02:03.45, without the hours where there are none."""
    ticks = round(seconds * 10**digits)
    whole, fraction = divmod(ticks, 10**digits)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{text}.{fraction:0{digits}}" if digits else text


def in_one_line(error: object, most: int = 300) -> str:
    """Return the message of a library's error in one line, of a long one the beginning."""
    text = " ".join(str(error).split())
    return text if len(text) <= most else f"{text[: most - 2]} …"


class LogFormatter(logging.Formatter):
    """One line for each record, and what led to it where that is wanted."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line."""
        return shown(super().formatMessage(record))
