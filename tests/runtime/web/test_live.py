"""The live stream, with real connections: what comes, who is let go, and that nobody is waited for."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading

import pytest

from htsat_edge.runtime.daemon.messages import OutputBack
from htsat_edge.runtime.web import hub


@pytest.fixture
def socket_path(tmp_path):
    return tmp_path / "live"


@pytest.fixture
def page(store, serve, socket_path):
    return serve(store, socket=socket_path)


@pytest.fixture
def follow(page):
    """Open live streams, which are closed at the end."""
    streams = []

    def open_stream(query=""):
        streams.append(page.follow(query))
        return streams[-1]

    yield open_stream
    for stream in streams:
        stream.close()


def offer(server, *messages):
    for message in messages:
        server.offer(message)


def test_who_comes_gets_what_was_there_before(daemon, follow, frame, socket_path):
    server = daemon(socket_path)
    first = follow()
    assert first.find("daemon") == [{"running": True}]
    (device,) = first.find("device")
    assert device["sources"][0]["name"] == "yard"
    offer(server, *(frame(k) for k in range(3)))
    assert [one["onset"] for one in first.find("frame", 3)] == [0, 0.32, 0.64]
    late = iter(follow())
    names = [next(late) for _ in range(5)]
    assert [name for name, _ in names] == ["daemon", "device", "frame", "frame", "frame"]
    assert [content["onset"] for name, content in names if name == "frame"] == [0, 0.32, 0.64]


def test_frames_of_some_sources_or_none(daemon, follow, frame, socket_path):
    server = daemon(socket_path)
    yard, none = follow("?source=yard&source=attic"), follow("?frames=false")
    for stream in (yard, none):
        stream.find("device")
    back = OutputBack(time="2026-05-01T12:00:00+00:00", output="store")
    offer(server, frame(0, "gate"), frame(1, "yard"), back)
    assert yard.find("frame")[0]["source"] == "yard"
    names = iter(none)
    while (found := next(names))[0] == "device":
        pass
    assert found == ("message", json.loads(back.encoded))


def test_the_daemon_goes_and_comes_back(daemon, page, follow, frame, socket_path):
    stream = follow()
    assert stream.find("daemon") == [{"running": False}]
    server = daemon(socket_path)
    assert stream.find("daemon") == [{"running": True}]
    server.close()
    assert stream.find("daemon") == [{"running": False}]
    assert not page.get("device").json["daemon"]
    offer(daemon(socket_path), frame(7))
    assert stream.find("daemon") == [{"running": True}]


def test_lines_that_are_no_messages_are_left_out(page, follow, socket_path, frame):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()
        stream = follow()
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"nonsense\n[1]\n{}\n\xff\n\n" + frame(3).encoded.encode() + b"\n")
            assert stream.find("frame")[0]["onset"] == 0.96


def test_hundreds_look_and_the_oldest_are_told_to_go(daemon, page, follow, frame, socket_path):
    server = daemon(socket_path)
    streams = [follow() for _ in range(200)]
    for stream in streams[:136]:
        *_, (name, content) = stream  # it ends
        assert (name, content) == ("bye", {"reason": "too many look at this page"})
    for stream in streams[136:]:
        stream.find("device")
    offer(server, frame(1))
    for stream in streams[136:]:
        assert stream.find("frame")[0]["onset"] == 0.32
    assert page.get("session").status == 200


def test_who_never_reads_is_waited_for_by_nobody(daemon, page, follow, frame, socket_path, monkeypatch, wait_for):
    """Some never read: others get every frame, what waits is bounded, and in the end they are let go."""
    server = daemon(socket_path)
    clients = page.server.config.app.state.hub._clients
    with monkeypatch.context() as patience:
        patience.setattr("htsat_edge.runtime.web.connection.STALLED_S", 0.2)
        for _ in range(5):
            follow()
        wait_for(lambda: len(clients) == 5)
    reader = follow()
    reader.find("device")
    columns = "x" * 200_000
    for k in range(60):  # 12 MB for each
        offer(server, frame(k, columns=columns))
        assert reader.find("frame")[0]["onset"] == pytest.approx(0.32 * k)
        assert all(len(client._waiting) <= hub.MOST_WAITING for client in clients)
    wait_for(lambda: len(clients) == 1)


def test_what_waits_for_a_browser_is_bounded():
    async def fill():
        client = hub.Client([], frames=True)
        for k in range(3 * hub.MOST_WAITING):
            client.put(b"%d" % k)
        client.close(b"bye")
        client.put(b"too late")
        return [event async for event in client.events()]

    events = asyncio.run(fill())
    assert events == [b"%d" % k for k in range(2 * hub.MOST_WAITING + 1, 3 * hub.MOST_WAITING)] + [b"bye"]


def test_connections_that_ask_for_nothing_are_let_go(page, monkeypatch, wait_for):
    monkeypatch.setattr("htsat_edge.runtime.web.connection.REQUEST_S", 0.1)
    silent, slow = page.connect(), page.connect()
    slow.sendall(b"GET / HTTP/1.1\r\nHo")
    for connection in (silent, slow):
        with connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_too_many_connections_push_out_those_that_wait(page, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.web.connection.MOST_CONNECTIONS", 20)
    monkeypatch.setattr("htsat_edge.runtime.web.connection.REQUEST_S", 600.0)
    held = [page.connect() for _ in range(60)]
    for connection in held[:40]:  # the first to come, the first to go
        with connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert page.get("session").status == 200
    for connection in held[40:]:
        connection.close()


def test_bodies_that_do_not_come_keep_nobody_out(page, monkeypatch, wait_for):
    monkeypatch.setattr("htsat_edge.runtime.web.connection.MOST_CONNECTIONS", 20)
    held = [page.connect() for _ in range(20)]
    for connection in held:
        head = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nOrigin: {page.origin}\r\n"
        connection.sendall(f"{head}Content-Length: 20\r\n\r\n".encode())
    wait_for(lambda: sum(one.cycle is not None for one in list(page.server.server_state.connections)) == 20)
    assert page.get("session").status == 200
    for connection in held:
        connection.close()


def test_the_page_ends_while_somebody_looks(store, serve, socket_path, wait_for, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.web.server.GRACE_S", 100)  # which it does not take
    page = serve(store, socket=socket_path)
    stream = page.follow()
    stream.find("daemon")
    ended = threading.Event()

    def read():
        with contextlib.suppress(http.client.IncompleteRead):
            list(stream)
        ended.set()

    threading.Thread(target=read).start()
    page.server.should_exit = True
    wait_for(ended.is_set, 60)
    stream.close()
