"""The page of a collector in a real browser; clips come from the real page of a device."""

import json
import re
import time
from contextlib import closing

import pytest
from chromium import INK, PHONE, WIDE, find_faults
from fleet_store import CLIP, OTHER, fill_fleet, health, profile, put_device
from playwright.sync_api import expect

from htsat_edge.runtime.fleet.link import BrokerLink
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter

BARN, GATE, POND = "htsat-edge/barn", "htsat-edge/gate", "htsat-edge/pond"
LONG = "A name as long as only somebody gives it who has never seen a telephone, <b>and bold</b>" * 2
TROUBLE = {
    "healthy": False,
    "sources": [{"name": "roof", "heard": False}],
    "outputs": [{"name": "webhook", "works": False, "waiting": 213}],
    "load": 1.27,
    "temperatures": {"cpu": 91.3},
}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "fleet.db"


@pytest.fixture
def device(own_store, serve):
    """The page of a device, which has the clip."""
    return serve(own_store)


@pytest.fixture
def fleet(store, serve, device, free_port):
    """A page of three devices: one is well and has its page, one is down, one has trouble and another model."""
    now, gone = time.time(), f"http://127.0.0.1:{free_port()}"
    with closing(FleetDatabase(store)) as database, database:
        events = [("Dog", 60.0, True), ("Glass", 40.0, False)]
        put_device(database, BARN, now, profile(BARN, place="Farm", page=device.origin), events=events)
        info = profile(GATE, place="Road", page=gone)
        put_device(database, GATE, now, info, online=False, events=[("Siren", 20.0, True)])
        put_device(database, POND, now, profile(POND, bundle=OTHER, device=LONG), health(**TROUBLE))
    return serve(store, fleet=True)


def refresh(tab):
    """Have the page look at once, as it does when it is seen again."""
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_devices_up_and_down(fleet, opened, store):
    with opened(f"{fleet.origin}/") as tab:
        expect(tab).to_have_title("Fleet · htsat-edge")
        rows = tab.get_by_test_id("device-row")
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text("GateRoadDown")  # what somebody should look after comes first
        expect(rows.nth(1)).to_contain_text("<b>and bold</b>")
        for text in ("Attention", "roof: lost", "webhook fails", "127 %", "91 °C", "213", "Another model"):
            expect(rows.nth(1)).to_contain_text(text)
        expect(rows.nth(2)).to_contain_text("BarnFarmUp")
        expect(tab.get_by_test_id("connection")).to_have_text("1 of 3 down")
        expect(tab.get_by_test_id("fleet-up")).to_contain_text("2 of 3")
        link = rows.nth(2).get_by_role("link").first
        link.focus()
        with closing(FleetDatabase(store)) as database, database:
            database.put_health(BARN, json.dumps(health(load=0.52)), time.time())
        refresh(tab)
        expect(rows.nth(2)).to_contain_text("52.0 %")
        expect(link).to_be_focused()
        assert [link.inner_text() for link in tab.get_by_role("navigation").get_by_role("link").all()] == [
            "Fleet",
            "Events",
        ]
        with closing(FleetDatabase(store)) as database, database:
            database.set_online(GATE, True, time.time())
            database.put_health(POND, json.dumps(health()), time.time())
        refresh(tab)
        expect(tab.get_by_test_id("connection")).to_have_text("All up")
        tab.get_by_role("button", name="In trouble 0").click()
        expect(tab.get_by_text("No device is in trouble.")).to_be_visible()


def test_events_by_place_lead_to_the_list(fleet, opened):
    with opened(f"{fleet.origin}/#fleet") as tab:
        tab.get_by_role("button", name="30 days").click()
        places = tab.get_by_test_id("place")
        expect(places).to_have_count(2)
        expect(places.first).to_contain_text("Farm2")
        places.first.get_by_role("link", name=re.compile("Glass")).click()
        events = tab.get_by_test_id("event")
        expect(events).to_have_count(1)
        expect(events).to_contain_text("Barn · Farm · yard")
        tab.get_by_test_id("clear-filters").click()
        expect(events).to_have_count(3)
        tab.get_by_role("combobox", name="Device").select_option(GATE)
        expect(events).to_have_count(1)
        expect(tab.get_by_test_id("export-open")).to_have_count(0)


def test_a_clip_is_fetched_and_played_and_judged(fleet, opened, store, wait_for):
    with opened(f"{fleet.origin}/#events?device={BARN}&label=Dog") as tab:
        fetched = []
        tab.on("request", lambda request: fetched.append(request.url) if "/api/clips/" in request.url else None)
        tab.get_by_test_id("event").locator("button").first.click()
        detail = tab.get_by_test_id("detail")
        play = detail.get_by_role("button", name="Play")
        expect(play).to_be_visible()
        play.click()
        expect(detail.get_by_role("button", name="Pause")).to_be_visible()
        assert detail.locator("canvas").first.evaluate(INK) > 20
        assert len(fetched) == 1
        expect(tab.get_by_test_id("why-link")).to_have_count(0)  # a collector has no scores
        expect(detail).to_contain_text("the device’s own page does not know of it")
        tab.keyboard.press("w")
        expect(tab.get_by_test_id("wrong")).to_have_attribute("aria-pressed", "true")

        def judged():
            with StoreReader(store) as reader:
                return reader.events(EventFilter(decision="wrong"), 10).total

        wait_for(lambda: judged() == 1)


def test_where_the_device_is_down_the_player_says_so(fleet, opened):
    with opened(f"{fleet.origin}/#events?device={GATE}") as tab:
        tab.get_by_test_id("event").locator("button").first.click()
        detail = tab.get_by_test_id("detail")
        expect(detail.get_by_role("status")).to_contain_text("Gate: the device cannot be reached")
        expect(detail.get_by_role("status")).to_contain_text("its clips can be heard when it is back")
        expect(detail.get_by_role("button", name="Play")).to_be_hidden()


def test_a_new_event_is_shown_by_itself_but_not_to_who_is_at_work(fleet, opened, store):
    def hear(number, label):
        now = time.time()
        with closing(FleetDatabase(store)) as database, database:
            put_device(database, f"{BARN}{number}", now, events=[(label, 1.0, False)])

    with opened(f"{fleet.origin}/#events") as tab:
        events = tab.get_by_test_id("event")
        expect(events).to_have_count(3)
        hear(1, "Rain")
        refresh(tab)
        expect(events).to_have_count(4)
        tab.keyboard.press("j")
        expect(tab.get_by_test_id("detail")).to_be_visible()
        hear(2, "Engine")
        refresh(tab)
        expect(tab.get_by_test_id("fresh")).to_have_text("Show a new event")
        expect(events).to_have_count(4)


def test_a_store_that_cannot_be_read_is_said_and_comes_back(fleet, opened, store):
    with opened(f"{fleet.origin}/#fleet") as tab:
        expect(tab.get_by_test_id("device-row")).to_have_count(3)
        aside = store.rename(store.with_name("aside"))
        refresh(tab)
        expect(tab.get_by_test_id("banner")).to_contain_text("The store cannot be read")
        tab.get_by_role("button", name="7 days").click()
        expect(tab.get_by_test_id("places").locator(".problem")).to_be_visible()
        aside.rename(store)
        refresh(tab)
        expect(tab.get_by_test_id("banner")).to_be_hidden()
        expect(tab.get_by_test_id("place")).to_have_count(2)


def test_what_says_nothing_and_a_broker_that_is_away(store, serve, opened):
    now = time.time()
    with closing(FleetDatabase(store)) as database, database:
        put_device(database, BARN, now - 7200)
    link = BrokerLink(connected=True, since=now)
    with opened(f"{serve(store, fleet=True, of_fleet={'broker': lambda: link}).origin}/#fleet") as tab:
        row = tab.get_by_test_id("device-row")
        expect(row).to_contain_text(re.compile("Silentsays nothing since .*[0-9]"))
        expect(tab.get_by_test_id("connection")).to_have_text("1 of 1 needs attention")
        expect(tab.get_by_test_id("banner")).to_be_hidden()
        link = BrokerLink(connected=False, since=now - 7100)
        refresh(tab)
        expect(tab.get_by_test_id("banner")).to_contain_text("The collector does not reach its broker")
        expect(tab.get_by_test_id("connection")).to_have_text("No broker")
        expect(row).to_contain_text("Up")
        assert find_faults(tab) == []


def test_a_fleet_without_a_device(store, serve, opened):
    FleetDatabase(store).close()
    link = BrokerLink(connected=False, since=time.time() - 60)
    with opened(f"{serve(store, fleet=True, of_fleet={'broker': lambda: link}).origin}/#fleet") as tab:
        expect(tab.get_by_test_id("connection")).to_have_text("No broker")
        expect(tab.get_by_role("heading", name="No device has been heard yet")).to_be_visible()
        link = BrokerLink(connected=True, since=time.time())
        refresh(tab)
        expect(tab.get_by_test_id("connection")).to_have_text("No device yet")
        assert find_faults(tab) == []


def test_names_that_nobody_can_say_do_not_fill_the_page(store, serve, opened):
    now = time.time()
    with closing(FleetDatabase(store)) as database, database:
        info = dict.fromkeys(("device", "place", "version", "model"), "Wide " * 200)
        sources = [{"name": "roof" * 100, "failure": "it fails" * 100} for _ in range(40)]
        events = [("Bird" * 50, 1.0, False)]
        put_device(database, BARN, now, profile(BARN, **info), health(sources=sources), events=events)
        put_device(database, POND, now, profile(POND, **info), online=None)
    with opened(f"{serve(store, fleet=True).origin}/#fleet") as tab:
        expect(tab.get_by_test_id("device-row")).to_have_count(2)
        expect(tab.get_by_test_id("device-row").first).to_contain_text("and 37 more")
        expect(tab.get_by_test_id("fleet-up")).to_contain_text("1 not known")
        for size, most in ((WIDE, 1000), (PHONE, 1700)):
            tab.set_viewport_size(size)
            assert tab.evaluate("document.documentElement.scrollHeight") < most
            assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]
            for chip in tab.locator(".chip b").all():
                expect(chip).to_be_in_viewport()
        tab.get_by_test_id("place").get_by_role("link", name=re.compile("Bird")).click()
        expect(tab.get_by_test_id("clear-filters")).to_be_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert tab.get_by_test_id("event").bounding_box()["height"] < 150


def test_two_hundred_devices_are_searched(store, serve, opened):
    fill_fleet(store, [f"htsat-edge/d{number}" for number in range(200)], time.time())
    with opened(f"{serve(store, fleet=True).origin}/#fleet") as tab:
        rows = tab.get_by_test_id("device-row")
        expect(rows).to_have_count(200)
        tab.get_by_label("Find devices").fill("d19")
        expect(rows).to_have_count(11)  # 19, and 190 to 199
        tab.get_by_label("Find devices").fill("orchard")
        expect(rows).to_have_count(40)


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide", "phone"])
def test_every_view_fits_and_is_accessible(fleet, opened, size, scheme):
    views = {"fleet": "device-row", "events": "event", f"events?device={GATE}&event=3": "detail"}
    for view, part in views.items():
        with opened(f"{fleet.origin}/#{view}", size, scheme) as tab:
            expect(tab.get_by_test_id(part).first).to_be_visible()
            assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth"), view
            assert find_faults(tab) == [], view


def test_a_view_of_a_device_is_none_of_a_fleet(fleet, opened):
    with opened(f"{fleet.origin}/#live") as tab:
        expect(tab.get_by_test_id("device-row")).to_have_count(3)
        assert CLIP not in tab.content()
