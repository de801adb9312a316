"""Write thresholds into the configuration of the daemon: lines that need not change stay as they are."""

from __future__ import annotations

import codecs
import difflib
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from htsat_edge.runtime.common import safe_yaml
from htsat_edge.runtime.common.config import parse, read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing, take_after
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.common.urls import without_user
from htsat_edge.runtime.common.yaml_edit import flow, set_numbers
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.sources import names_of
from htsat_edge.runtime.daemon.settings import check_model
from htsat_edge.runtime.tuning.records import ThresholdChange

DIGITS = 4
"""Of a threshold."""
CONTEXT = 2
"""Lines around a change that a difference shows."""
NOT_FILES = ("/dev/", "/proc/")
MOST_BACKUPS = 1000
"""Of one second."""


@dataclass(frozen=True)
class ThresholdPlan:
    """A configuration with other thresholds, checked and not written yet."""

    path: Path
    """Of the file itself, where a link was given."""
    before: str
    after: str
    diff: str
    """From `before` to `after`, unified, without the user parts of URLs; empty where nothing changes."""
    kept: tuple[ThresholdChange, ...]
    """Thresholds of sources that have their own: what is set for all does not reach them."""
    encoding: str

    @property
    def notes(self) -> list[str]:
        """What the changes do not reach, in sentences."""
        return [f"{one.source} keeps its own threshold of {one.label}, {one.threshold:g}" for one in self.kept]

    def write(self) -> Path:
        """Write the file, with the one before in a dated copy beside it; return the path of that copy.

        Raises
        ------
        HtsatEdgeError
            The file has these thresholds already, or has changed since it was read; or it, or the copy, cannot be
            written. What was there is as it was.
        """
        if self.after == self.before:
            raise HtsatEdgeError(f"{self.path}: has these thresholds already; nothing was written")
        before, after = (text.encode(self.encoding) for text in (self.before, self.after))
        try:
            status, now = self.path.stat(), self.path.read_bytes()
        except OSError as error:
            raise HtsatEdgeError(f"{self.path}: cannot be read: {error.strerror}") from None
        if now != before:
            raise HtsatEdgeError(f"{self.path}: has changed since it was read, and is left as it is; try once more")
        backup = _back_up(self.path, before, status)
        try:
            with replacing(self.path, like=status) as part:
                _write(part, after)
        except BaseException:
            backup.unlink(missing_ok=True)
            raise
        return backup


def plan(path: Path, changes: Sequence[ThresholdChange]) -> ThresholdPlan:
    """Return what would become of a configuration with these thresholds, of 4 decimals.

    Those of a source are written into its own `detection`, those of all into the section `detection`.

    Raises
    ------
    HtsatEdgeError
        The file cannot be read, is not one, or cannot be changed without changing more than these thresholds; it has no
        such source; or the model has no such class.
    """
    target = _regular(path)
    read_text(target)  # its errors are in one line
    content = target.read_bytes()
    encoding = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(content[:2], "utf-8")
    before = after = content.decode(encoding)  # its mark, if there is one, is the first character
    parse(path, _read(path, before), DaemonConfig)
    for source, thresholds in _by_source(changes).items():
        after = _changed(path, after, source, thresholds)
    config = parse(path, safe_yaml.load(after), DaemonConfig)
    check_model(config)
    return ThresholdPlan(target, before, after, _difference(path, before, after), _kept(config, changes), encoding)


def _regular(path: Path) -> Path:
    """Return the file that a path leads to; raise an HtsatEdgeError where it is none that can be replaced."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # links that go round in a circle
        raise HtsatEdgeError(f"{path}: cannot be read: it is a link that leads nowhere") from None
    if os.path.abspath(path).startswith(NOT_FILES) or (target.exists() and not target.is_file()):  # noqa: PTH100
        raise HtsatEdgeError(
            f"{path}: is no file that thresholds can be written to; give the configuration by its name"
        )
    return target


def _by_source(changes: Sequence[ThresholdChange]) -> dict[str | None, dict[str, float]]:
    thresholds: dict[str | None, dict[str, float]] = defaultdict(dict)
    for change in changes:
        thresholds[change.source][change.label] = round(change.threshold, DIGITS)
    return thresholds


def _changed(path: Path, text: str, source: str | None, thresholds: Mapping[str, float]) -> str:
    """Return the text of a configuration with thresholds for one source, or for all."""
    section = _section(path, _read(path, text), source)
    try:
        return set_numbers(text, [*section, "thresholds"], thresholds)
    except (yaml.YAMLError, RecursionError) as error:
        raise _no_yaml(path, error) from None
    except ValueError as error:
        entry = flow({"detection": {"thresholds": thresholds}})[1:-1]
        where = "" if source is None else f" of the source {source}"
        raise HtsatEdgeError(f"{path}: {error}; write it by hand{where}: {entry}") from None


def _read(path: Path, text: str) -> Any:
    try:
        return safe_yaml.load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise _no_yaml(path, error) from None


def _no_yaml(path: Path, error: Exception) -> HtsatEdgeError:
    return HtsatEdgeError(f"{path}: is not YAML: {' '.join(str(error).split())}")


def _section(path: Path, content: Any, source: str | None) -> list[str | int]:
    """Return where the section `detection` of a source is, or that of all."""
    if source is None:
        return ["detection"]
    listed = content.get("sources") if isinstance(content, dict) else None
    names = [each.get("name") if isinstance(each, dict) else None for each in listed or ()]
    place = next((k for k, name in enumerate(names) if name in names_of(source)), None)
    if place is None:
        meant = suggest(source, filter(None, names), f"; it has {', '.join(filter(None, names)) or 'none'}")
        raise HtsatEdgeError(f"{path}: `sources` has no {source}{meant}; without a source, thresholds are for all")
    return ["sources", place, "detection"]


def _kept(config: DaemonConfig, changes: Sequence[ThresholdChange]) -> tuple[ThresholdChange, ...]:
    return tuple(
        ThresholdChange(source=source.name, label=change.label, threshold=own)
        for change in changes
        for source in config.sources
        if change.source is None and (own := source.detection.thresholds.get(change.label)) is not None
    )


def _difference(path: Path, before: str, after: str) -> str:
    old, new = ([without_user(line) for line in re.split("\r?\n", text)] for text in (before, after))
    return "\n".join(difflib.unified_diff(old, new, str(path), str(path), lineterm="", n=CONTEXT))


def _back_up(path: Path, content: bytes, status: os.stat_result) -> Path:
    """Write a copy beside a file under a name that says when, and that nothing has; return its path."""
    stem = f"{path.name}.{datetime.now():%Y-%m-%dT%H-%M-%S}"
    try:
        for number in range(1, MOST_BACKUPS):
            copy = path.with_name(stem if number == 1 else f"{stem}-{number}")
            try:
                os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                continue
            try:
                take_after(copy, status)
                _write(copy, content)
            except BaseException:
                copy.unlink(missing_ok=True)
                raise
            return copy
    except OSError as error:
        raise HtsatEdgeError(
            f"{path}: cannot be copied to {stem}, and is left as it is: {error.strerror}; its folder must be writable"
        ) from None
    raise HtsatEdgeError(f"{path}: there are {MOST_BACKUPS} copies of this second; try once more")


def _write(path: Path, content: bytes) -> None:
    """Write to a file, and have it on the disk: a power cut after its move must not leave an empty one."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
