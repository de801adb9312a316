"""What a device's page is asked for, and what it is not trusted with: no sound, no end, no way for a password."""

import ssl
import threading
from contextlib import contextmanager

import pytest
from fleet_store import CLIP
from sly_device import answering, http

from htsat_edge.runtime.web import device_pages
from htsat_edge.runtime.web.device_pages import DevicePageError, DevicePages, split_address
from htsat_edge.runtime.web.logins import Logins


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
        "http://barn/" + 1000 * "a",
    ],
)
def test_addresses_that_are_none(address):
    assert split_address(address) is None
    with pytest.raises(DevicePageError, match="names no address"):
        DevicePages(None).fetch(address, CLIP)


@contextmanager
def setting(event):
    """Set an event at the end."""
    try:
        yield
    finally:
        event.set()


CHUNKED = b"HTTP/1.1 200 So\r\nContent-Type: audio/flac\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(200, "Content-Type: text/html", body=b"<script>alert(1)</script>"), "does not give the clip"),
        (http(200, "Content-Type: audio/wav", body=b"RIFF"), "does not give the clip"),  # the name says FLAC
        (http(302, "Location: http://127.0.0.1:1/secret", "Content-Type: audio/flac"), "does not give the clip"),
        (http(500, "Content-Type: audio/flac"), "does not give the clip"),
        (http(200, "Content-Type: audio/flac", body=b"fLaC", length=99), "a part of the clip alone"),
        (http(200, "Content-Type: audio/flac", length=device_pages.MOST_CLIP + 1), "more than"),
        (http(200, "Content-Type: audio/flac", body=bytes(11)), "more than"),
        (CHUNKED + b"b\r\n" + bytes(11) + b"\r\n0\r\n\r\n", "more than"),
        (CHUNKED + b"9\r\nfLaC", "a part of the clip alone"),
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
        "too long in chunks",
        "cut in a chunk",
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


def test_a_clip_of_unsaid_length():
    for answer in (
        CHUNKED + b"2\r\nfL\r\n2\r\naC\r\n0\r\n\r\n",
        b"HTTP/1.0 200 So\r\nContent-Type: audio/flac\r\n\r\nfLaC",
    ):
        with answering(answer) as (address, _):
            assert DevicePages(None).fetch(address, CLIP).content == b"fLaC"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 So\r\nContent-Length: 9\r\nContent-Type: audio/flac\r\n\r\nf"])
def test_a_device_that_hangs_is_left(monkeypatch, sent):
    """The one socket says nothing more; the deadline ends it, not the patience of each read."""
    monkeypatch.setattr(device_pages, "LONGEST_S", 0.2)
    monkeypatch.setattr(device_pages, "CONNECT_S", 600.0)
    over, cut, cut_off = threading.Event(), [], device_pages.cut_off
    monkeypatch.setattr(device_pages, "cut_off", lambda connected: cut.append(connected) or cut_off(connected))
    with answering(sent, hold=over) as (address, _), setting(over), pytest.raises(DevicePageError) as caught:
        DevicePages(None).fetch(address, CLIP)
    assert len(cut) == 1
    assert (caught.value.status, "not answer in time" in caught.value.detail) == (504, True)


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


def test_a_page_by_https_must_be_trusted(certificate, monkeypatch):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    clip = http(200, "Content-Type: audio/flac", body=b"fLaC")
    with answering(clip, tls=context) as (address, _), pytest.raises(DevicePageError, match="cannot be trusted"):
        DevicePages(None).fetch(address.replace("http:", "https:"), CLIP)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.crt))
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
