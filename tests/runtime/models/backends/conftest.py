"""What the tests of a server and this device at its side share."""

import pytest


@pytest.fixture
def short_looks(monkeypatch):
    """Looks for the server every few milliseconds, and believes it soon."""
    short = {"FIRST_PROBE_S": 0.01, "LONGEST_PROBE_S": 0.05, "FIRST_STEADY_S": 0.05, "BEGIN_S": 60.0}
    for name, seconds in short.items():
        monkeypatch.setattr(f"htsat_edge.runtime.models.backends.remote_fallback.{name}", seconds)
