"""Read YAML files of people: nothing is overwritten in silence, and no small file becomes a large one."""

from __future__ import annotations

from typing import Any

import yaml

MOST_NODES = 100_000
"""Keys and values, each counted as often as it is repeated by its name (`*name`)."""


class Loader(yaml.SafeLoader):
    """PyYAML's loader of plain data, which refuses a key that is there twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raise a ConstructorError at a key that was there before."""
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"the key {key.value!r} is there twice", key.start_mark
                        )
                    seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """Return the content of a YAML text.

    Raises
    ------
    yaml.YAMLError
        It is not YAML, a key is there twice, or its repetitions have no end or are too many.
    """
    loader = Loader(text)
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
    """Return how many nodes a node has, with all that are repeated in it."""
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
        parts = [part for pair in node.value for part in pair]
    known[id(node)] = total = 1 + sum(_count(part, known) for part in parts)
    return total
