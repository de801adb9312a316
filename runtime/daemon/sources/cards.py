"""Sound cards by the ids that stay when they are plugged in again. They are sysfs's: containers hide /proc/asound."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from htsat_edge.runtime.daemon.sources.names import read_name

CARDS = Path("/sys/class/sound")


def find_card(wanted: str, cards: Path = CARDS) -> int | None:
    """Return the number of the sound card `usb:VENDOR:PRODUCT` or `alsa:ID`; None where it is not there."""
    kind, _, value = wanted.partition(":")
    for number, card in _numbered(cards):
        with suppress(OSError):
            if _read_id(card, kind).casefold() == value.casefold():
                return number
    return None


def stable_id(name: str, cards: Path = CARDS) -> str | None:
    """Return what finds a sound card again when it is plugged in again, by PortAudio's name for it."""
    at = name.rfind("(hw:")
    number = name[at + 4 :].split(",")[0] if at >= 0 else ""
    for kind in ("usb", "alsa"):
        with suppress(OSError):
            if number.isdecimal():
                return f"{kind}:{_read_id(cards / f'card{number}', kind)}"
    return None


def list_cards(cards: Path = CARDS) -> list[tuple[str, int]]:
    """Return each sound card with an inode, which is another one when it was plugged in again."""
    found = list[tuple[str, int]]()
    for _, card in _numbered(cards):
        with suppress(OSError):
            found.append((card.name, card.stat().st_ino))
    return found


def _numbered(cards: Path) -> list[tuple[int, Path]]:
    """Return the folders of the sound cards, in the order of their numbers."""
    return sorted((int(card.name[4:]), card) for card in cards.glob("card*") if card.name[4:].isdecimal())


def _read_id(card: Path, kind: str) -> str:
    """Return a card's id of a kind; raise an OSError where it has none."""
    device = card / "device" / ".."  # the link leads to an interface of the USB device
    files = [card / "id"] if kind == "alsa" else [device / "idVendor", device / "idProduct"]
    ids = [read_name(file) for file in files]
    if not all(ids):
        raise OSError(f"{card}: its id is empty")
    return ":".join(ids)
