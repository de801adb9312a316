"""The types of arguments, and the options that several commands share."""

from __future__ import annotations

import argparse
import re
from datetime import datetime
from pathlib import Path

from htsat_edge.runtime.common.command import count
from htsat_edge.runtime.common.urls import without_user


def add_bundle(parser: argparse.ArgumentParser, auto: str) -> None:
    """Add which model to use, on what; `auto` says what the backend is by default."""
    parser.add_argument("--bundle", type=Path, help="folder of the model (default: the bundled one)")
    parser.add_argument(
        "--backend", choices=["auto", "onnxruntime", "tensorrt"], default="auto", help=f"auto: {auto} (default)"
    )


def add_sounds(parser: argparse.ArgumentParser) -> None:
    """Add where enrolled sounds are."""
    parser.add_argument(
        "--sounds", type=Path, metavar="FOLDER", help="of your own sounds (default: sounds in the bundle)"
    )


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add where the store is."""
    stored = parser.add_mutually_exclusive_group()
    stored.add_argument("--config", type=Path, metavar="FILE", help="the daemon's configuration, with outputs.store")
    stored.add_argument("--database", type=Path, metavar="PATH", help="a store, in place of a configuration")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add where the daemon's configuration comes from."""
    parser.add_argument("files", nargs="*", metavar="FILE", type=recording, help="recordings, in place of the sources")
    parser.add_argument("--config", type=Path, help="such as configs/detector.yaml (default: the default microphone)")
    parser.add_argument("--device", metavar="NAME", help="this microphone, in place of the sources")
    parser.add_argument(
        "--stdin", type=count, metavar="HZ", help="raw 16-bit samples on stdin, in place of the sources"
    )


def recording(text: str) -> Path:
    """Return the path of a recording; refuse a URL, of which a path would lose a slash."""
    if re.match(r"(?!file:)[a-z][a-z0-9+.-]+:/", text, re.IGNORECASE):
        raise argparse.ArgumentTypeError(
            f"{without_user(text)} is a URL: download it first (curl -O), or listen to it: "
            "a source in the configuration with stream: {url: …}"
        )
    return Path(text)


def channel(text: str) -> str | int:
    """Return which channel of a recording is wanted."""
    if text in ("mix", "first", "loudest", "each"):
        return text
    try:
        return count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not mix, first, loudest, each or a number from 1 on") from None


def names(text: str) -> list[str]:
    """Return the names between commas, each once."""
    return list(dict.fromkeys(text.split(",")))


def counts(text: str) -> list[int]:
    """Return the whole numbers from 1 on between commas, each once."""
    return list(dict.fromkeys(count(part) for part in text.split(",")))


def port(text: str) -> int:
    """Return the number of a port."""
    value = count(text)
    if value > 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port, want 1 to 65535")
    return value


def share(text: str) -> float:
    """Return a number above 0 and below 1."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def gpu_share(text: str) -> float:
    """Return a number above 0, up to 1."""
    return 1.0 if text == "1" else share(text)


def seconds(text: str) -> float:
    """Return a positive number."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def positive(text: str) -> float:
    """Return a positive number."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def moment(text: str) -> datetime:
    """Return a date and time, without a zone where it names none."""
    try:
        began = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if 1 < began.year < 9999:  # the events of a recording must fit behind it
            return began
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-05-01T21:30:00+02:00") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
