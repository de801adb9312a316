"""Take over the thresholds of a configuration that has changed, while the daemon goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.messages import ConfigLoaded, ConfigRejected
from htsat_edge.runtime.daemon.parts import Parts
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.settings import notes_of, settings_of
from htsat_edge.runtime.models.settings import Settings

MOST_CHANGES, MOST_LOGGED = 20, 3
"""Of thresholds that are named in a message, and in the log."""
logger = logging.getLogger(__name__)


def take_over(parts: Parts, read: DaemonConfig) -> list[Message]:
    """Put the thresholds of a configuration in force; return the messages of that, none where they are the same.

    What else has changed in it waits until it is read again.
    """
    wanted, now = parts.config.with_thresholds_of(read), parts.publisher.now()
    messages = [] if wanted == parts.config else _put_in_force(parts, wanted, now)
    if wanted != read:  # last, where a log that shows few lines has it
        logger.info("what else has changed in the configuration is in force after SIGHUP, or a new start")
    return messages


def _put_in_force(parts: Parts, wanted: DaemonConfig, now: str) -> list[Message]:
    info, by_name = parts.sessions[0].info, {session.feed.name: session for session in parts.sessions}
    try:
        notes = notes_of(info, info, wanted)
        new = {name: _new_settings(session, wanted) for name, session in by_name.items()}
    except HtsatEdgeError as error:
        logger.warning("the changed thresholds are rejected, the previous ones stay in force: %s", error)
        return [ConfigRejected(time=now, text=str(error))]
    messages: list[Message] = []
    before = {name: session.settings for name, session in by_name.items()}
    for name, session in by_name.items():
        if new[name] != session.settings:
            messages += _retune(session, new[name])
    parts.config = wanted
    changes = {name: _changed(session, before[name], new[name]) for name, session in by_name.items()}
    text, count = describe_changes(changes), len({label for own in changes.values() for label in own})
    logged = text.removeprefix("thresholds: ") if count <= MOST_LOGGED else f"those of {count} sounds"
    for note in (f"changed thresholds are in force: {logged}", *notes):
        logger.warning("%s", note)
    return [*messages, ConfigLoaded(time=now, text=text)]


def describe_changes(changes: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """Return thresholds before and after, by source and label, in a sentence's part; once where all have the same."""
    first, *others = changes.values()
    if all(other == first for other in others):
        return f"thresholds: {_listed(first)}"
    return f"thresholds: {'; '.join(f'{name}: {_listed(own)}' for name, own in changes.items() if own)}"


def _listed(changes: Mapping[str, tuple[float, float]]) -> str:
    if not changes:
        return "the same as before"
    named = [f"{label} {before:g} -> {after:g}" for label, (before, after) in changes.items()]
    more = f" and {len(named) - MOST_CHANGES} more" if len(named) > MOST_CHANGES else ""
    return ", ".join(named[:MOST_CHANGES]) + more


def _new_settings(session: SourceSession, config: DaemonConfig) -> Settings:
    """Return a session's settings with other thresholds; a file of groups is not read again."""
    now = session.settings
    return replace(settings_of(session.feed.name, session.info, config), hop_s=now.hop_s, groups=now.groups)


def _retune(session: SourceSession, settings: Settings) -> list[Message]:
    try:
        return session.retune(settings)
    except Exception as error:
        return session.abandon(error)


def _changed(session: SourceSession, before: Settings, after: Settings) -> dict[str, tuple[float, float]]:
    """Return the thresholds that are others, before and after, by label."""
    old, new = before.classes(session.info), after.classes(session.info)
    pairs = zip(old.labels, old.thresholds, new.thresholds, strict=True)
    return {label: (float(a), float(b)) for label, a, b in pairs if a != b and np.isfinite(b)}
