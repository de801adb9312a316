"""A connection to a PostgreSQL server; psycopg, which base installations lack, is imported only here."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.store.engine import PostgresUrl, Rows
from htsat_edge.runtime.store.problems import TOO_LONG, ContentError, StoreError

if TYPE_CHECKING:
    import psycopg

NEEDED = ("a store at a postgresql:// URL", "psycopg", 'pip install "htsat-edge[fleet]"')
CONNECT_S = 5
"""How long to wait for a server that does not answer."""
WRITE_S = 60.0
"""What takes longer to write is given up, such as to delete what is too old."""
SETTINGS = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""So that a server that is gone without a word, as in a power cut, is noticed within half a minute."""
KEEP_ALIVE = "; ".join(f"SET tcp_{name.removeprefix('tcp_')} = {value}" for name, value in SETTINGS.items())
"""So that the server notices the same of us, and lets others write; by itself it would take two hours."""
ONE_WRITER = 0x68747361
"""Of a lock of the database: "htsa"."""
CAUSES = {
    "password": "the server refuses the user or the password ({}); mend the URL",
    '^database "': "the server refuses ({}); `createdb --owner USER DATABASE` on the server makes a database",
    '^relation "': "its tables are not those of a store ({}); restore them from a copy, or give another database",
    "permission denied": "this user may not use its tables ({}); make it the owner of the database",
    "read-only": "cannot be written to ({}); is this the main server?",
    "No space left": "the server's disk is full; make room",
}
"""By what the server says, as patterns, in English; else that itself."""
TOO_MUCH = "54"
"""How the codes of errors begin where content is beyond what a server can hold, such as a text beyond an index."""
MOST_UNANSWERED = 100
"""Statements of a transaction for whose answers nobody has waited; they have the time of one together."""
SPARE_S = 5.0
"""Beyond what a server has given up by itself: by then it has said so, unless it is frozen."""
LOOK_S = 1.0
"""Between two looks whether it has."""
NOWHERE = "/"
"""As a host: a folder with the socket of a server, in which there is none."""
NOT_THERE = ".s.PGSQL."
"""Of what libpq says of that."""


class PostgresConnection:
    """A connection in autocommit mode, whose errors are StoreErrors of one line."""

    def __init__(self, url: PostgresUrl, *, to_write: bool, longest_s: float) -> None:
        """Connect; what takes longer than `longest_s` is given up.

        Raises
        ------
        HtsatEdgeError
            psycopg is not installed.
        StoreError
            The server does not answer, or refuses.
        """
        with needing(*NEEDED):
            import psycopg
        self._url, self._error = url, psycopg.Error
        self._kinds = psycopg.errors
        self._pipeline = psycopg.Pipeline.is_supported()
        self._begun = ExitStack()
        self._unsettled: psycopg.Pipeline | None = None
        """Where statements of a transaction wait for their answers."""
        self._unanswered = 0
        self._too_long = (
            f"the server takes longer than {longest_s:g} s, or somebody else writes; try again"
            if to_write
            else TOO_LONG
        )
        self._guard = FrozenServerGuard(longest_s + SPARE_S)
        with self._explained():
            self._connection = psycopg.connect(url.url, autocommit=True, **self._settings(psycopg))
        try:
            self._guard.watch(self._connection.fileno())
            self.execute(
                f"SET statement_timeout = {longest_s * 1000:.0f}; SET client_min_messages = warning; "
                f"{KEEP_ALIVE}; SET default_transaction_read_only = {'off' if to_write else 'on'}"
            )
        except BaseException:
            self.close()
            raise

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        """Run a statement with question marks for the values."""
        with self._explained():
            if not values:
                rows = self._connection.execute(statement.encode())
            else:
                rows = self._connection.execute(_translated(statement), values)
        self._unanswered += 1
        if self._unanswered >= MOST_UNANSWERED:
            self.settle()
        return PostgresRows(rows, self._explained)

    def floor(self, expression: str) -> str:
        """Return SQL for a positive number without its fraction; PostgreSQL's CAST would round it."""
        return f"CAST(floor({expression}) AS BIGINT)"

    def begin(self) -> None:
        """Begin to write; nobody else can until this has ended, as with SQLite.

        From then on no statement waits for the one before, and so an error may be raised by a later one, at the latest
        by `commit`: on a network, most of the time is that of waiting.
        """
        try:
            self.execute("BEGIN")
            self.execute(f"SELECT pg_advisory_xact_lock({ONE_WRITER})")
            if self._pipeline:
                with self._explained():
                    self._unsettled = self._begun.enter_context(self._connection.pipeline())
                    self._begun.callback(setattr, self, "_unsettled", None)
        except BaseException:
            self.roll_back()
            raise

    def settle(self) -> None:
        """Wait until what was executed since `begin` is done: it has the time of one statement together."""
        self._unanswered = 0
        if self._unsettled is not None:
            with self._explained():
                self._unsettled.sync()

    def commit(self) -> None:
        """Have all that was written since `begin` on the disk."""
        with self._explained():
            self._begun.close()
        if self._connection.info.transaction_status.name == "INERROR":  # where COMMIT would silently undo it all
            raise StoreError(f"{self._url}: a statement has failed, and so nothing of its transaction is stored")
        self.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what was written since `begin`; a server that is gone does so by itself."""
        with suppress(self._error), self._guard:
            self._begun.close()
        if self._connection.info.transaction_status.name != "IDLE":
            with suppress(StoreError):
                self.execute("ROLLBACK")

    def close(self) -> None:
        """Close it."""
        with suppress(self._error):
            self._connection.close()
        self._guard.close()

    def _settings(self, library: Any) -> dict[str, Any]:
        """Return what the URL does not say itself."""
        given = library.conninfo.conninfo_to_dict(self._url.url)
        ours = {"connect_timeout": CONNECT_S, "application_name": "htsat-edge", **SETTINGS}
        return {name: value for name, value in ours.items() if name not in given}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with self._guard:
                yield
        except self._error as error:
            raise self._problem(error) from None

    def _problem(self, error: psycopg.Error) -> StoreError:
        said = _essence(self._url, error)
        too_much = (error.sqlstate or "").startswith(TOO_MUCH)
        if too_much or isinstance(error, self._kinds.DataError | self._kinds.IntegrityError):
            return ContentError(f"{self._url}: cannot hold such a value ({said})")
        if isinstance(error, self._kinds.QueryCanceled):
            return StoreError(f"{self._url}: {self._too_long}")
        if self._guard.has_cut:
            return StoreError(f"{self._url}: the server has not answered for {self._guard.longest_s:g} s; try again")
        cause = next(
            (cause for pattern, cause in CAUSES.items() if re.search(pattern, said)), "cannot be used at present ({})"
        )
        return StoreError(f"{self._url}: {cause.format(said)}")


class PostgresRows:
    """What a statement has found, on its way from the server."""

    def __init__(self, rows: psycopg.Cursor[Any], explained: Callable[[], AbstractContextManager[None]]) -> None:
        """Prepare to fetch; what goes wrong is explained."""
        self._rows, self._explained = rows, explained

    def fetchone(self) -> Any:
        """Return the next row; None where there is none."""
        with self._explained():
            return self._rows.fetchone()

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        with self._explained():
            return self._rows.fetchall()

    def __iter__(self) -> Iterator[Any]:
        """Yield them."""
        return iter(self.fetchall())

    def close(self) -> None:
        """Forget those that are left."""
        self._rows.close()


class FrozenServerGuard:
    """Cuts a connection on which a server has not answered for too long; a context, within which answers are awaited.

    The system of a server that is frozen, as by its disk or while its machine is moved, goes on to acknowledge what is
    sent, and the server's own limits are frozen, too: nothing else would ever end.
    """

    def __init__(self, longest_s: float) -> None:
        self.longest_s, self.has_cut = longest_s, False
        self._since_s: float | None = None
        """When somebody began to wait, in monotonic time; None: nobody does."""
        self._closed = threading.Event()

    def __enter__(self) -> None:
        self._since_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since_s = None

    def watch(self, descriptor: int) -> None:
        """Begin to watch a connection, by its socket."""
        own = socket.socket(fileno=os.dup(descriptor))  # never another one's, as a number may become
        threading.Thread(target=self._watch, args=(own,), name="postgresql guard", daemon=True).start()

    def close(self) -> None:
        """End."""
        self._closed.set()

    def _watch(self, connection: socket.socket) -> None:
        with connection:
            while not self._closed.wait(LOOK_S):
                since_s = self._since_s
                if since_s is not None and time.monotonic() - since_s > self.longest_s:
                    self.has_cut = True
                    with suppress(OSError):  # it is gone already
                        connection.shutdown(socket.SHUT_RDWR)
                    return


def refuse_bad_url(key: str, url: PostgresUrl) -> None:
    """Raise an HtsatEdgeError where no waiting makes a URL work, such as a port that is none; no server is asked.

    Parameters
    ----------
    key
        Of the configuration that names the URL, for the error.
    url
        The URL, which psycopg and libpq check as they do to connect, but for a host.
    """
    with needing(*NEEDED):
        import psycopg
    try:
        given = psycopg.conninfo.conninfo_to_dict(url.url)
        hosts = str(given.get("host") or given.get("hostaddr") or "")
        nowhere = ",".join(NOWHERE for _ in hosts.split(","))  # as many: there may be a port for each
        ours: dict[str, Any] = {"host": nowhere, "hostaddr": ""}
        if not hosts:
            ours["port"] = ""  # the hosts of a service, or of the environment, may be many
        if given.get("gssencmode", "require") == "require":
            ours["gssencmode"] = "disable"  # Kerberos encrypts no connection to a folder
        psycopg.connect(url.url, **ours).close()
    except psycopg.Error as error:
        if NOT_THERE not in str(error):
            raise HtsatEdgeError(f"{key}: {url}: cannot be used ({_essence(url, error)}); mend the URL") from None


def _essence(url: PostgresUrl, error: psycopg.Error) -> str:
    """Return what libpq says without where, which stands before it, without its guesses, and without passwords."""
    said = url.without_secrets(in_one_line(error.diag.message_primary or error, 1000))
    for guess in (" Is the server running", " This probably means"):
        said = said.partition(guess)[0]
    said = said.rpartition(" failed: ")[2].removeprefix("connection is bad: ")
    return said.removeprefix("FATAL: ")[:200]


@lru_cache(maxsize=1000)
def _translated(statement: str) -> bytes:
    """Return a statement with psycopg's places for values."""
    return statement.replace("%", "%%").replace("?", "%s").encode()
