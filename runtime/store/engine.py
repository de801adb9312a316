"""What the store needs of a database, SQLite or PostgreSQL, so that the same SQL runs on both.

Statements are written for both: question marks for values, `"offset"` in quotation marks (PostgreSQL reserves the
word), `ON CONFLICT` in place of SQLite's `OR IGNORE`, truth as `= 1`. What differs all the same is in here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

from htsat_edge.runtime.common.errors import HtsatEdgeError

URL = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^:@/?#\s]*))?@)?"
    r"(?P<host>[^@/?#\s]*)(?P<database>/[^@/?#\s]*)?(?:\?(?P<query>[^@#\s]*))?"
)
"""Of a database; strict, so that what stands where a password can be is never taken for something else and shown."""


@dataclass(frozen=True)
class PostgresUrl:
    """A database on a PostgreSQL server; as text, it is without its password."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raise an HtsatEdgeError, which does not say the URL, where it is none."""
        if not URL.fullmatch(self.url) or not self.url.isprintable():
            raise HtsatEdgeError(
                "the store's URL must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE; write of a password the "
                "characters : / ? # @ % and spaces as %3A %2F %3F %23 %40 %25 %20"
            )

    def __str__(self) -> str:
        """Return it for people."""
        found = URL.fullmatch(self.url)
        assert found is not None
        user = f"{found['user']}@" if found["user"] else ""
        return f"postgresql://{user}{found['host']}{found['database'] or ''}"

    def without_secrets(self, text: str) -> str:
        """Return a text without the passwords, as they are in the URL and as they are meant."""
        found = URL.fullmatch(self.url)
        assert found is not None
        options = (one.partition("=") for one in (found["query"] or "").split("&"))
        secrets = [found["password"], *(secret for name, _, secret in options if "password" in unquote(name))]
        for secret in filter(None, secrets):
            text = text.replace(secret, "***").replace(unquote(secret), "***")
        return text


StorePlace: TypeAlias = Path | PostgresUrl
"""Where a store is."""


class Rows(Protocol):
    """What a statement has found."""

    def fetchone(self) -> Any:
        """Return the next row; None where there is none."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Yield them."""

    def close(self) -> None:
        """Forget those that are left."""


class StoreConnection(Protocol):
    """A connection to a database, in autocommit mode."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Rows:
        """Run a statement."""

    def floor(self, expression: str) -> str:
        """Return SQL for a positive number without its fraction."""

    def begin(self) -> None:
        """Begin to write; nobody else can until this has ended."""

    def settle(self) -> None:
        """Wait until what was executed since `begin` is done, where it may not be."""

    def commit(self) -> None:
        """Have all that was written since `begin` on the disk."""

    def roll_back(self) -> None:
        """Undo what was written since `begin`, if anything was begun."""

    def close(self) -> None:
        """Close it."""
