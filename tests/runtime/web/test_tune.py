"""Thresholds by the page: looked at, tried, and written into the daemon's configuration."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.tuning.overview import curve, overview

CHANGE = {"label": "Dog", "threshold": 0.95}


@pytest.fixture
def span(began):
    return {"from_at": began, "to_at": began + 200}


def test_it_answers_what_tuning_finds(home, own_store, span):
    with StoreReader(own_store) as reader:
        found = overview(reader, "yard", *span.values(), per_day=300, labels=["Dog"])
        dog = curve(reader, "yard", "Dog", *span.values())
    answer = home.get("tune", {"source": "yard", **span, "per_day": 300, "label": "Dog"})
    assert answer.json == found.model_dump(mode="json")
    assert {one["label"] for one in home.get("tune", {"source": "yard", **span}).json["classes"]} == {"Dog", "Bird"}
    answer = home.get("tune/curve", {"source": "yard", "label": "Dog", **span})
    assert answer.json == dog.model_dump(mode="json")


def test_thresholds_are_tried_and_then_written(home, own_store, config_file, span):
    before = config_file.read_text()
    tried = home.ask("POST", "/api/tune/preview", {"changes": [CHANGE], **span}).json
    assert [event["id"] for event in tried["gone"]] == [3, 1]
    assert (tried["gone_total"], tried["new"], tried["note"]) == (2, 0, "")
    assert (tried["before"] > 0, tried["after"]) == (True, 0)
    assert config_file.read_text() == before
    done = home.ask("POST", "/api/tune/apply", {"changes": [CHANGE]})
    assert done.status == 200
    assert done.json["diff"] == tried["diff"] != ""
    assert done.json["path"] == str(config_file)
    assert config_file.read_text() == before.replace("{Dog: 0.5}  # as at home", "{Dog: 0.95}  # as at home")
    assert read_yaml(config_file, DaemonConfig).detection.thresholds == {"Dog": 0.95}
    assert (config_file.parent / done.json["backup"]).read_text() == before


def test_a_source_that_has_its_own_threshold_keeps_its_events(home, config_file, span):
    own = "sources: [{name: yard, detection: {thresholds: {Dog: 0.5}}, stdin: {sample_rate: 32000}}]\n"
    config_file.write_text(config_file.read_text() + own)
    tried = home.ask("POST", "/api/tune/preview", {"changes": [CHANGE], **span}).json
    assert (tried["gone"], tried["before"] == tried["after"] > 0) == ([], True)
    assert "yard keeps its own threshold" in tried["note"]
    tried = home.ask("POST", "/api/tune/preview", {"changes": [{**CHANGE, "source": "yard"}], **span}).json
    assert (tried["gone_total"], tried["after"], tried["note"]) == (2, 0, "")


def test_a_configuration_that_cannot_be_changed_is_tried_all_the_same(own_store, serve, config_file, span):
    """What would become of the events is known, and why nothing can be written; nothing is."""
    unknown, foreign = serve(own_store), serve(own_store, config_file)
    before = config_file.read_text().replace("{Dog: 0.5}", "&mine {Dog: 0.5}") + "x-mine: *mine\n"
    config_file.write_text(before)
    for page, status, reason in ((unknown, 409, "--config FILE"), (foreign, 400, str(config_file))):
        tried = page.ask("POST", "/api/tune/preview", {"changes": [CHANGE], **span}).json
        assert (tried["gone_total"], tried["diff"]) == (2, "")
        answer = page.ask("POST", "/api/tune/apply", {"changes": [CHANGE]})
        assert (answer.status, answer.json["detail"]) == (status, tried["note"])
        assert reason in tried["note"]
        assert "\n" not in tried["note"]
    assert config_file.read_text() == before


@pytest.mark.parametrize(
    ("path", "query", "status", "detail"),
    [
        ("tune", {"source": "attic"}, 404, "attic"),
        ("tune", {"source": "yard", "to_at": 1}, 400, "want a time after from_at"),
        ("tune", {"source": "yard", "from_at": 1}, 400, "want at most 31 days after from_at"),
        ("tune", {"source": "yard", "per_day": 0}, 400, "per_day"),
        ("tune", {"source": "yard", "label": ["Dog"] * 51}, 400, "label"),
        ("tune", {}, 400, "source"),
        ("tune/curve", {"source": "yard", "label": "Cat"}, 404, "Cat"),
    ],
)
def test_what_is_wrong_is_one_line(page, span, path, query, status, detail):
    answer = page.get(path, {**span, **query})
    assert (answer.status, detail in answer.json["detail"]) == (status, True), answer.json


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        ({"label": "Cat", "threshold": 0.5}, 200, "Cat"),
        ({"label": "Dog", "threshold": 0.5, "source": "attic"}, 200, "attic"),
        ({"label": "Dog", "threshold": 0}, 400, "changes.0.threshold"),
        ({"label": "Dog", "threshold": "nan"}, 400, "changes.0.threshold"),
    ],
)
def test_thresholds_that_cannot_be(page, span, store, change, status, detail):
    before = (store.parent / "detector.yaml").read_text()
    tried = page.ask("POST", "/api/tune/preview", {"changes": [change], **span})
    applied = page.ask("POST", "/api/tune/apply", {"changes": [change]})
    assert (tried.status, applied.status) == (status, 400)
    assert detail in tried.json["note" if status == 200 else "detail"]
    assert detail in applied.json["detail"]
    assert (store.parent / "detector.yaml").read_text() == before


def test_long_work_waits_for_its_turn_and_holds_up_nothing_else(page, span, monkeypatch):
    """Twenty at once: one works, and the threads that answer everything else stay free."""
    begun, go_on, going = threading.Semaphore(0), threading.Event(), []

    def held(*given, **more):
        going.append(threading.get_ident())
        begun.release()
        assert go_on.wait(60)
        assert going.pop() == threading.get_ident()
        assert going == []
        return overview(*given, **more)

    monkeypatch.setattr("htsat_edge.runtime.web.routes.tune.overview", held)
    with ThreadPoolExecutor(20) as browsers:
        answers = [browsers.submit(page.get, "tune", {"source": "yard", **span}) for _ in range(20)]
        try:
            assert begun.acquire(timeout=60)
            assert page.get("events").json["total"] == 4
        finally:
            go_on.set()
        assert {answer.result().status for answer in answers} == {200}
