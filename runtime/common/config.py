"""Read YAML, JSON and CSV files into checked models; an error in a file is one line that names its place."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.common import safe_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import nearest
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.common.urls import without_user

Model = TypeVar("Model", bound=BaseModel)


def printable(path: Path) -> str:
    """Return a path as text, also where its bytes are not."""
    return os.fsencode(path).decode(errors="replace")


def read_text(path: Path) -> str:
    """Return the text of a file, UTF-8 or UTF-16 with its mark; raise an HtsatEdgeError where it cannot be read."""
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return io.TextIOWrapper(io.BytesIO(content), encoding).read()
    except FileNotFoundError:
        raise HtsatEdgeError(f"{path}: no such file{_meant(path)}") from None
    except IsADirectoryError:
        raise HtsatEdgeError(f"{path}: is a directory, want a file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error}") from None


def _meant(path: Path) -> str:
    """Return ", meant X?" with the files of configs/ that have the name of a file which is not there, if any have."""
    name, here = path.name.casefold(), Path.cwd()
    files = [file for kind in ("csv", "yaml") for file in sorted(CONFIGS.rglob(f"*.{kind}"))]
    found = [file for file in files if name in (file.name.casefold(), file.stem.casefold())]
    names = [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in found]
    return f", meant {' or '.join(names)}?" if names else ""


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Return a YAML file as a `model`; raise an HtsatEdgeError where it is none."""
    text = read_text(path)
    try:
        content = safe_yaml.load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise HtsatEdgeError(f"{path}: is not YAML: {without_user(_explain(error, text))}") from None
    return parse(path, {} if content is None else content, model)


def _explain(error: Exception, text: str) -> str:
    """Return what is wrong in a YAML text, and on which line; without its excerpt, which may hold a secret."""
    match error:
        case yaml.MarkedYAMLError(problem_mark=yaml.Mark(line=line)):
            wrong = ", ".join(filter(None, (error.context, error.problem)))
        case yaml.reader.ReaderError():
            wrong, line = f"the character {text[error.position]!r} is not allowed", text.count("\n", 0, error.position)
        case _:
            return " ".join(str(error).split())
    return f"{wrong}, on line {line + 1}"


def read_json(path: Path, model: type[Model]) -> Model:
    """Return a JSON file as a `model`; raise an HtsatEdgeError where it is none."""
    try:
        content = json.loads(read_text(path), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise HtsatEdgeError(f"{path}: is not JSON: {error}") from None
    return parse(path, content, model)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the content of a JSON object; raise a ValueError where a key is there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content


def read_csv(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header, which must have these columns and a value in each."""
    try:
        table = csv.DictReader(io.StringIO(read_text(path)), strict=True)
        rows = list(table)
    except csv.Error as error:
        raise HtsatEdgeError(f"{path}: is not CSV: {error}") from None
    for column in columns:
        if column not in (table.fieldnames or ()):
            raise HtsatEdgeError(f"{path}: has no column '{column}' in its header")
        for number, row in enumerate(rows, start=1):
            if not row[column]:
                raise HtsatEdgeError(f"{path}: row {number} has no {column}")
    return rows


def parse(path: Path, content: Any, model: type[Model]) -> Model:
    """Return the content of a file as a `model`; raise an HtsatEdgeError with the first error in it."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise HtsatEdgeError(f"{path}: {f'{where}: ' if where else ''}{_describe(first, model)}") from None


def _describe(error: Any, model: type[BaseModel]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key{_meant_key(error['loc'], model)}"
        case "missing":
            return "key is missing"
        case "too_short" | "too_long":  # which say how many there are
            return str(error["msg"])
        case "value_error":
            return str(error["ctx"]["error"])
        case _ if any(key in ("password", "token") for key in error["loc"]) or _is_secret(error):
            return f"{error['msg']}: want env or file, and never the secret itself"
        case "model_type":
            return _wanted_keys(error, model)
        case _:
            return f"{error['msg']}, not {_shown(error['input'])}"


def _is_secret(error: Any) -> bool:
    """Return whether what is wrong may be a secret itself, in place of where it is kept (daemon/config/)."""
    return error["type"] == "model_type" and error["ctx"]["class_name"] in ("Secret", "ServiceConfig")


def _wanted_keys(error: Any, model: type[BaseModel]) -> str:
    """Return which keys a section wants in place of a value; where one would do, the value with that."""
    section = next(part for part in _sections(model) if part.__name__ == error["ctx"]["class_name"])
    needed = [field.alias or key for key, field in section.model_fields.items() if field.is_required()]
    if len(needed) == 1 and error["loc"]:
        with suppress(ValidationError):
            section.model_validate({needed[0]: error["input"]})
            return f"wants keys: {error['loc'][-1]}: {{{needed[0]}: {_shown(error['input'])}}}"
    keys = listed((field.alias or key for key, field in section.model_fields.items()), 4)
    return f"wants keys ({keys}), not {_shown(error['input'])}"


def _shown(value: Any) -> str:
    """Return a value as an error may print it: a mapping may hold a secret, and so may the user part of a URL."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return without_user(repr(value))


def _meant_key(place: Sequence[Any], model: type[BaseModel]) -> str:
    """Return ", meant X?" with a key of the section, or with that of another one and its path."""
    path_of: dict[str, str] = {}
    for path in _paths(model):
        path_of.setdefault(path.rpartition(".")[2], path)
    here: list[type[BaseModel]] = [model]
    for step in place[:-1]:  # those that are no keys of a section number its items, or name them
        here = [part for one in here for key, parts in _fields(one) if key == step for part in parts] or here
    path_of |= {key: key for one in here for key, _ in _fields(one)}
    found = nearest(str(place[-1]), path_of)
    return "" if found is None else f", meant {path_of[found]}?"


def _paths(model: type[BaseModel]) -> Iterator[str]:
    """Yield every key that may be anywhere in the file, with the keys of its sections."""
    for key, parts in _fields(model):
        yield key
        yield from (f"{key}.{path}" for part in parts for path in _paths(part))


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, list[type[BaseModel]]]]:
    """Yield each key of a section, and the sections that it may hold."""
    for name, field in model.model_fields.items():
        yield field.alias or name, _parts(field.annotation)


def _sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model, and those of all sections in it."""
    yield model
    for _, parts in _fields(model):
        for part in parts:
            yield from _sections(part)


def _parts(annotation: Any) -> list[type[BaseModel]]:
    """Return the models within a type such as `list[SourceConfig]` or `MqttConfig | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for inner in getattr(annotation, "__args__", ()) for part in _parts(inner)]
