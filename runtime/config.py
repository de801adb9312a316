"""Reading YAML and JSON files into checked models; what is wrong in them is said in one line."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from runtime.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_text(path: Path) -> str:
    """The text of a file; a UserError if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory, want a file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def read_yaml(path: Path, model: type[Model]) -> Model:
    """A YAML file as a `model`."""
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    return parse(path, content or {}, model)


def read_json(path: Path, model: type[Model]) -> Model:
    """A JSON file as a `model`."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: is not JSON: {error}") from None
    return parse(path, content, model)


def parse(path: Path, content: Any, model: type[Model]) -> Model:
    """Check what a file contains; the first thing that is wrong becomes a UserError."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise UserError(f"{path}: {f'{where}: ' if where else ''}{_say(first, model)}") from None


def _say(error: Any, model: type[BaseModel]) -> str:
    match error["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(error["loc"][-1]), _keys(model), n=1)
            return f"unknown key{f', meant {near[0]}?' if near else ''}"
        case "missing":
            return "key is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return f"{error['msg']}, not {error['input']!r}"


def _keys(model: type[BaseModel]) -> list[str]:
    """Every key that may stand anywhere in the file."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _keys(field.annotation)
    return keys
