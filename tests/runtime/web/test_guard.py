"""Who may ask, from where and how much; and the headers of every answer."""

import gzip

import pytest


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/static/index.html", 200),
        ("GET", "/static/nonsense.js", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/static/..%2fapp.py", 404),
        ("GET", "/nonsense", 404),
        ("GET", "/docs", 404),
        ("GET", "/api/session", 200),
        ("GET", "/api/events/999", 404),
        ("GET", "/api/events?limit=0", 400),
        ("DELETE", "/api/events", 405),
        ("PUT", "/api/verdicts", 400),
        ("POST", "/api/session", 405),
    ],
)
def test_headers_of_every_answer(page, method, path, status):
    answer = page.ask(method, path)
    assert answer.status == status
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == ("no-store" if path.startswith("/api") else "no-cache")
    assert "server" not in answer.headers
    if status >= 400:
        assert set(answer.json) == {"detail"}


def test_files_are_looked_at_anew(page):
    first = page.ask("GET", "/")
    again = page.ask("GET", "/static/index.html", If_None_Match=first.headers["etag"])
    assert (again.status, again.content) == (304, b"")


def test_files_are_compressed_on_the_way(page):
    plain = page.ask("GET", "/static/style.css")
    packed = page.ask("GET", "/static/style.css", Accept_Encoding="gzip")
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < len(plain.content) / 2
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    etag = packed.headers["etag"]
    assert page.ask("GET", "/static/style.css", Accept_Encoding="gzip", If_None_Match=etag).status == 304


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:{port}", 200),
        ("[::1]:{port}", 200),
        ("yard.example", 200),
        ("evil.example", 403),
        ("evil.example:{port}", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("192.0.2.1", 403),
        ("", 403),
        ("localhost@evil.example", 403),
        (":{port}", 403),
    ],
)
def test_only_known_hosts_are_answered(store, named_page, host, status):
    answer = named_page.get("session", Host=host.format(port=named_page.port))
    assert answer.status == status
    if status == 403:
        assert "web.names" in answer.json["detail"]
    assert named_page.ask("GET", "/", Host=host.format(port=named_page.port)).status == status


@pytest.fixture(scope="module")
def named_page(store, serve, password, password_file):
    """A page that has another name, too, and so a password; its asker has logged in."""
    page = serve(store, names=["yard.example"], password_file=password_file)
    page.cookie = page.ask("POST", "/api/login", {"password": password}).cookies[0].partition(";")[0]
    return page


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /api/session HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET /api/session HTTP/1.1\r\n\r\n", 400),
        ("GET /api/session HTTP/1.0\r\n\r\n", 403),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + "x" * 100_000, 400),
    ],
)
def test_what_is_no_request(page, request_, status):
    with page.connect() as connection:
        connection.sendall(request_.encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"content-security-policy: default-src 'none'" in answer
    assert b'{"detail":' in answer


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:{port}", None, 200),
        ("http://localhost", "localhost", 200),
        ("http://localhost:80", "localhost", 200),
        ("https://yard.example", "yard.example", 200),
        ("https://yard.example:443", "yard.example", 200),
        (None, None, 403),
        ("null", None, 403),
        ("http://127.0.0.1:1", None, 403),
        ("http://localhost:{port}", None, 403),
        ("http://evil.example", None, 403),
        ("http://yard.example:8080", "yard.example", 403),
        ("ftp://127.0.0.1:{port}", None, 403),
        ("", None, 403),
    ],
)
def test_only_our_own_page_may_change_anything(named_page, origin, host, status):
    origin = origin and origin.format(port=named_page.port)
    host = host or f"127.0.0.1:{named_page.port}"
    body = {"verdicts": [{"event": 999}]}
    assert named_page.ask("PUT", "/api/verdicts", body, Origin=origin, Host=host).status == status
    if origin is not None:  # a question of another page, too
        assert named_page.get("session", Origin=origin, Host=host).status == status


def test_another_page_cannot_have_a_clip_played(page, clip):
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert page.get(f"clips/{clip}", Sec_Fetch_Site=site).status == status
    assert page.ask("GET", "/", Sec_Fetch_Site="cross-site").status == 200  # a link to the page


def test_long_bodies_are_not_read(page):
    """10 MB: refused by its length, and where none is given (chunked), once it is too long."""
    answer = page.ask("PUT", "/api/verdicts", b"", Content_Length=str(10**7))
    assert (answer.status, answer.json) == (413, {"detail": "the body is longer than 1048576 bytes"})
    assert page.ask("POST", "/api/login", b"x" * 70_000).status == 413
    for length in ("-1", "1e3", "9" * 30):
        assert page.ask("POST", "/api/login", b"", Content_Length=length).status in (400, 413)
    with page.connect() as connection:
        head = "PUT /api/verdicts HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sent = 0
        try:
            while sent < 160:
                connection.sendall(chunk)
                sent += 1
            answer = connection.recv(100)
        except ConnectionError:
            answer = b" 413 "  # it was closed before all was sent
        assert b" 413 " in answer
        assert sent < 160 or answer


def test_a_body_that_does_not_come(page, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.web.guard.BODY_S", 0.1)
    with page.connect() as connection:
        head = "POST /api/login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 408 " in connection.recv(100)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"password": 1}', b'{"password": "\\ud800"}', b"[" * 9000]
)
def test_bodies_that_are_no_login(page, body):
    answer = page.ask("POST", "/api/login", body, Content_Type="application/json")
    assert answer.status == 400
    assert "\n" not in answer.json["detail"]
