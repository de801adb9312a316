"""The page in a real browser, with a real daemon behind it that hears the demo recording in real time."""

import json
import re
import signal
import subprocess
import sys
import time
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile
from chromium import INK, PHONE, WIDE, find_faults
from playwright.sync_api import expect

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.messages import ConfigLoaded, Enrolled
from htsat_edge.runtime.web.server import open_port

VIEWS = {
    "live": "source",
    "events": "event",
    "why": "why-text",
    "tune": "tune-curve",
    "sounds": "teach-card",
    "device": "sources",
}
"""By name, a part that is there once the view is."""
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def demo(browser):
    """The address of `htsat-edge web --demo`, which ends without a trace of an error."""
    with open_port("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "htsat_edge", "web", "--demo", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        assert f"the page is at http://127.0.0.1:{port}" in first
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode in (0, 130)


def test_what_is_heard_is_seen(demo, opened):
    with opened(f"{demo}/#live") as tab:
        source = tab.get_by_test_id("source")
        expect(source.get_by_test_id("source-state")).to_have_text("Heard", timeout=60_000)
        expect(source.get_by_test_id("hearing-now")).to_contain_text(
            re.compile("Speech|Dog|Thunder|Fowl"), timeout=60_000
        )
        assert source.locator("canvas").first.evaluate(INK) > 100  # a picture, and not a plain field
        expect(tab.get_by_test_id("connection")).to_have_text("Listening")


@pytest.fixture(scope="module")
def heard(demo, wait_for):
    """The demo's address, once there is an event with a clip."""

    def has_clip():
        return get(f"{demo}/api/events?has_clip=true")["total"] > 0

    wait_for(has_clip, 60)
    return demo


@pytest.fixture(scope="module")
def scored(heard, wait_for):
    """The same, once scores are stored, too."""
    span = f"from_at={time.time() - 3600}&to_at={time.time() + 3600}"
    wait_for(lambda: get(f"{heard}/api/tune?source=farmyard&{span}")["classes"], 120)
    return heard


def get(address):
    with urlopen(address) as answer:
        return json.load(answer)


def test_an_event_is_played_judged_and_undone(heard, opened, wait_for):
    with opened(f"{heard}/#events?clip=true") as tab:
        expect(tab.get_by_test_id("event").first).to_be_visible()
        tab.keyboard.press("j")
        detail = tab.get_by_test_id("detail")
        expect(detail).to_be_visible()
        assert detail.locator("canvas").first.evaluate(INK) > 20
        tab.keyboard.press(" ")
        expect(detail.get_by_role("button", name="Pause")).to_be_visible()
        correct = tab.get_by_test_id("correct")
        tab.keyboard.press("c")
        expect(correct).to_have_attribute("aria-pressed", "true")
        tab.keyboard.press("u")
        expect(correct).to_have_attribute("aria-pressed", "false")
        tab.keyboard.press("w")
        tab.keyboard.press("r")
        tab.keyboard.type("Rain <b>")
        tab.keyboard.press("Enter")
        expect(tab.get_by_test_id("really")).to_have_value("Rain <b>")

        def labels():
            judged = tab.evaluate("fetch('api/events?decision=wrong').then(answer => answer.json())")
            return [event["verdict"]["label"] for event in judged["events"]]

        wait_for(lambda: labels() == ["Rain <b>"], 60)


def test_why_an_event_was_reported(heard, opened):
    with opened(f"{heard}/#events?clip=true") as tab:
        tab.get_by_test_id("event").first.locator("button").first.click()
        tab.get_by_test_id("why-link").click()
        expect(tab.get_by_test_id("why-text")).to_contain_text("was reported")
        assert tab.get_by_test_id("why-chart").locator("canvas").first.evaluate(INK) > 5


def test_why_looks_again_until_scores_are_stored(heard, opened):
    early = []

    def answer(route):
        if not early:
            early.append(route.fetch().json())
            route.fulfill(json={**early[0], "text": "Dog was reported; its scores are not stored yet.", "steps": []})
        else:
            route.continue_()

    with opened(f"{heard}/#live") as tab:
        tab.route("**/api/why?*", answer)
        tab.goto(f"{heard}/#why")
        text = tab.get_by_test_id("why-text")
        expect(text).to_contain_text("not stored yet")
        expect(text).not_to_contain_text("not stored yet", timeout=120_000)


def test_the_list_is_there_where_so_many_events_cannot_be_counted_in_time(heard, opened):
    slow = {"detail": "the answer takes longer than 5 s; ask for less at once"}
    with opened(f"{heard}/#live") as tab:
        for question in ("figures", "days"):
            tab.route(f"**/api/{question}*", lambda route: route.fulfill(status=503, json=slow))
        tab.goto(f"{heard}/#events")
        expect(tab.get_by_test_id("event").first).to_be_visible()
        expect(tab.get_by_text(slow["detail"])).to_be_visible()
        tab.unroute("**/api/figures*")
        tab.reload()
        expect(tab.get_by_text("By hour")).to_be_visible()
        expect(tab.get_by_text("Not all could be counted")).to_be_visible()


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide", "phone"])
def test_every_view_fits_and_is_accessible(scored, opened, size, scheme):
    for view, part in VIEWS.items():
        with opened(f"{scored}/#{view}", size, scheme) as tab:
            expect(tab.get_by_test_id(part).first).to_be_visible()
            assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth"), view
            assert find_faults(tab) == [], view


def test_the_page_is_light(demo, opened):
    with opened(f"{demo}/#device") as tab:
        expect(tab.get_by_test_id("model")).to_contain_text("bundled")
        sizes = tab.evaluate(
            "performance.getEntriesByType('resource').filter(each => each.name.includes('/static/'))"
            ".map(each => each.transferSize)"
        )
        assert len(sizes) > 10
        assert 0 < sum(sizes) < MOST_BYTES


def test_a_daemon_that_goes_is_missed_and_comes_back(own_store, serve, daemon, opened):
    running = daemon(own_store.with_name("events.db.live"))
    with opened(f"{serve(own_store).origin}/#live") as tab:
        connection = tab.get_by_test_id("connection")
        expect(connection).to_have_text("Listening")
        running.close()
        expect(tab.get_by_test_id("banner")).to_be_visible()
        daemon(own_store.with_name("events.db.live"))
        expect(connection).to_have_text("Listening")
        expect(tab.get_by_test_id("banner")).to_be_hidden()


def test_a_source_that_is_paused_is_no_fault(own_store, serve, daemon, opened):
    daemon(own_store.with_name("events.db.live"), paused=True, heard=False, level_dbfs=None)
    with opened(f"{serve(own_store).origin}/#device") as tab:
        expect(tab.get_by_test_id("sources")).to_contain_text("Paused")
        expect(tab.get_by_test_id("health")).to_have_text("HealthGoodPaused: yard")
        tab.goto(tab.url.replace("#device", "#live"))
        expect(tab.get_by_test_id("source-state")).to_have_text("Paused")


CONFIG = """\
# the yard
sources: [{{name: yard, stdin: {{sample_rate: 32000}}}}]
detection:
  thresholds:
    Dog: 0.5   # ours barks
outputs:
  store: {{path: {store}}}
"""


def test_a_threshold_is_found_and_put_in_force(recent_store, serve, daemon, opened, tmp_path):
    config = tmp_path / "detector.yaml"
    config.write_text(CONFIG.format(store=recent_store))
    running = daemon(recent_store.with_name("events.db.live"))
    with opened(f"{serve(recent_store, config).origin}/#tune?label=Dog") as tab:
        expect(tab.get_by_test_id("connection")).to_have_text("Listening")
        assert tab.get_by_test_id("tune-curve").locator("canvas").evaluate(INK) > 20
        tab.get_by_test_id("tune-find").click()  # of a minute, nothing can be promised
        expect(tab.get_by_test_id("tune-promise")).to_contain_text("too short to promise 1 a day")
        tab.get_by_test_id("tune-slider").press("End")
        expect(tab.get_by_test_id("tune-gone")).to_have_count(2)
        tab.get_by_test_id("tune-diff").click()
        expect(tab.get_by_role("dialog")).to_contain_text("-    Dog: 0.5   # ours barks")
        tab.keyboard.press("Escape")
        tab.get_by_test_id("tune-apply").click()
        result = tab.get_by_test_id("tune-result")
        expect(result).to_contain_text(str(config))
        running.offer(ConfigLoaded(time=None, text="thresholds: Dog 0.5 -> 0.95"))
        expect(result).to_contain_text("In force since")
        expect(result).to_contain_text("Dog 0.5 -> 0.95")
    assert "# ours barks" in config.read_text()
    assert read_yaml(config, DaemonConfig).detection.thresholds["Dog"] > 0.9


def test_without_a_configuration_the_lines_are_given(recent_store, serve, opened):
    with opened(f"{serve(recent_store).origin}/#tune?label=Dog") as tab:
        tab.get_by_test_id("tune-slider").press("PageUp")
        expect(tab.get_by_test_id("tune-byhand")).to_contain_text("detection:\n  thresholds:\n    Dog: 0.")
        expect(tab.get_by_test_id("tune-apply")).to_be_hidden()


def ring(number):
    """A bell that rings twice, no two alike, with a little noise."""
    rng = np.random.default_rng(number)
    t = np.arange(48_000) / 32_000
    sound = rng.normal(0, 0.003, len(t))
    for onset, pitch in ((0.1, 660), (0.6, 523)):
        after = np.clip(t - onset - rng.uniform(0, 0.05), 0, None)
        for partial, level in ((1, 0.3), (2.76, 0.15), (5.4, 0.08)):
            sound += level * np.exp(-4 * after) * np.sin(2 * np.pi * pitch * partial * after)
    return rng.uniform(0.5, 1) * sound


def test_a_sound_is_taught(own_store, config_file, serve, daemon, opened, tmp_path):
    """Recordings come from an event, from the microphone, and from files; some are left out again."""
    running = daemon(own_store.with_name("events.db.live"))
    files = [tmp_path / f"{number}.wav" for number in range(5)]
    for number, path in enumerate(files):
        soundfile.write(path, ring(number), 32_000)
    with opened(f"{serve(own_store, config_file).origin}/#events?clip=1") as tab:
        tab.get_by_test_id("event").locator("input").check()
        tab.get_by_test_id("teach-events").click()
        takes = tab.locator("[data-testid=take][data-state=ready]")
        expect(takes).to_have_count(1)
        tab.get_by_test_id("teach-record").click()
        expect(tab.locator(".teach-drop .number")).to_have_text(re.compile("^[1-9]"))
        tab.get_by_test_id("teach-record").click()
        expect(takes).to_have_count(2)
        tab.get_by_test_id("teach-files").set_input_files(files)
        expect(takes).to_have_count(7)
        for _ in range(2):
            takes.first.get_by_role("button", name="Leave out").click()
        expect(tab.get_by_test_id("teach")).to_be_disabled()
        tab.get_by_test_id("teach-label").fill("Our doorbell")
        tab.get_by_test_id("teach").click()
        outcome = tab.get_by_test_id("teach-outcome")
        expect(outcome).to_contain_text("the daemon takes it over", timeout=60_000)
        expect(outcome.get_by_test_id("sound-report")).to_contain_text("Heard again")
        running.offer(Enrolled(time=None, labels=["Our doorbell"], text="Our doorbell"))
        expect(outcome).to_contain_text("Listening for Our doorbell")
        expect(tab.get_by_test_id("sound")).to_contain_text("Recordings5")
        tab.get_by_role("button", name="Remove Our doorbell").click()
        tab.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(tab.get_by_test_id("sound")).to_have_count(0)


def test_a_password_is_asked_for(own_store, serve, opened, password, password_file):
    with opened(f"{serve(own_store, password_file=password_file).origin}/#events") as tab:
        field = tab.get_by_label("Password")
        field.fill("wrong")
        tab.keyboard.press("Enter")
        expect(tab.get_by_test_id("login")).to_contain_text("wrong")
        field.fill(password)
        tab.keyboard.press("Enter")
        expect(tab.get_by_test_id("event")).to_have_count(4)
