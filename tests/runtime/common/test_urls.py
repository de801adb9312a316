from pathlib import Path

import pytest

from htsat_edge.runtime.common.urls import check_host, check_url, is_url, user_part, whole_url, without_user


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/x", "s3://bucket/x"),
        ("s3://bucket/x", Path("s3://bucket/x")),
        ("s3://bucket/x\ny.wav", Path("s3://bucket/x\ny.wav")),
        ("file:///data/x.wav", Path("file:///data/x.wav")),
        ("file:///data/x.wav", "file:///data/x.wav"),
    ],
)
def test_a_url_that_a_path_has_kept_is_whole_again(url, name):
    assert is_url(name)
    assert whole_url(name) == url


@pytest.mark.parametrize("name", ["/data/x", "data/s3:/x", "x", "a:/x", Path("/s3:/x")])
def test_other_names_are_no_urls(name):
    assert not is_url(name)
    assert whole_url(name) == str(name)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("rtsp://me:secret@camera/1", "rtsp://camera/1"),
        ("rtsp://me:se/cr?et#@camera/1", "rtsp://camera/1"),
        ("rtsp://me:s@cr@t@camera/1", "rtsp://camera/1"),
        ("https://token@host/x", "https://host/x"),
        ("http:/me:secret@host/x.wav", "http:/host/x.wav"),
        ("'http://me:secret@[::1]:80/': refused, and ftp://a:b@c too", "'http://[::1]:80/': refused, and ftp://c too"),
        ("http://host/@me", "http://host/@me"),
        ("http://host/a?b=c@d", "http://host/a?…"),
        ("rtsp://cam/1?user=me&pwd=se'c:r,et", "rtsp://cam/1?…"),
        ("rtsp://me:a@cam/1?pwd=b: refused? No", "rtsp://cam/1?…: refused? No"),
        ("['srt://cam:9000?passphrase=secret', 'http:/cam?t0k3n#x']", "['srt://cam:9000?…', 'http:/cam?…']"),
        ("what is http://host? and a?b=c", "what is http://host? and a?b=c"),
        ("http://host:80/a", "http://host:80/a"),
        ("me@example.org", "me@example.org"),
        ("", ""),
    ],
)
def test_a_url_is_printed_without_what_may_be_secret(text, printed):
    assert without_user(text) == printed


def test_the_user_part_of_a_url():
    assert user_part("rtsp://me:{password}@camera/1") == "me:{password}"
    assert user_part("rtsp://me:1/2@camera/1") == "me:1/2"
    assert user_part("udp://@:1234") == ""
    assert user_part("http://camera:80/1") == ""


@pytest.mark.parametrize("url", ["http://a", "https://a:1/b?c", "http://[::1]:65535/", "http://127.0.0.1"])
def test_what_can_be_asked_for(url):
    check_url(url)


@pytest.mark.parametrize("url", ["http://", "http://:80", "http://a:b/", "http://a:0/", "http://a:65536", "http://[a"])
def test_what_names_no_host_or_port(url):
    with pytest.raises(ValueError, match="url: names no host, or no port"):
        check_url(url)


@pytest.mark.parametrize("url", ["http://a b", "http://a\n", "http://\x7f", "http://ü"])
def test_what_is_not_ascii(url):
    with pytest.raises(ValueError, match="url: holds a space, or what is not ASCII"):
        check_url(url)


@pytest.mark.parametrize("host", ["localhost", "broker.local", "10.0.0.1", "::1", "münchen.de"])
def test_names_and_addresses_of_hosts(host):
    assert check_host(host) == host


@pytest.mark.parametrize("host", ["", "a..b", "a b", "me@a", "tcp://a", "x" * 64])
def test_what_is_no_host(host):
    with pytest.raises(ValueError, match="host"):
        check_host(host)
