"""What is wrong with a store, in one line."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.engine import StorePlace

LONGEST_S = 5.0
"""What takes longer is given up: a reader that stays keeps the log of the writer from being emptied."""
TOO_LONG = f"the answer takes longer than {LONGEST_S:g} s; ask for less at once"
CAUSES = {
    "interrupted": TOO_LONG,
    "locked": "is locked by another program; try again when that has ended",
    "readonly": "cannot be written to; may this user write to it, and to its folder?",
    "unable to open": "cannot be opened; may this user read it, and write to its folder?",
    "full": "the disk is full; make room",
}
"""By what SQLite says."""
UNSTORABLE = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError, UnicodeEncodeError)
"""What SQLite raises where a value is none that it can hold."""


class StoreError(HtsatEdgeError):
    """The store cannot be read or written, as it is or at present."""


class ContentError(StoreError):
    """What was to be stored, or is asked for, never can be: to try again does not help."""


@contextmanager
def explained(place: StorePlace) -> Iterator[None]:
    """Turn what SQLite says, and content that cannot be, into a StoreError of one line; PostgreSQL's are already."""
    try:
        yield
    except UNSTORABLE as error:
        raise ContentError(f"{place}: cannot hold such a value ({_said(error)})") from None
    except (sqlite3.Error, zlib.error, ValueError) as error:
        said = _said(error)
        causes = CAUSES if isinstance(error, sqlite3.OperationalError) else {}
        cause = next((cause for word, cause in causes.items() if word in said), None)
        if cause is None and type(error) is sqlite3.DatabaseError:  # its subclasses are other faults
            cause = f"is damaged ({said}); `htsat-edge listen` puts it aside and begins a new one"
        if cause is None:
            cause = (
                f"holds what cannot be, or cannot be used ({said}); if that stays, end `htsat-edge listen` and "
                "move the file away: a new one is begun"
            )
        raise StoreError(f"{place}: {cause}") from None


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
