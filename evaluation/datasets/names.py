"""Bring names of classes into one form, and refuse those that are nearly equal: they are one class, misspelt."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError

KEPT = "\0"
"""Stands for a comma that belongs to a name."""
OFTEN_LACKING = str.maketrans(dict.fromkeys("_-,()", " "))
"""Signs of AudioSet's names that those of folders have a space or an underscore for; C and C# stay apart."""


def as_label(where: Path | str, name: str) -> str:
    """Return the label that a name stands for: composed (NFC), without spaces around it.

    Raise an HtsatEdgeError where it cannot be a label.
    """
    label = unicodedata.normalize("NFC", name).strip()
    if not label or not label.isprintable():
        raise HtsatEdgeError(f"{where}: {name!r} cannot be a label")
    return label


def refuse_near(named: Iterable[tuple[str, str]]) -> None:
    """Raise an HtsatEdgeError where two names of classes differ in no more than spelling.

    Parameters
    ----------
    named
        Each name as it stands there, and the place.
    """
    seen = {near_key(BACKGROUND): (BACKGROUND, "the class without events")}
    for name, where in named:
        other, place = seen.setdefault(near_key(name), (name, where))
        if other != name:
            raise HtsatEdgeError(
                f"classes {other!r} ({place}) and {name!r} ({where}) are nearly equal; give them one name"
            )


def is_near(name: str, others: Iterable[str]) -> bool:
    """Return whether a name of a class differs from another in no more than spelling."""
    return near_key(name) in map(near_key, others)


def near_key(name: str) -> str:
    """Return what is left of a name without case, spaces, forms of letters (NFKC), and what folders' names often lack.

    Names of which the same is left are nearly equal: Cattle_bovinae and AudioSet's "Cattle, bovinae".
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(plain.translate(OFTEN_LACKING).split())


def split_labels(cell: str, several: bool) -> list[str]:
    """Return the classes that a cell lists: separated by `;` or `|`, or by commas, or a list in brackets.

    A comma with a space behind it belongs to a name, as in AudioSet's "Domestic animals, pets"; where a column holds
    several (`labels`), it separates them unless it belongs to a name of AudioSet.
    """
    if (listed := _read_list(cell)) is not None:
        return listed
    for separator in ";|":
        if separator in cell:
            return [name.strip() for name in cell.split(separator) if name.strip()]
    if "," not in cell:
        return [cell]
    for name in _with_commas() if several else ():
        cell = cell.replace(name, name.replace(", ", KEPT))
    parts = re.split(r"," if several else r",(?! )", cell)
    return [part.replace(KEPT, ", ").strip() for part in parts if part.strip()]


def _read_list(cell: str) -> list[str] | None:
    """Return the names of a list in JSON or as Python prints it, which pandas writes; None where it is none."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return [str(name).strip() for name in found] if isinstance(found, list) else None


@cache
def names_of_audioset() -> Mapping[str, str]:
    """Return the name of each of AudioSet's 527 classes, by its number in the ontology (mid)."""
    return {row["mid"]: row["label"] for row in read_csv(CONFIGS / "labels" / "audioset.csv", ["mid", "label"])}


@cache
def _with_commas() -> list[str]:
    """Return AudioSet's names that hold a comma, the longest first."""
    return sorted((name for name in names_of_audioset().values() if ", " in name), key=len, reverse=True)
