"""Set numbers in a YAML file of a person, and leave every other character of it as it is.

A library that writes YAML anew changes lines that nobody asked it to: spaces, `null`, quotes. Here the text is changed
where the parser has found the nodes, and the result is parsed and compared with what was wanted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import yaml

from htsat_edge.runtime.common import safe_yaml

PLAIN = r"[^\W\d]\w*(?:[ -]\w+)*"
"""Keys that may need no quotes."""
NULL = "tag:yaml.org,2002:null"
INDENT = 2
NO_MAPPING = "something else than a mapping is in the place of one"
Splice = tuple[int, int, str]
"""From where to where a text is replaced, and by what."""


def set_numbers(text: str, path: Sequence[str | int], numbers: Mapping[str, float]) -> str:
    """Return a YAML text in which the mapping at a path has these numbers, and everything else is as it was.

    Parameters
    ----------
    text
        A document, block or flow style, JSON too.
    path
        Keys of mappings and places in sequences. Mappings that are missing are made.
    numbers
        By key.

    Raises
    ------
    yaml.YAMLError
        It is not YAML.
    ValueError
        The text cannot be changed so that nothing else changes, as where an anchor shares the mapping.
    """
    before = safe_yaml.load(text)
    wanted = _updated(before, path, numbers)
    changed = {key: number for key, number in numbers.items() if _at(before, [*path, key]) != number}
    if not changed:
        return text
    root = yaml.compose(text, yaml.SafeLoader)
    for start, end, new in sorted(_splices(text, root, path, changed), reverse=True):
        text = text[:start] + new + text[end:]
    try:
        done = safe_yaml.load(text) == wanted
    except yaml.YAMLError:
        done = False
    if not done:
        raise ValueError("this part of the file is shared or merged (&name, *name, <<), or written in a rare way")
    return text


def flow(content: Mapping[str, Any], quoted: bool = False) -> str:
    """Return mappings of numbers on one line: {thresholds: {Dog: 0.4, "Cattle, bovinae": 0.3}}."""
    return f"{{{_flow_entries(content, ', ', quoted)}}}"


def _at(content: Any, path: Sequence[str | int]) -> Any:
    """Return what is at a path; None where there is nothing."""
    for key in path:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _updated(content: Any, path: Sequence[str | int], numbers: Mapping[str, float]) -> Any:
    """Return a copy with the numbers at a path; what an anchor shares is changed there alone."""
    key = path[0] if path else None
    if isinstance(key, int):
        return [_updated(each, path[1:], numbers) if at == key else each for at, each in enumerate(content)]
    if not isinstance(content, dict | None):
        raise ValueError(NO_MAPPING)
    own = content or {}
    return {**own, **numbers} if key is None else {**own, key: _updated(own.get(key), path[1:], numbers)}


def _splices(text: str, root: Any, path: Sequence[str | int], numbers: Mapping[str, float]) -> list[Splice]:
    """Return the changes of a text that set numbers in the deepest mapping of the path that there is."""
    node, rest = root, list(path)
    while rest and (child := _child(node, rest[0])) is not None:
        node, rest = child, rest[1:]
    quoted = isinstance(root, yaml.MappingNode) and bool(root.flow_style)  # JSON stays JSON
    present = {key: value for key in numbers if not rest and (value := _child(node, key)) is not None}
    splices = [(node.start_mark.index, node.end_mark.index, _number(numbers[key])) for key, node in present.items()]
    new: dict[str, Any] = {key: number for key, number in numbers.items() if key not in present}
    for key in reversed(rest):
        new = {str(key): new}
    return [*splices, _insertion(text, root, node, new, quoted)] if new else splices


def _child(node: Any, key: str | int) -> Any:
    """Return the node at a key of a mapping, or at a place of a sequence; None where there is none."""
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
        return node.value[key]
    if isinstance(node, yaml.MappingNode):
        return next((value for own, value in node.value if isinstance(own, yaml.ScalarNode) and own.value == key), None)
    return None


def _insertion(text: str, root: Any, node: Any, new: Mapping[str, Any], quoted: bool) -> Splice:
    """Return the change that adds entries to a mapping, or makes one of nothing."""
    newline = "\r\n" if "\r\n" in text else "\n"
    if node is None or (node is root and not node.flow_style):  # at the end: comments behind a section belong to it
        ended = not text or text.endswith("\n")
        return _inserted(len(text), ("" if ended else newline) + _block(new, 0, newline) + (newline if ended else ""))
    if isinstance(node, yaml.ScalarNode) and node.tag == NULL:
        empty = node.start_mark.index == node.end_mark.index
        return node.start_mark.index, node.end_mark.index, (" " if empty else "") + flow(new, quoted)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(NO_MAPPING)
    if not node.flow_style:
        column = node.value[0][0].start_mark.column
        return _inserted(_last_line_end(text, node.end_mark.index), newline + _block(new, column, newline))
    if not node.value:
        return _inserted(node.end_mark.index - 1, _flow_entries(new, ", ", quoted))
    key, value = node.value[-1]
    separator = ", " if key.start_mark.line == node.start_mark.line else f",{newline}{' ' * key.start_mark.column}"
    return _inserted(value.end_mark.index, separator + _flow_entries(new, separator, quoted))


def _inserted(at: int, new: str) -> Splice:
    return at, at, new


def _last_line_end(text: str, end: int) -> int:
    """Return where the last line before `end` ends that is neither empty nor a comment."""
    breaks = [-1, *(found.start() for found in re.finditer("\n", text[:end])), end]
    for before, after in reversed([*pairwise(breaks)]):
        line = text[before + 1 : after]
        if line.strip() and not line.lstrip().startswith("#"):
            return before + 1 + len(line.rstrip("\r"))
    return end


def _block(content: Mapping[str, Any], column: int, newline: str) -> str:
    lines = []
    for key, value in content.items():
        start = f"{' ' * column}{_key(key, quoted=False)}:"
        inner = isinstance(value, Mapping)
        lines.append(
            f"{start}{newline}{_block(value, column + INDENT, newline)}" if inner else f"{start} {_number(value)}"
        )
    return newline.join(lines)


def _flow_entries(content: Mapping[str, Any], separator: str, quoted: bool) -> str:
    return separator.join(
        f"{_key(key, quoted)}: {flow(value, quoted) if isinstance(value, Mapping) else _number(value)}"
        for key, value in content.items()
    )


def _key(key: str, quoted: bool) -> str:
    if not quoted and re.fullmatch(PLAIN, key) and safe_yaml.load(key) == key:
        return key
    escaped = (one if one.isprintable() else f"\\U{ord(one):08x}" for one in json.dumps(key, ensure_ascii=False))
    return "".join(escaped)


def _number(number: float) -> str:
    """Return a number without an exponent, which YAML 1.1 would read as a text."""
    return format(Decimal(repr(number)), "f")
