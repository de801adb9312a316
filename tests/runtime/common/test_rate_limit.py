import logging

import pytest

from htsat_edge.runtime.common.rate_limit import RepeatedWarnings


@pytest.fixture
def limited(caplog):
    """Warns at a time that the test sets; `texts` are those that were logged."""
    now = [0.0]
    warnings = RepeatedWarnings(logging.getLogger("x"), 600.0, lambda: now[0])

    def warn(at, kind, text):
        now[0] = at
        return warnings.warn(kind, text)

    warn.close, warn.texts = warnings.close, lambda: [record.message for record in caplog.records]
    return warn


def test_a_flood_is_logged_once_a_period_with_a_count(limited):
    logged = [limited(at, "404", f"answered 404 at {at}") for at in range(1300)]
    assert [at for at, done in enumerate(logged) if done] == [0, 600, 1200]
    limited.close()
    assert limited.texts() == [
        "answered 404 at 0",
        "answered 404 at 600 (599 more since the last one)",
        "answered 404 at 1200 (599 more since the last one)",
        "answered 404 at 1299 (99 more since the last one)",
    ]


def test_each_kind_has_a_limit_of_its_own(limited):
    assert [limited(0, kind, kind) for kind in ("a", "b", "a", "b")] == [True, True, False, False]


def test_what_comes_seldom_is_logged_as_it_is(limited):
    for at in (0, 600, 5000):
        assert limited(at, "a", f"at {at}")
    limited.close()
    assert limited.texts() == ["at 0", "at 600", "at 5000"]


def test_after_the_end_it_begins_anew(limited):
    limited(0, "a", "one")
    limited.close()
    assert limited(1, "a", "two")


def test_a_warning_of_another_thread_while_it_ends_is_no_error(caplog):
    """As of an HTTP server's: here it comes from within the log."""
    logger = logging.getLogger("x")
    warnings = RepeatedWarnings(logger, 600.0, lambda: 0.0)

    class Another(logging.Handler):
        def emit(self, record):
            warnings.warn("b", "two")

    for _ in range(2):
        warnings.warn("a", "one")
    handler = Another()
    logger.addHandler(handler)
    warnings.close()
    logger.removeHandler(handler)
    assert caplog.messages == ["one", "two", "one (1 more since the last one)"]
