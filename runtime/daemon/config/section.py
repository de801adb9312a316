"""What every section of the configuration is, and the types of keys that several have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from htsat_edge.runtime.common.urls import is_url

PRINTABLE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""A character that ends no line and commands no terminal."""
Share = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(gt=0, lt=65536)]


class Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def matching(pattern: str, wanted: str) -> AfterValidator:
    """Return a check that a whole text matches a pattern; its error says in words what is wanted."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError("text", wanted)
        return text

    return AfterValidator(check)


def local_path(wanted: str) -> AfterValidator:
    """Return a check that a path is no URL, which would be the name of a folder, with the password in it."""

    def check(path: Path) -> Path:
        if is_url(path):
            raise ValueError(f"is a URL: {wanted}")
        return path

    return AfterValidator(check)


def one_of_several(wanted: str) -> WrapValidator:
    """Return a validator for a value of one of several types; its error says in words what is wanted.

    Pydantic's own has the error of one type, which may be another than the one that was meant.
    """

    def check(value: object, validate: ValidatorFunctionWrapHandler) -> object:
        try:
            return validate(value)
        except ValidationError:
            raise PydanticCustomError("union", wanted) from None

    return WrapValidator(check)


OneLine = Annotated[
    str,
    Field(min_length=1, max_length=200),
    matching(rf"(?!\s){PRINTABLE}+(?<!\s)", "want text of one line, without control characters and spaces at its ends"),
]
"""A name for people."""


def slug(text: str) -> str:
    """Return a text as it may stand in a topic and in an id: "Cattle, bovinae" is cattle_bovinae."""
    return re.sub(r"[\W_]+", "_", text.casefold()).strip("_") or "_"
