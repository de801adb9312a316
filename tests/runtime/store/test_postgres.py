"""What may be wrong with a PostgreSQL server: one line each, without the password; and that it dies and comes back."""

import logging
import os
import random
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store import connect, postgres, schema_postgres
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.problems import ContentError, StoreError
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, Verdict
from htsat_edge.runtime.store.schema import ForeignDatabaseError
from htsat_edge.runtime.store.schema_postgres import VERSION
from htsat_edge.runtime.store.verdicts import put_verdicts

AT = 1_777_663_800.0
USES = {
    "collect": FleetDatabase,
    "read": StoreReader,
    "judge": lambda place: put_verdicts(place, [Verdict(event=1, decision="wrong")]),
}
DOG = EventStart(source="yard", id=1, label="Dog", onset=1.0, time=None, score=0.5)


@pytest.fixture
def url(server):
    return PostgresUrl(server.url())


@pytest.fixture
def server(postgres, caplog):
    """The server; nothing that is logged names its password."""
    caplog.set_level(logging.DEBUG)
    yield postgres
    assert postgres.password not in caplog.text


@pytest.fixture
def refused(server):
    """A use of a store raises this line, which names the place but not the password."""

    def check(use, place, line, kind=StoreError):
        with pytest.raises(kind) as caught:
            use(place)
        said = str(caught.value)
        assert type(caught.value) is kind
        assert line in said
        assert "\n" not in said
        assert said.startswith(f"{place}: ")
        for text in (said, repr(caught.value), repr(caught.value.__cause__)):
            assert server.password not in text
            assert "wrong-password" not in text

    return check


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_server_that_is_not_there(use, refused, free_port):
    place = PostgresUrl(f"postgresql://fleet:sesame-4711@127.0.0.1:{free_port()}/sounds")
    refused(use, place, "cannot be used at present")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_server_that_does_not_answer(use, refused, monkeypatch):
    """Something takes the connection, and says nothing."""
    monkeypatch.setattr(postgres, "CONNECT_S", 2)  # the least that there is
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        place = PostgresUrl(f"postgresql://fleet:sesame-4711@127.0.0.1:{mute.getsockname()[1]}/sounds")
        refused(use, place, "cannot be used at present")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_wrong_password(use, refused, server):
    place = PostgresUrl(server.url().replace(server.password, "wrong-password"))
    refused(use, place, "the server refuses the user or the password (")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_database_that_does_not_exist(use, refused, server):
    place = PostgresUrl(server.url() + "x")
    refused(use, place, "`createdb --owner USER DATABASE` on the server makes a database")


@pytest.mark.parametrize("use", [USES["read"], USES["judge"]], ids=["read", "judge"])
def test_a_database_without_a_store(use, refused, url):
    refused(use, url, "there is no store; `htsat-edge collect` makes it")


def test_a_store_of_a_newer_version(refused, url):
    FleetDatabase(url).close()
    with closing(connect.open_store(url, to_write=True)) as database:
        database.execute("UPDATE htsat_edge SET version = ?", (VERSION + 1,))
    refused(USES["read"], url, "was written by a newer version of htsat-edge; install that one")
    with pytest.raises(ForeignDatabaseError, match="it was written by a newer version of htsat-edge"):
        FleetDatabase(url)


def test_a_database_of_another_program(server, url):
    database = url.url.rpartition("/")[2]
    server.ask(database, "CREATE TABLE notes (text TEXT)")
    with pytest.raises(ForeignDatabaseError, match="holds tables of another program; give htsat-edge a database"):
        FleetDatabase(url)
    assert server.ask(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("notes",)]


def test_a_database_that_cannot_hold_all_texts(server):
    provider = "LOCALE_PROVIDER libc" if server.version >= 15 else ""
    server.ask("postgres", f"CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' {provider} TEMPLATE template0")
    with pytest.raises(ForeignDatabaseError, match="make it with `createdb --encoding UTF8`"):
        FleetDatabase(PostgresUrl(server.url().rpartition("/")[0] + "/latin"))


def test_a_user_who_may_not_make_tables(refused, server, url):
    server.ask("postgres", "CREATE ROLE outsider LOGIN PASSWORD 'sesame-4711'")
    outsider = PostgresUrl(url.url.replace("//fleet:", "//outsider:"))
    refused(FleetDatabase, outsider, "make it the owner of the database")


def test_a_reader_cannot_write(url):
    FleetDatabase(url).close()
    with closing(connect.open_store(url)) as database, pytest.raises(StoreError, match="read-only transaction"):
        database.execute("DELETE FROM events")


def test_a_percent_sign_is_one(url):
    """psycopg would take it for the place of a value."""
    FleetDatabase(url).close()
    with closing(connect.open_store(url)) as database:
        assert database.execute("SELECT 7 % 4, 9 % 5", ()).fetchone() == (3, 4)
        assert database.execute("SELECT 7 % 4, ? || '%'", ("a",)).fetchone() == (3, "a%")


def test_an_answer_that_takes_too_long_is_given_up(refused, url, monkeypatch):
    FleetDatabase(url).close()
    monkeypatch.setattr(connect, "LONGEST_S", 0.05)
    with StoreReader(url) as reader:
        refused(lambda _: reader._one("SELECT pg_sleep(60)"), url, "the answer takes longer than 5 s; ask for less")
        assert reader.info().events == 0


@pytest.fixture
def frozen(server, url, monkeypatch):
    """Have what the server runs for a connection stand still, as when its machine is moved, and its system not."""
    monkeypatch.setattr(postgres, "SPARE_S", 0.2)
    monkeypatch.setattr(postgres, "LOOK_S", 0.05)
    stopped = []

    def freeze(connection):
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    yield freeze
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_server_is_given_up(frozen, refused, url, monkeypatch):
    """Whatever is waited for; else neither a log nor SIGTERM would be heeded."""
    FleetDatabase(url).close()  # to make the tables may take longer
    monkeypatch.setattr("htsat_edge.runtime.store.database.WRITE_S", 0.2)
    monkeypatch.setattr(connect, "LONGEST_S", 0.2)

    def write_to_frozen(database):
        with database:
            session = database.device_session("barn", "one", AT)
            frozen(database._connection)
            database.put_event(session, DOG, AT)

    with closing(FleetDatabase(url)) as database, StoreReader(url) as reader:
        refused(lambda _: write_to_frozen(database), url, "the server has not answered for 0.4 s")
        refused(lambda _: database.fleet(), url, "the server has not answered for 0.4 s")
        assert reader.info().events == 0
        frozen(reader._database)
        refused(lambda _: reader.info(), url, "the server has not answered for 0.4 s")
    with pytest.raises(StoreError):  # what is frozen has begun to write, and nobody else can
        put_verdicts(url, [])


def test_a_server_that_works_is_not_given_up(url, monkeypatch):
    """However long all the statements of a transaction take, each within its time."""
    monkeypatch.setattr(postgres, "SPARE_S", 0.5)
    monkeypatch.setattr(postgres, "LOOK_S", 0.05)
    monkeypatch.setattr(postgres, "MOST_UNANSWERED", 2)
    with closing(postgres.PostgresConnection(url, to_write=True, longest_s=0.5)) as database:
        database.begin()
        for _ in range(6):
            database.execute("SELECT pg_sleep(0.2)")
        database.commit()


def test_a_text_too_long_for_an_index_is_told_apart_from_a_server_that_is_gone(refused, url):
    """It is never tried again, and the next message is stored."""
    label = "".join(map(chr, random.Random(1).sample(range(0x4E00, 0x9FFF), 1000)))

    def put(*events):
        with database:
            session = database.device_session("barn", "one", AT)
            for event in events:
                database.put_event(session, event, AT)

    with closing(FleetDatabase(url)) as database:
        refused(lambda _: put(DOG, DOG.model_copy(update={"id": 2, "label": label})), url, "cannot hold", ContentError)
        put(DOG)
    with StoreReader(url) as reader:
        assert reader.info().events == 1


def test_a_store_whose_tables_were_deleted(refused, server, url):
    FleetDatabase(url).close()
    server.ask(url.url.rpartition("/")[2], "DROP TABLE clips CASCADE")
    with StoreReader(url) as reader:
        refused(lambda _: reader.events(EventFilter(), 9), url, "its tables are not those of a store (relation")


def test_one_writer_at_a_time(url, monkeypatch):
    """As with SQLite: a verdict waits for the collector, and what a verdict locks is not deleted meanwhile."""
    monkeypatch.setattr(connect, "LONGEST_S", 0.3)
    with closing(FleetDatabase(url)) as database:
        with database:
            database.put_event(database.device_session("barn", "one", AT), DOG, AT)
        with database, pytest.raises(StoreError, match="takes longer"):
            put_verdicts(url, [Verdict(event=1, locked=True)])
        put_verdicts(url, [Verdict(event=1, locked=True)])
        with database:
            database.prune(1e11)
    with StoreReader(url) as reader:
        assert reader.event(1).verdict.locked


def test_one_who_waits_in_vain_to_write_may_try_again(url, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.store.database.WRITE_S", 0.2)
    with closing(FleetDatabase(url)) as one, closing(FleetDatabase(url)) as other:
        with one, pytest.raises(StoreError, match=r"the server takes longer than 0.2 s, or somebody else writes"):
            other.__enter__()
        with other:
            assert other.fleet() == []


def test_a_server_soon_notices_that_a_writer_is_gone(url):
    """As when its host has no power: else nobody could write for hours."""
    with closing(FleetDatabase(url)) as database:
        rows = database._connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp\\_%'"
        ).fetchall()
        assert dict(rows) == {
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "20000",
        }


def test_a_statement_that_fails_never_looks_stored(url):
    """Even where somebody goes on after it: PostgreSQL would answer COMMIT by undoing all."""

    def go_on(database):
        with database:
            session = database.device_session("barn", "one", AT)
            database.put_event(session, DOG.model_copy(update={"id": 2**63}), AT)
            with pytest.raises(ContentError, match="out of range"):
                database.device_session("barn", "two", AT)

    with closing(FleetDatabase(url)) as database:
        with pytest.raises(StoreError, match=r"nothing of its transaction is stored|pipeline aborted"):
            go_on(database)
        with database:
            assert database.fleet() == []


def test_several_collectors_make_the_tables_at_once(url, monkeypatch):
    """Both see that there is none; the second waits for the first, and finds them there."""
    both_have_looked, is_new, looked = threading.Barrier(2, timeout=30), schema_postgres.is_new, set()

    def look(database):
        new = is_new(database)
        if database not in looked:
            looked.add(database)
            both_have_looked.wait()
        return new

    monkeypatch.setattr(schema_postgres, "is_new", look)
    with ThreadPoolExecutor(2) as threads:
        opened = [future.result() for future in [threads.submit(FleetDatabase, url) for _ in range(2)]]
    with closing(opened[0]) as one, closing(opened[1]) as two:
        for database, uid in ((one, "1"), (two, "2")):
            with database:
                database.device_session("barn", uid, AT)
        with two:
            assert two.device_session("barn", "1", AT) != two.device_session("barn", "2", AT)


def test_the_server_dies_and_comes_back(refused, server, url):
    """What was committed is there, what was not is not, and a new connection goes on."""
    database = FleetDatabase(url)
    with database:
        database.put_event(database.device_session("barn", "one", AT), DOG, AT)
        assert database.take(1, 1, AT)
    reader = StoreReader(url)

    def write_and_die():
        with database:
            assert database.take(1, 2, AT)
            database.put_event(1, DOG.model_copy(update={"id": 2}), AT)
            server.stop()

    try:
        refused(lambda _: write_and_die(), url, "cannot be used at present")
        refused(lambda _: reader.events(EventFilter(), 9), url, "cannot be used at present")
        refused(lambda _: database.__enter__(), url, "cannot be used at present")
        for use in USES.values():
            refused(use, url, "cannot be used at present")
        for opened in (database, reader):
            opened.close()
    finally:
        server.start()
    with closing(FleetDatabase(url)) as database, database:
        assert not database.take(1, 1, AT)
        assert database.take(1, 2, AT)
        database.put_event(1, EventEnd(**{**DOG.model_dump(exclude={"type"}), "offset": 2.0}), AT)
    with StoreReader(url) as reader:
        assert [(event.id, event.offset) for event in reader.events(EventFilter(), 9).events] == [(1, 2.0)]


def test_without_psycopg(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(HtsatEdgeError, match=r"a store at a postgresql:// URL needs psycopg: pip install") as caught:
        Database(PostgresUrl("postgresql://fleet:sesame-4711@db/sounds"))
    assert "sesame" not in str(caught.value)
