import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.engine import PostgresUrl

SECRET = "se-samé"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://fleet:{SECRET}@db.example:5433/sounds", "postgresql://fleet@db.example:5433/sounds"),
        (f"postgres://fleet:{SECRET}@[::1]/sounds?sslmode=require", "postgresql://fleet@[::1]/sounds"),
        (f"postgresql://db/sounds?password={SECRET}&user=fleet", "postgresql://db/sounds"),
        (f"postgresql://fleet:{SECRET}@one,two:5433/sounds", "postgresql://fleet@one,two:5433/sounds"),
        ("postgresql:///sounds?host=/run/postgresql", "postgresql:///sounds"),
        ("postgresql://db", "postgresql://db"),
    ],
)
def test_a_url_as_text_is_without_its_password(url, said):
    place = PostgresUrl(url)
    assert str(place) == said
    assert SECRET not in f"{place!r} {place}"
    assert place.url == url


@pytest.mark.parametrize("where", ["fleet:{}@db/sounds", "fleet@db/sounds?password={}"])
def test_a_text_without_secrets(where):
    """As the URL has them, and as they are meant."""
    place = PostgresUrl("postgresql://" + where.format("a%3Ab%ZZ"))
    assert place.without_secrets("bad token: a%3Ab%ZZ, or a:b%ZZ of fleet") == "bad token: ***, or *** of fleet"
    place = PostgresUrl("postgresql://host/fleet?p%61ssword=sesame")  # libpq takes names in this way, too
    assert place.without_secrets("bad token: sesame") == "bad token: ***"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://fleet:{SECRET}/x@db/sounds",
        f"postgresql://fleet:{SECRET}@x@db/sounds",
        f"postgresql://fleet:{SECRET}?x@db/sounds",
        f"postgresql://fleet:a:{SECRET}@db/sounds",
        f"postgresql://fleet:{SECRET} x@db/sounds",
        f"mysql://fleet:{SECRET}@db/sounds",
        f"host=db password={SECRET}",
        f"fleet:{SECRET}@db",
        f"postgresql://fleet:{SECRET}@db\udc80/sounds",
        f"postgresql://fleet:{SECRET}@db\0/sounds",
        "",
    ],
)
def test_what_is_none_is_refused_without_a_word_of_it(url):
    """A password that is not escaped might be taken for a host, and shown."""
    with pytest.raises(HtsatEdgeError, match=r"the store's URL must be postgresql://USER:PASSWORD@HOST") as caught:
        PostgresUrl(url)
    assert SECRET not in str(caught.value)
