"""States that systemd gets, on a real datagram socket."""

import socket

import pytest

from htsat_edge.runtime.daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    address = str(tmp_path / "notify") if request.param == "path" else f"@htsat-edge-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield receiver


def test_states_arrive(systemd):
    Notifier().report(READY="1", STATUS="listening to yard")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=listening to yard"


def test_the_watchdog_gets_no_more_than_it_needs(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "600000000")
    notifier = Notifier()
    for _ in range(5):
        notifier.alive()
    notifier.report(STOPPING="1")
    assert systemd.recv(1000) == b"WATCHDOG=1"
    assert systemd.recv(1000) == b"STOPPING=1"


def test_the_watchdog_hears_it_three_times_as_often_as_it_must(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    notifier = Notifier()
    for seconds in (0, 0.9, 1.1, 2.0, 2.2):
        monkeypatch.setattr("time.monotonic", lambda seconds=seconds: 1000 + seconds)
        notifier.alive()
        notifier.report(STATUS=str(seconds))
    found = [systemd.recv(1000).decode() for _ in range(8)]
    alive = "WATCHDOG=1"
    assert found == [alive, "STATUS=0", "STATUS=0.9", alive, "STATUS=1.1", "STATUS=2.0", alive, "STATUS=2.2"]


def test_without_systemd_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().report(READY="1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    Notifier().report(READY="1")
