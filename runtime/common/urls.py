"""Addresses on the network: what of them may be printed, and what is wrong with one."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.DOTALL)
"""Of a file or a folder; pathlib leaves one of the slashes."""
LOCAL = ("file", "local")
"""Schemes without a host: what follows is a path from / on."""
USER = re.compile(r"(:/+)((?:[^\s/?#:]*:\S*|[^\s/?#]*)@)")
"""The user part of a URL. With a password it reaches to the last @: a password that is not escaped may hold / and ?."""
QUERY = re.compile(r"(:/+[^\s?]*\?)\S+?(?=['\":;,.)\]>]*(?:\s|$))")
"""The query of a URL, without the punctuation behind it. Cameras take passwords there, under names of their own."""


def is_url(name: str | Path) -> bool:
    """Return whether the name of a file or a folder is a URL, such as s3://bucket/folder."""
    return URL.fullmatch(str(name)) is not None


def whole_url(name: str | Path) -> str:
    """Return a URL with all of its slashes, of which a path keeps one; other names as they are."""
    found = URL.fullmatch(str(name))
    return f"{found[1]}:{'///' if found[1] in LOCAL else '//'}{found[2]}" if found else str(name)


def without_user(text: str) -> str:
    """Return a text without the user parts and the queries of its URLs.

    `rtsp://me:secret@camera/1` is `rtsp://camera/1`, and `http://camera/1?pwd=secret` is `http://camera/1?…`.
    """
    return QUERY.sub(r"\1…", USER.sub(r"\1", text))


def user_part(url: str) -> str:
    """Return the user part of a URL, without its @; empty where it has none."""
    found = USER.search(url)
    return found[2][:-1] if found else ""


def check_url(url: str) -> None:
    """Raise a ValueError, which does not repeat the URL, where it is none that can be asked for."""
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("url: holds a space, or what is not ASCII; write %20 for a space, and a host as xn--…")
    try:
        parts = urllib.parse.urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # its text may hold a password
        named = False
    if not named:
        raise ValueError("url: names no host, or no port, as https://example.org:8443/events does")


def check_host(host: str) -> str:
    """Return the name or address of a host; raise a ValueError where it cannot be one."""
    if re.search(r"[\s@/]", host) or "://" in host:
        raise ValueError("want the name or the address of a host alone: a user and a password have keys of their own")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{host} cannot be the name of a host") from None
    if not host:
        raise ValueError("want the name or the address of a host")
    return host
