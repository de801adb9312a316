"""What a collector cannot write is refused, by `--check` as when it starts, in one line and with nothing changed."""

import re
from contextlib import closing

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.daemon.outputs import store_lock
from htsat_edge.runtime.fleet.store_check import check_store
from htsat_edge.runtime.fleet.writer import FleetWriter
from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.problems import StoreError


def test_a_store_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, and longer than a header " * 10)
    for use in (FleetWriter(tmp_path / "notes.txt").open, lambda: check_store(tmp_path / "notes.txt")):
        with pytest.raises(HtsatEdgeError, match=r"^store\.path: .*was not written by htsat-edge"):
            use()


def test_a_store_that_another_process_writes_is_refused(make_store, monkeypatch):
    place = make_store().place
    monkeypatch.setattr(store_lock, "lock", lambda _: False)
    (place.parent / "fleet.db.lock").write_text("4711\n")
    for use in (FleetWriter(place).open, lambda: check_store(place)):
        with pytest.raises(NotReadyError, match="is written by another htsat-edge, process 4711; end that"):
            use()


def test_a_database_of_another_program_is_refused(postgres, tmp_path):
    url = PostgresUrl(postgres.url())
    assert "answers" in check_store(url)
    postgres.ask(url.url.rpartition("/")[2], "CREATE TABLE cows (name text)")
    for use in (FleetWriter(url).open, lambda: check_store(url)):
        with pytest.raises(HtsatEdgeError, match=r"^store\.url: .*holds tables of another program"):
            use()


@pytest.mark.parametrize("made_by", ["nobody", "the owner"])
def test_a_user_that_may_not_write_is_refused_before_it_collects(postgres, made_by):
    url = postgres.url()
    if not postgres.ask("postgres", "SELECT 1 FROM pg_roles WHERE rolname = 'guest'"):
        postgres.ask("postgres", f"CREATE ROLE guest LOGIN PASSWORD '{postgres.password}'")
    postgres.ask(url.rpartition("/")[2], "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    if made_by == "the owner":
        with closing(FleetWriter(PostgresUrl(url))) as writer:
            writer.write(())
        postgres.ask(url.rpartition("/")[2], "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    guest = PostgresUrl(re.sub(r"//\w+:", "//guest:", url))
    with pytest.raises(HtsatEdgeError, match=r"^store\.url: .*may not write; make it the owner of the database$"):
        check_store(guest)


def test_a_url_that_waiting_never_mends_is_refused(postgres):
    url = PostgresUrl(f"{postgres.url()}?sslmode=sometimes")
    for use in (FleetWriter(url).open, lambda: check_store(url)):
        with pytest.raises(HtsatEdgeError, match=r"^store\.url: .*sslmode") as raised:
            use()
        assert not isinstance(raised.value, StoreError)
        assert postgres.password not in str(raised.value)
