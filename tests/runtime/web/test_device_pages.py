"""Clips of a fleet, from the pages of its devices: real pages, pages that are gone, and what is no page at all."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from urllib.parse import quote

import pytest
from fleet_store import CLIP, profile, put_device

from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.web import device_pages
from htsat_edge.runtime.web.device_pages import DevicePageError, DevicePages, split_address
from htsat_edge.runtime.web.logins import Logins

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


@pytest.fixture
def secret(monkeypatch, password):
    monkeypatch.setenv("PAGES", password)
    return Secret(env="PAGES")


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


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "barn.local",
        "ftp://barn",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http://barn:0",
        "http://barn:99999",
        "http://user:word@barn",
        "http://barn?x=1",
        "http://barn#x",
        "http://ba rn",
        "http://barn\r\nX: y",
        "http://[::1",
    ],
)
def test_addresses_that_are_none(address):
    assert split_address(address) is None
    with pytest.raises(DevicePageError, match="names no address"):
        DevicePages(None).fetch(address, CLIP)


def test_a_device_without_a_page_says_what_to_do(collector):
    answer = ask(collector(None))
    assert answer.status == 502
    assert "outputs.mqtt.page" in answer.json["detail"]


@contextmanager
def answering(answer, hold=None, tls=None):
    """Answer one connection with bytes, whatever it asks, and hold it open for as long as that; yield the address."""
    asked = []

    def run():
        connection, _ = listener.accept()
        with suppress(ssl.SSLError), tls.wrap_socket(connection, server_side=True) if tls else connection as connection:
            request = connection.recv(65_536)
            while b"\r\n\r\n" not in request:
                request += connection.recv(65_536)
            asked.append(request)
            connection.sendall(answer)
            if hold is not None:
                hold.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    thread.join(30)


@contextmanager
def setting(event):
    """Set an event at the end."""
    try:
        yield
    finally:
        event.set()


def http(status, *headers, body=b"", length=None):
    lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(200, "Content-Type: text/html", body=b"<script>alert(1)</script>"), "does not give the clip"),
        (http(200, "Content-Type: audio/wav", body=b"RIFF"), "does not give the clip"),  # the name says FLAC
        (http(302, "Location: http://127.0.0.1:1/secret", "Content-Type: audio/flac"), "does not give the clip"),
        (http(500, "Content-Type: audio/flac"), "does not give the clip"),
        (http(200, "Content-Type: audio/flac", body=b"fLaC", length=99), "a part of the clip alone"),
        (http(200, "Content-Type: audio/flac", length=device_pages.MOST_CLIP + 1), "a part of the clip alone"),
        (http(200, "Content-Type: audio/flac", body=bytes(11)), "more than"),
        (b"HTTP/1.1 200 So\r\n" + b"X: y\r\n" * 200 + b"\r\n", "is no page of htsat-edge"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "is no page of htsat-edge"),
        (b"", "no connection"),
    ],
    ids=[
        "html",
        "another kind",
        "redirection",
        "error",
        "cut",
        "promised too much",
        "too long",
        "headers",
        "ssh",
        "hang-up",
    ],
)
def test_what_is_no_clip_is_not_passed_on(monkeypatch, answer, said):
    if said == "more than":
        monkeypatch.setattr(device_pages, "MOST_CLIP", 10)
    with answering(answer) as (address, _), pytest.raises(DevicePageError, match=said) as caught:
        DevicePages(None).fetch(address, CLIP)
    assert "alert" not in caught.value.detail


def test_headers_of_a_device_are_its_own(collector):
    """A device sets no cookie here, and says nothing of its answer but what part of the clip it is."""
    sly = http(200, "Content-Type: audio/flac; x=y", "Set-Cookie: htsat-edge=1", "Refresh: 0; url=//evil", body=b"fLaC")
    with answering(sly) as (address, asked):
        answer = ask(collector(address), Cookie="mine=1")
    assert (answer.status, answer.content, answer.cookies) == (200, b"fLaC", [])
    assert "refresh" not in answer.headers
    assert answer.headers["content-type"] == "audio/flac"
    assert b"mine=1" not in asked[0]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 So\r\nContent-Length: 9\r\nContent-Type: audio/flac\r\n\r\nf"])
def test_a_device_that_hangs_is_left(monkeypatch, sent):
    """The one socket says nothing more; the deadline ends it, not the patience of each read."""
    monkeypatch.setattr(device_pages, "LONGEST_S", 0.2)
    monkeypatch.setattr(device_pages, "CONNECT_S", 600.0)
    over, cut, cut_off = threading.Event(), [], device_pages.cut_off
    monkeypatch.setattr(device_pages, "cut_off", lambda connected: cut.append(connected) or cut_off(connected))
    with answering(sent, hold=over) as (address, _), setting(over), pytest.raises(DevicePageError):
        DevicePages(None).fetch(address, CLIP)
    assert len(cut) == 1


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


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("barn.lan", True),
        ("BARN.lan:8480", True),
        ("a.b.lan", True),
        ("lan", False),
        ("barn.lan.example.org", False),
        ("10.0.3.7", True),
        ("10.0.31.7", False),
        ("10.0.3.example.org", False),
        ("[fd00::7]", True),
        ("[fe80::7]", False),
    ],
)
def test_patterns_of_hosts(host, fits):
    page = split_address(f"http://{host}")
    assert device_pages.is_listed(page, ["*.LAN", "10.0.3.*", "fd00::*"]) is fits
    assert device_pages.is_listed(page, ["*"])


def test_one_deadline_for_a_clip_and_its_login(own_store, serve, password_file, secret, monkeypatch):
    ends, bounded_time = [], device_pages.bounded_time
    monkeypatch.setattr(device_pages, "bounded_time", lambda *given: ends.append(given[1:]) or bounded_time(*given))
    DevicePages(secret).fetch(serve(own_store, password_file=password_file).origin, CLIP)
    assert len(ends) == 3
    assert len(set(ends)) == 1


def test_the_way_is_looked_at_before_a_password_is_sent(own_store, serve, password_file, secret, monkeypatch):
    def refuse(*_):
        raise DevicePageError(502, "no way")

    tried = []
    monkeypatch.setattr(Logins, "try_password", lambda *given: tried.append(given))
    monkeypatch.setattr(device_pages, "check_way", refuse)
    with pytest.raises(DevicePageError, match="no way"):
        DevicePages(secret).fetch(serve(own_store, password_file=password_file).origin, CLIP)
    assert tried == []


def test_a_page_by_https_must_be_trusted(tmp_path, monkeypatch):
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=barn", "-days", "1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    clip = http(200, "Content-Type: audio/flac", body=b"fLaC")
    with answering(clip, tls=context) as (address, _), pytest.raises(DevicePageError, match="cannot be trusted"):
        DevicePages(None).fetch(address.replace("http:", "https:"), CLIP)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with answering(clip, tls=context) as (address, _):
        assert DevicePages(None).fetch(address.replace("http:", "https:"), CLIP).content == b"fLaC"


def test_no_password_goes_through_the_internet_in_the_clear(monkeypatch, secret):
    class Elsewhere:
        """An address of the Internet, where the socket of a test leads to this device."""

        def __init__(self, peer):
            self.sock = self
            self.getpeername = lambda: (peer, 80)

    page = split_address("http://example.org")
    with pytest.raises(DevicePageError, match="https"):
        device_pages.check_way(page, Elsewhere("93.184.216.34"))
    with pytest.raises(DevicePageError, match="https"):
        device_pages.check_way(page, Elsewhere("2606:2800:220:1:248:1893:25c8:1946"))
    for near in ("127.0.0.1", "192.168.1.7", "10.0.0.3", "100.64.1.2", "fe80::1%eth0", "fd00::1"):
        device_pages.check_way(page, Elsewhere(near))
    device_pages.check_way(split_address("https://example.org"), Elsewhere("93.184.216.34"))
