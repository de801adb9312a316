"""URLs that are none for PostgreSQL's library, told apart from servers that may come; no server is asked."""

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.postgres import refuse_bad_url

pytest.importorskip("psycopg", reason="needs psycopg: pip install htsat-edge[fleet]")


@pytest.mark.parametrize(
    "tail",
    [
        "db:99999/sounds",
        "db:x/sounds",
        "db/sounds?nonsense=1",
        "db/sounds?sslmode=zzz",
        "db/sounds?connect_timeout=soon",
        "db/sounds?service=none",
        "db/sounds?gssencmode=never",
        "db/%zz",
        "[::1/sounds",
    ],
)
def test_a_url_that_waiting_never_mends(tail):
    place = PostgresUrl(f"postgresql://fleet:sesame-4711@{tail}")
    with pytest.raises(HtsatEdgeError, match=r"; mend the URL$") as caught:
        refuse_bad_url("store.url", place)
    for text in (str(caught.value), repr(caught.value), repr(caught.value.__cause__)):
        assert "sesame" not in text
    assert str(caught.value).startswith(f"store.url: {place}: cannot be used (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tail",
    [
        "nowhere.invalid/sounds",
        "one,two:5433/sounds",
        "one:1,two:2/x?hostaddr=::1,::1",
        "/x?hostaddr=::1,::1&port=1,2",
        "/x",
        "one/x?gssencmode=require",
    ],
)
def test_a_url_whose_server_may_come(tail):
    """No server is asked, and no name is looked up."""
    refuse_bad_url("store.url", PostgresUrl(f"postgresql://fleet:sesame-4711@{tail}"))


def test_a_url_whose_servers_are_those_of_a_service(tmp_path, monkeypatch):
    services = tmp_path / "services"
    services.write_text("[fleet]\nhost=one,two\nport=1,2\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    refuse_bad_url("store.url", PostgresUrl("postgresql:///x?service=fleet"))
