"""The password: its file, its tries, and the browsers that are logged in."""

import os
import stat
import threading

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.web.logins import (
    BUSY_S,
    IDLE_S,
    LOCAL,
    MOST_ADDRESSES,
    MOST_SESSIONS,
    SESSION_S,
    Logins,
    Throttle,
)
from htsat_edge.runtime.web.passwords import PasswordHash, read_password, write_password


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def logins(password_file, clock):
    return Logins(read_password(password_file), clock)


def tries_until_refused(throttle, who, known):
    count = 0
    while not throttle.wait_s(who, known):
        count += 1
    return count


def test_a_password_is_kept_as_a_hash_that_only_its_owner_reads(tmp_path, monkeypatch):
    path = tmp_path / "password"
    write_password(path, "grün & süß")
    assert read_password(path).matches("grün & süß")
    monkeypatch.setattr("htsat_edge.runtime.web.passwords.COST", 2)
    hashes = []
    for password in ("grün & süß", "another one", "another one"):  # each takes the place of the one before
        write_password(path, password)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert password not in path.read_text()
        assert read_password(path).matches(password)
        assert not read_password(path).matches(f"{password} ")
        hashes.append(path.read_text())
    assert len(set(hashes)) == 3  # each with a salt of its own


def test_files_that_are_no_password(tmp_path, password_file):
    path = tmp_path / "password"
    with pytest.raises(HtsatEdgeError, match="no such file; write it with"):
        read_password(path)
    path.write_text("my diary")
    path.chmod(0o600)
    with pytest.raises(HtsatEdgeError, match="is there, and is no hash"):
        write_password(path, "long enough")
    assert path.read_text() == "my diary"
    whole = password_file.read_text()
    for content in (
        "my diary",
        whole.replace(":2:", ":3:"),
        whole.replace(":2:", f":{1 << 30}:"),
        whole[:-8],
        "a:" * 5,
    ):
        path.write_text(content)
        with pytest.raises(HtsatEdgeError, match="is no hash of a password; write it again"):
            read_password(path)
    path.write_text(whole)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(HtsatEdgeError, match="chmod 600"):
            read_password(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_neither_read_nor_replaced(kind, tmp_path):
    """As root, a new file in place of /dev/null would be the end of the system."""
    path = tmp_path / "password"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    before = path.stat()
    for attempt in (lambda: write_password(path, "long enough"), lambda: read_password(path)):
        with pytest.raises(HtsatEdgeError, match=r"password: (is no regular file|cannot be read)"):
            attempt()
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)


def test_a_link_to_a_password_stays_one(tmp_path):
    write_password(tmp_path / "real", "long enough")
    (tmp_path / "link").symlink_to("real")
    write_password(tmp_path / "link", "another one")
    assert (tmp_path / "link").is_symlink()
    assert read_password(tmp_path / "real").matches("another one")


def test_many_tries_at_once_leave_the_threads_of_the_page_to_others(logins, password, monkeypatch, wait_for):
    trying, done = threading.Event(), []
    monkeypatch.setattr(PasswordHash, "matches", lambda *_: trying.wait(60))
    threads = [
        threading.Thread(target=lambda i=i: done.append(logins.try_password(password, f"192.0.2.{i}", None)))
        for i in range(10)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(done) == 6)
    assert done == [(None, BUSY_S)] * 6
    trying.set()
    for thread in threads:
        thread.join(60)
    assert sum(token is not None for token, _ in done) == 4


@pytest.mark.parametrize("password", ["short", "x" * 1001])
def test_passwords_of_another_length(tmp_path, password):
    with pytest.raises(HtsatEdgeError, match="want 8 to 1000"):
        write_password(tmp_path / "password", password)
    assert not (tmp_path / "password").exists()


def test_tries_come_back_one_by_one(clock):
    throttle = Throttle(clock)
    assert tries_until_refused(throttle, "a", known=False) == 5
    assert throttle.wait_s("a", known=False) == pytest.approx(20)
    assert not throttle.wait_s("b", known=False)
    clock.now += 20
    assert tries_until_refused(throttle, "a", known=False) == 1
    clock.now += 1e6
    assert tries_until_refused(throttle, "a", known=False) == 5


def test_many_addresses_share_a_bound_that_locks_out_nobody_who_is_known(clock):
    throttle = Throttle(clock)
    tried = sum(not throttle.wait_s(f"attacker {k}", known=False) for k in range(MOST_ADDRESSES + 500))
    assert tried == 30
    assert throttle.wait_s("stranger", known=False) > 0
    assert not throttle.wait_s("owner", known=True)
    assert len(throttle._own) <= MOST_ADDRESSES
    clock.now += 10
    assert not throttle.wait_s("stranger", known=False)


def test_a_browser_that_has_logged_in_is_known(logins, password):
    device = logins.device_token()
    for k in range(40):
        logins.try_password("wrong password", f"192.0.2.{k}", None)
    assert logins.try_password(password, "198.51.100.1", None)[1] > 0
    assert logins.try_password(password, "198.51.100.1", f"{device}x")[1] > 0
    assert logins.try_password(password, "198.51.100.1", "x.y")[1] > 0
    assert logins.try_password(password, "198.51.100.1", device)[0]
    assert logins.try_password(password, "127.0.0.1", None)[0]


def test_who_gives_itself_many_addresses_has_no_more_tries_on_this_device(clock):
    throttle = Throttle(clock)
    assert tries_until_refused(throttle, LOCAL, known=True) == 5
    for k in range(MOST_ADDRESSES + 500):
        throttle.wait_s(f"198.51.100.{k}", known=False)
    assert throttle.wait_s(LOCAL, known=True) > 0


def test_an_attacker_on_the_same_network_of_ipv6_has_one_bound(logins, password):
    tried = [logins.try_password("wrong password", f"2001:db8::{k:x}", None)[1] == 0 for k in range(20)]
    assert sum(tried) == 5
    assert logins.try_password(password, "2001:db8:0:1::1", None)[0]


def test_logins_end(logins, clock, password):
    token, _ = logins.try_password(password, "127.0.0.1", None)
    assert logins.is_in(token)
    assert not any(logins.is_in(other) for other in (None, "", "x", token[:-1], token.upper()))
    logins.log_out(token)
    assert not logins.is_in(token)
    idle, _ = logins.try_password(password, "127.0.0.1", None)
    clock.now += IDLE_S + 1
    assert not logins.is_in(idle)
    token, _ = logins.try_password(password, "127.0.0.1", None)
    end = clock.now + SESSION_S
    while clock.now <= end:  # it is used all the time
        assert logins.is_in(token)
        clock.now += IDLE_S - 1
    assert not logins.is_in(token)


def test_the_oldest_of_too_many_logins_goes(logins, clock, password):
    tokens = [logins.try_password(password, "127.0.0.1", None)[0] for _ in range(MOST_SESSIONS + 1)]
    assert not logins.is_in(tokens[0])
    assert all(map(logins.is_in, tokens[1:]))


@pytest.fixture
def page(store, serve, password_file):
    return serve(store, password_file=password_file)


def test_nothing_is_shown_before_the_login(page, clip):
    paths = page.get("openapi.json", Cookie=None)
    assert paths.status == 401
    for path in ("events", "device", "live", f"clips/{clip}", "export", "thresholds", "nonsense"):
        assert page.get(path).json == {"detail": "log in first"}
    assert page.ask("PUT", "/api/verdicts", {"verdicts": [{"event": 1}]}).status == 401
    info = page.get("session").json
    assert (info["needs_password"], info["logged_in"]) == (True, False)
    assert page.ask("GET", "/").status == 200  # it asks for the password


def test_login_and_logout(page, password):
    wrong = page.ask("POST", "/api/login", {"password": "wrong password"})
    assert (wrong.status, wrong.json, wrong.cookies) == (401, {"detail": "the password is wrong"}, [])
    answer = page.ask("POST", "/api/login", {"password": password})
    assert (answer.status, answer.json["logged_in"]) == (200, True)
    session, known = answer.cookies
    for cookie in (session, known):
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict"} <= attributes
        assert "secure" not in attributes
        assert "domain" not in cookie.lower()
    page.cookie = session.partition(";")[0]
    assert page.get("events").status == 200
    assert page.get("session").json["logged_in"]
    assert page.get("events", Cookie=known.partition(";")[0]).status == 401  # it lets nobody in
    page.ask("POST", "/api/logout")
    assert page.get("events").status == 401


def test_cookies_of_other_programs_of_this_host_do_not_matter(page, password):
    own = page.ask("POST", "/api/login", {"password": password}).cookies[0].partition(";")[0]
    for other in ('prefs={"x": 1}', "name=a b", "flag", 'open="quote', "a@b=1"):
        page.cookie = f"{other}; {own}"
        assert page.get("events").status == 200


def test_cookies_are_secure_behind_https(page, password):
    answer = page.ask(
        "POST", "/api/login", {"password": password}, X_Forwarded_Proto="https", X_Forwarded_For="198.51.100.7"
    )
    assert all("Secure" in cookie for cookie in answer.cookies)


def test_tries_are_counted_by_the_address_that_a_proxy_gives(page, password):
    for _ in range(5):
        assert page.ask("POST", "/api/login", {"password": "guess"}, X_Forwarded_For="198.51.100.9").status == 401
    refused = page.ask("POST", "/api/login", {"password": password}, X_Forwarded_For="198.51.100.9")
    assert (refused.status, refused.cookies) == (429, [])
    assert 0 < int(refused.headers["retry-after"]) <= 20
    assert page.ask("POST", "/api/login", {"password": password}, X_Forwarded_For="198.51.100.10").status == 200


def test_a_live_stream_ends_with_the_login(page, password, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.web.hub.KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr("htsat_edge.runtime.web.routes.live.KEEP_ALIVE_S", 0.0)
    page.cookie = page.ask("POST", "/api/login", {"password": password}).cookies[0].partition(";")[0]
    stream = page.follow(cookie=page.cookie)
    assert stream.status == 200
    page.ask("POST", "/api/logout")
    assert [name for name, _ in stream] == ["daemon"]
    stream.close()
