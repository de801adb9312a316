"""Read YAML files of people: nothing is overwritten in silence, and no small file becomes a large one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

MOST_NODES = 100_000
"""Keys and values, each counted as often as it is repeated by its name (`*name`)."""
MERGE = "tag:yaml.org,2002:merge"
"""The tag of the key `<<`."""


def load(text: str) -> Any:
    """Return the content of a YAML text.

    Raises
    ------
    yaml.YAMLError
        It is not YAML, a key is there twice, or its repetitions have no end or are too many.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f"it has more than {MOST_NODES} values, with what is repeated by its name (*name)")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: Any, known: dict[int, int | None]) -> int:
    """Return how many nodes a node has, with all that are repeated in it; refuse a key that is there twice.

    The loader must not have begun: it merges what `<<` names into the nodes.
    """
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise yaml.YAMLError(f"what is named on line {node.start_mark.line + 1} repeats itself within itself")
        return count
    known[id(node)] = None
    parts: list[Any] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        _refuse_twice([key for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        parts = [part for pair in node.value for part in pair]
    known[id(node)] = total = 1 + sum(_count(part, known) for part in parts)
    return total


def _refuse_twice(keys: Sequence[Any]) -> None:
    """Raise a ConstructorError at a key that was there before; `1` and `"1"` are two."""
    seen: set[tuple[str, str]] = set()
    for key in keys:
        if (key.tag, key.value) in seen and key.tag != MERGE:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
        seen.add((key.tag, key.value))
