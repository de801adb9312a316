"""Texts in which {names} stand for something; nothing else of str.format, whose fields reach into objects."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

FIELDS = ("label", "source", "time", "date", "score", "device", "place")
"""What may stand in braces."""


def check_template(text: str) -> str:
    """Return a template; raise a ValueError where it holds braces that are none of the names, nor doubled."""
    wanted = f"want one of {', '.join(f'{{{name}}}' for name in FIELDS)}, and {{{{ for a brace"
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        raise ValueError(f"a brace is not closed, or not opened: {wanted}") from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in FIELDS or form or conversion):
            raise ValueError(f"{{{name}{':' * bool(form)}{form}}} is none of the names: {wanted}")
    return text


def fill_template(text: str, values: Mapping[str, str]) -> str:
    """Return a template that was checked with each name replaced; what is put in is only text, braces too."""
    parts = Formatter().parse(text)
    return "".join(literal if name is None else literal + values[name] for literal, name, *_ in parts)
