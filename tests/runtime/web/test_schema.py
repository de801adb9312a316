"""The API is as it describes itself: of a device, and of a fleet on both engines."""

import time

import hypothesis
import pytest
import schemathesis
from fleet_store import fill_fleet
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from htsat_edge.runtime.store.engine import PostgresUrl

UNSAID = ("/api/scores", "/api/tune", "/api/sounds", "/api/places")
"""Of these it cannot be said in a schema that one time is before another, or what is a recording."""
bounded = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def validate(page):
    """Ask what the schema allows, and what it does not, a fixed sample; return how many operations there are."""
    schema = schemathesis.openapi.from_dict(page.get("openapi.json").json)
    asked = set()

    def ask(operation):
        excluded = [positive_data_acceptance] if operation.path.startswith(UNSAID) else []

        @bounded
        @hypothesis.given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(base_url=page.origin, headers={"Origin": page.origin}, excluded_checks=excluded)
            asked.add(operation.label)

        check()

    for found in schema.exclude(path="/api/live").get_all_operations():
        ask(found.ok())
    return len(asked)


def test_of_a_device(page):
    assert validate(page) == 28


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_of_a_fleet(engine, request, tmp_path, serve):
    place = tmp_path / "fleet.db" if engine == "sqlite" else PostgresUrl(request.getfixturevalue("postgres").url())
    fill_fleet(place, ["htsat-edge/barn", "htsat-edge/yard"], time.time())
    assert validate(serve(place, fleet=True)) == 11
