"""What others may ask of the daemon while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SetListening:
    """Pause a source, or listen to it again."""

    source: str
    listening: bool
    by: str
    """Who asks for it, such as MQTT."""


@dataclass(frozen=True)
class SetThreshold:
    """Have a class of a source reported from another score on."""

    source: str
    label: str
    threshold: float
    """Above 0 and below 1."""
    by: str


@dataclass(frozen=True)
class InvalidCommand:
    """What somebody has asked for and cannot be understood."""

    text: str
    """What is wrong with it, and what is wanted, in one line."""


Command = SetListening | SetThreshold | InvalidCommand
