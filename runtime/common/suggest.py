"""Suggest the name that somebody meant who wrote one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

NEAR = 0.65
"""Share of letters that two names have in common, in order: Dgo and Dog are 0.67, Katze and Water 0.6."""


def suggest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return ", meant X?" with the known name nearest to `name`, upper and lower case alike, else `otherwise`."""
    found = nearest(name, known)
    return otherwise if found is None else f", meant {found}?"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to `name`, upper and lower case alike; None where all are far off."""
    by_name = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), by_name, n=1, cutoff=NEAR)
    return by_name[found[0]] if found else None


def known_as(name: str, known: Iterable[str]) -> str:
    """Return how a name is written among the known ones, upper and lower case alike; as it is where it is none."""
    names = list(known)
    return name if name in names else next((one for one in names if one.casefold() == name.casefold()), name)
