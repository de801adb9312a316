"""The clips of a fleet as its page gives them, from real pages of devices, and from what is none."""

import socket
import threading
import time
from contextlib import closing
from urllib.parse import quote

import pytest
from fleet_store import CLIP, profile, put_device
from sly_device import answering, http

from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.web.device_pages import DevicePages, FetchedClip
from htsat_edge.runtime.web.logins import Logins
from htsat_edge.runtime.web.routes.fleet_clips import MOST_FETCHING

TOPIC = "htsat-edge/barn"


@pytest.fixture
def device(own_store, serve):
    """The page of a device, which has the clip."""
    return serve(own_store)


@pytest.fixture
def content(own_store, clip):
    return (own_store.parent / "clips" / clip).read_bytes()


@pytest.fixture
def collector(tmp_path, serve):
    """Serve a collector whose one device names an address of its page."""

    def begin(address, page_password=None, online=True, page_hosts=None):
        now, path = time.time(), tmp_path / "fleet.db"
        path.unlink(missing_ok=True)
        with closing(FleetDatabase(path)) as database, database:
            info = profile(TOPIC, place="Barn", page=address)
            put_device(database, TOPIC, now, info, online=online, events=[("Dog", 60.0, True)])
        return serve(path, fleet=True, of_fleet={"page_password": page_password, "page_hosts": page_hosts})

    return begin


def ask(page, name=CLIP, device=TOPIC, **headers):
    return page.get(f"clips/{quote(name)}", {"device": device}, **headers)


def test_a_clip_comes_from_its_device(device, collector, content):
    page = collector(f"{device.origin}/")
    whole = ask(page)
    assert (whole.status, whole.content, whole.headers["content-type"]) == (200, content, "audio/flac")
    part = ask(page, Range="bytes=100-299")
    assert (part.status, part.content) == (206, content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(content)}"
    assert ask(page, Range=f"bytes={len(content)}-").status == 416
    assert ask(page, Range="lines=1-2").content == content


def test_only_clips_of_the_store_are_asked_for(device, collector):
    page = collector(device.origin)
    assert ask(page, name="other.flac").json["detail"] == f"clip other.flac of {TOPIC} does not exist"
    assert ask(page, device="htsat-edge/yard").status == 404
    assert page.get(f"clips/{quote(CLIP)}").status == 400


def test_the_collector_logs_in_once(own_store, serve, collector, content, password_file, secret, monkeypatch):
    device = serve(own_store, password_file=password_file)
    page = collector(device.origin, secret)
    tried, really = [], Logins.try_password
    monkeypatch.setattr(Logins, "try_password", lambda *given: tried.append(given) or really(*given))
    assert [ask(page).content for _ in range(3)] == [content] * 3
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "asks for a password"), ("wrong horse", "does not take the password")],
)
def test_a_password_that_is_missing_or_wrong(own_store, serve, collector, password_file, monkeypatch, given, said):
    device = serve(own_store, password_file=password_file)
    monkeypatch.setenv("PAGES", given or "")
    answer = ask(collector(device.origin, given and Secret(env="PAGES")))
    assert answer.status == 502
    assert said in answer.json["detail"]
    assert "horse" not in answer.json["detail"]


def test_a_device_that_is_down_is_said_to_be(collector, free_port):
    address = f"http://127.0.0.1:{free_port()}"
    answer = ask(collector(address, online=False))
    assert answer.status == 502
    assert answer.json["detail"].startswith(f"Barn: the device cannot be reached at {address}: Connection refused")
    assert "offline; its clips can be heard when it is back" in answer.json["detail"]


def test_a_clip_that_the_device_has_deleted(device, collector, own_store, clip):
    (own_store.parent / "clips" / clip).unlink()
    answer = ask(collector(device.origin))
    assert (answer.status, answer.json["detail"]) == (404, "Barn: the device does not have this clip any more")


def test_a_device_without_a_page_says_what_to_do(collector):
    answer = ask(collector(None))
    assert answer.status == 502
    assert "outputs.mqtt.page" in answer.json["detail"]


def test_headers_of_a_device_are_its_own(collector):
    """A device sets no cookie here, and says nothing of its answer but what part of the clip it is."""
    sly = http(200, "Content-Type: audio/flac; x=y", "Set-Cookie: htsat-edge=1", "Refresh: 0; url=//evil", body=b"fLaC")
    with answering(sly) as (address, asked):
        answer = ask(collector(address), Cookie="mine=1")
    assert (answer.status, answer.content, answer.cookies) == (200, b"fLaC", [])
    assert "refresh" not in answer.headers
    assert answer.headers["content-type"] == "audio/flac"
    assert b"mine=1" not in asked[0]


def test_a_slow_device_keeps_only_its_own_clips_waiting(tmp_path, serve, monkeypatch, wait_for):
    """Two of its clips are fetched at a time, and none for whoever has left meanwhile."""
    now, path, topics = time.time(), tmp_path / "fleet.db", ("a/slow", "a/good")
    with closing(FleetDatabase(path)) as database, database:
        for topic in topics:
            put_device(database, topic, now, profile(topic, page=f"http://{topic[2:]}"), events=[("Dog", 60.0, True)])
    asked, over = [], threading.Event()

    def fetch(_, address, *__):
        asked.append(address)
        if address == "http://slow":
            over.wait(60)
        return FetchedClip(200, b"fLaC", "audio/flac", {})

    monkeypatch.setattr(DevicePages, "fetch", fetch)
    page = serve(path, fleet=True)
    request = f"GET /api/clips/{quote(CLIP)}?device=a/slow HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode()
    try:
        impatient = [page.connect() for _ in range(2 * MOST_FETCHING)]
        for connection in impatient:
            connection.sendall(request)
        wait_for(lambda: len(asked) == 2)
        assert ask(page, device="a/good").content == b"fLaC"
        for connection in impatient:
            connection.close()
        assert ask(page, device="a/good").status == 200  # so the page knows that these have left
    finally:
        over.set()
    assert ask(page, device="a/slow").content == b"fLaC"
    assert asked.count("http://slow") == 3


def test_no_host_but_those_listed_is_asked(collector, secret):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answer = ask(collector(address, secret, page_hosts=["*.lan", "10.0.3.*"]))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert answer.status == 502
    assert "Barn: the device's page is at 127.0.0.1, which is not among `page_hosts`" in answer.json["detail"]


def test_hosts_that_are_listed(own_store, serve, collector, content, password_file, secret):
    device = serve(own_store, password_file=password_file)
    assert ask(collector(device.origin, secret, page_hosts=["127.0.*"])).content == content
