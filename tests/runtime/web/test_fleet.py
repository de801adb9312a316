"""The API of a fleet, on both engines: devices, places, events and verdicts of many devices."""

import time
from contextlib import closing, contextmanager

import pytest
from fleet_store import LABELS, OTHER, USUAL, fill_fleet, health, profile, put_device

from htsat_edge.runtime.fleet.link import BrokerLink
from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.problems import ContentError
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import FleetDevice
from htsat_edge.runtime.web.fleet_summary import summaries_of, summary_of

NOW = 1e9
TOPICS = [f"htsat-edge/d{number}" for number in range(6)]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where an empty store of a collector is."""
    if request.param == "sqlite":
        return tmp_path / "fleet.db"
    return PostgresUrl(request.getfixturevalue("postgres").url())


@pytest.fixture
def fleet(place, serve):
    """The page of six devices at four places and none; the n-th has n + 1 events, of which the first has a clip."""
    now = time.time()
    fill_fleet(place, TOPICS, now)
    page = serve(place, fleet=True)
    page.now = now
    return page


def test_the_page_says_that_it_is_of_a_fleet(fleet, page):
    assert fleet.get("session").json["fleet"]
    assert not page.get("session").json["fleet"]


@pytest.mark.parametrize(
    "path", ["live", "sources", "device", "thresholds", "scores", "why", "tune", "sounds", "export"]
)
def test_what_only_a_device_has_is_not_there(fleet, path):
    assert fleet.get(path).status == 404


def test_devices_by_place_and_name(fleet):
    view = fleet.get("fleet").json
    assert view["at"] >= fleet.now
    devices = view["devices"]
    assert [(one["place"], one["name"]) for one in devices] == [
        ("Barn", "D0"),
        ("Barn", "D5"),
        ("Gate", "D2"),
        ("Orchard", "D3"),
        ("Yard", "D1"),
        (None, "D4"),
    ]
    first = devices[0]
    assert (first["device"], first["state"], first["version"], first["bundle"]) == (TOPICS[0], "online", "0.24", USUAL)
    assert (first["load"], first["temperature"], first["waiting"], first["backend"]) == (0.31, 51.2, 0, "tensorrt")
    assert (first["healthy"], first["problems"], first["lost"], first["other_model"]) == (True, [], 0, False)


def test_events_by_place(fleet):
    places = fleet.get("places", {"from_at": 0, "to_at": fleet.now + 1}).json
    assert [(one["place"], one["count"]) for one in places] == [
        ("Barn", 7),
        (None, 5),
        ("Orchard", 4),
        ("Gate", 3),
        ("Yard", 2),
    ]
    assert places[-1]["labels"] == [{"label": "Bird", "count": 1}, {"label": "Speech", "count": 1}]
    assert fleet.get("places", {"from_at": 0, "to_at": 1}).json == []
    assert fleet.get("places", {"from_at": 1, "to_at": 1}).status == 400


def test_one_list_of_events_by_device_and_place(fleet):
    events = fleet.get("events").json
    assert events["total"] == 21
    assert {event["device"] for event in events["events"]} == set(TOPICS)

    def ask(path, **query):
        return fleet.get(path, query).json

    assert ask("events", device=TOPICS[3])["total"] == 4
    assert ask("events", device=TOPICS[2:4], label="Glass")["total"] == 2
    assert ask("events", place=["Barn", "Yard"])["total"] == 9
    assert ask("events", place="Barn", device=TOPICS[3])["total"] == 0
    assert sum(day["count"] for day in ask("days", place="Barn")) == 7
    assert {one["label"] for one in ask("figures", device=TOPICS[1])["labels"]} == set(LABELS[1:3])


def test_what_no_database_holds_is_refused(fleet, monkeypatch):
    assert fleet.get("events", {"device": "a\0b"}).status == 400
    assert fleet.get("clips/a.flac", {"device": "a\0b"}).status == 400

    def refuse(*_):
        raise ContentError("cannot hold it")

    monkeypatch.setattr(StoreReader, "events", refuse)
    assert fleet.get("events").status == 400  # to try again does not help


def test_verdicts_are_kept_and_undone(fleet):
    event = fleet.get("events", {"device": TOPICS[2]}).json["events"][0]
    verdict = {"event": event["key"], "decision": "wrong", "label": "Owl", "note": "", "locked": True}
    done = fleet.ask("PUT", "/api/verdicts", {"verdicts": [verdict]}).json
    assert fleet.get(f"events/{event['key']}").json["verdict"] == verdict
    assert fleet.get("events", {"decision": "wrong", "place": "Gate"}).json["total"] == 1
    fleet.ask("PUT", "/api/verdicts", {"verdicts": done["before"]})
    assert fleet.get(f"events/{event['key']}").json["verdict"] is None


@contextmanager
def without(place, request):
    """Have no store at a place for a while."""
    if isinstance(place, PostgresUrl):
        server = request.getfixturevalue("postgres")
        server.stop()
        try:
            yield
        finally:
            server.start()
    else:
        aside = place.rename(place.with_name("aside"))
        yield
        aside.rename(place)


def test_a_store_that_goes_is_missed_and_comes_back(fleet, place, request):
    with without(place, request):
        for path in ("fleet", "places?from_at=0&to_at=1", "events", f"clips/a.flac?device={TOPICS[0]}"):
            answer = fleet.ask("GET", f"/api/{path}")
            assert answer.status == 503
            assert "sesame" not in answer.json["detail"]
            assert "\n" not in answer.json["detail"]
    assert len(fleet.get("fleet").json["devices"]) == 6


def known(**given):
    usual = dict.fromkeys(
        ("place", "info", "info_at", "health", "health_at", "online", "online_at", "last_at", "coverage")
    )
    return FleetDevice(**{"device": "a/b", **usual, "events_today": 0, "lost": 0, **given})


def test_what_is_wrong_with_a_device():
    sources = [
        {"name": "yard", "heard": True, "problems": ["muted", "hum"]},
        {"name": "roof", "heard": False},
        {"name": "well", "heard": True, "failure": "the engine fails"},
        {"name": "gate", "heard": False, "paused": True},
    ]
    outputs = [{"name": "webhook", "works": False, "waiting": 7}, {"name": "mqtt", "works": True, "waiting": 2}]
    said = health(healthy=False, sources=sources, outputs=outputs)
    summary = summary_of(known(online=True, health=said), NOW)
    assert summary.problems == ["yard: muted, hum", "roof: lost", "well: the engine fails", "webhook fails"]
    assert (summary.paused, summary.waiting, summary.healthy) == (["gate"], 9, False)
    offline = summary_of(known(online=False, health=said), NOW)  # that was then
    assert (offline.problems, offline.waiting, offline.healthy, offline.load) == ([], None, None, None)


@pytest.mark.parametrize(
    ("info", "spoke_s", "state"),
    [
        ({"health_s": 20.0}, 59, "online"),
        ({"health_s": 20.0}, 61, "silent"),
        ({"health_s": 3600.0}, 3000, "online"),
        (None, 299, "online"),
        (None, 301, "silent"),
        ({"health_s": "often"}, 301, "silent"),
        ({"health_s": -1.0}, 299, "online"),
    ],
)
def test_a_device_of_which_the_broker_alone_says_that_it_is_there(info, spoke_s, state):
    spoke = NOW - spoke_s
    device = known(online=True, online_at=NOW - 4000, info=info, health=health(), health_at=spoke)
    summary = summary_of(device, NOW)
    assert (summary.state, summary.since) == (state, NOW - 4000 if state == "online" else spoke)
    assert (summary.load, summary.waiting) == ((0.31, 0) if state == "online" else (None, None))
    assert summary_of(device.model_copy(update={"last_at": NOW - 1}), NOW).state == "online"
    assert summary_of(device.model_copy(update={"online_at": NOW - 1}), NOW).state == "online"
    assert summary_of(device.model_copy(update={"online": False}), NOW).state == "offline"


def test_a_device_is_not_silent_because_the_broker_is_away(place, serve):
    long_ago = time.time() - 7200
    fill_fleet(place, TOPICS, long_ago)
    link = BrokerLink(connected=False, since=long_ago + 10)
    page = serve(place, fleet=True, of_fleet={"broker": lambda: link})
    view = page.get("fleet").json
    assert view["broker"] == {"connected": False, "since": long_ago + 10}
    assert {one["state"] for one in view["devices"]} == {"online"}
    link = BrokerLink(connected=True, since=long_ago + 20)
    assert {one["state"] for one in page.get("fleet").json["devices"]} == {"silent"}


@pytest.mark.parametrize("said", [{"load": "much"}, {"load": float("nan")}, {"sources": 3}, {"temperatures": [1]}])
def test_health_that_cannot_be_read(said):
    summary = summary_of(known(online=True, health=said), NOW)
    assert summary.problems == ["its health cannot be read: is it of another version?"]
    assert summary.load is None


def test_health_of_other_versions_is_read_as_far_as_it_goes():
    assert summary_of(known(online=True, health={"load": 0.5, "colour": "red"}), NOW).load == 0.5
    assert summary_of(known(online=True, health={}), NOW).problems == []


@pytest.mark.parametrize("info", [None, {}, {"page": 3}, {"device": ["a"]}, {"page": "javascript:alert(1)"}])
def test_a_device_that_has_not_said_what_it_is(info):
    summary = summary_of(known(info=info), NOW)
    assert (summary.name, summary.page, summary.version, summary.state) == ("a/b", None, None, "unknown")


def test_of_long_texts_the_beginning_is_shown():
    info = dict.fromkeys(("device", "version", "model", "backend", "bundle"), "é" * 60000)
    said = health(backend=None, sources=[{"name": "yard", "failure": "x\ny" * 20_000}])
    summary = summary_of(known(online=True, info=info, health=said), NOW)
    names = (summary.name, summary.version, summary.model, summary.backend, summary.bundle)
    assert [len(text or "") for text in names] == [200] * 5
    (problem,) = summary.problems
    assert (len(problem), problem[:9]) == (300, "yard: x y")


def test_devices_with_another_model_are_marked():
    bundles = {"a/1": USUAL, "a/2": OTHER, "a/3": USUAL, "a/4": None}
    devices = [known(device=topic, info={"bundle": bundle}) for topic, bundle in bundles.items()]
    assert {one.device: one.other_model for one in summaries_of(devices, NOW)} == {
        "a/1": False,
        "a/2": True,
        "a/3": False,
        "a/4": False,
    }


def test_a_device_whose_topic_holds_anything(place, serve):
    topic, now = "a/../b %2F ?&#é", time.time()
    with closing(FleetDatabase(place)) as database, database:
        put_device(database, topic, now, profile(topic, place="a/b?"), events=[("Dog", 5.0, True)])
    page = serve(place, fleet=True)
    assert page.get("fleet").json["devices"][0]["device"] == topic
    (event,) = page.get("events", {"device": topic, "place": "a/b?"}).json["events"]
    answer = page.get(f"clips/{event['clip']['name'].replace('+', '%2B')}", {"device": topic})
    assert "has not said where its page is" in answer.json["detail"]
