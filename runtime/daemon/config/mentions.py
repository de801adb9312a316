"""Where a configuration names classes: what no enrolled sound may be called, and what must change before one goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.groups import read_groups


def taken_names(config: DaemonConfig, info: ModelInfo) -> list[str]:
    """Return what is reported beside the model's own classes: groups, and the event of a level."""
    named = [config.detection.groups, *(source.detection.groups for source in config.sources)]
    names = dict.fromkeys(
        name
        for groups in named
        if groups is not None
        for name in (read_groups(groups, info) if isinstance(groups, str) else groups)
    )
    return [*names, *([] if config.level.event is None else [config.level.event.label])]


def find_mentions(config: DaemonConfig, label: str) -> list[str]:
    """Return the keys of a configuration that name a class, such as detection.thresholds."""
    content = config.model_dump(
        mode="json",
        by_alias=True,
        include={"detection": True, "sources": True, "rules": True, "outputs": {"notify": {"rules": True}}},
    )
    return list(dict.fromkeys(_find(content, label, ())))


def _find(content: Any, label: str, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key == label:
                yield ".".join(path)
            yield from _find(value, label, (*path, str(key)))
    elif isinstance(content, list):
        for value in content:
            if value == label:
                yield ".".join(path)
            inner = (str(value["name"]),) if isinstance(value, dict) and "name" in value else ()
            yield from _find(value, label, (*path, *inner))
    elif content == label and path and path[-1] == "while":
        yield ".".join(path)
