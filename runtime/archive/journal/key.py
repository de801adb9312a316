"""What results depend on, so that a journal is never gone on with in another way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_jsonable_python

import htsat_edge
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import sha256_of
from htsat_edge.runtime.common.text import in_one_line, listed, visible
from htsat_edge.runtime.models.bundle import MODEL_FILE, load_bundle
from htsat_edge.runtime.models.sounds import SOUNDS_FOLDER

SHOWN_LETTERS = 24
"""Longer values are not shown where they differ."""
PATHS = ("bundle", "sounds", "server")
"""Settings of which the content counts, not where it lies; a server's token must not be kept."""
VERSION, MODEL, SOUNDS = "version of htsat-edge", "model", "enrolled sounds"
OPTIONS = {
    MODEL: f"{MODEL} (--bundle)",
    SOUNDS: f"{SOUNDS} (--sounds)",
    "hop_s": "--hop",
    "shown": "--labels",
    **{name: f"--{name}" for name in ("threshold", "sensitivity", "labels", "groups", "channel", "source", "start")},
    **{name: f"--{name}" for name in ("precision", "backend", "scores")},
    "served": "precision that the server runs",
}
"""What a user gives, by name; the others stand in the file of --config."""


def key_of(settings: HearingSettings) -> dict[str, str]:
    """Return what the results of a scan depend on, by name, as text that can be compared.

    Raises
    ------
    HtsatEdgeError
        The bundle, or a graph of it, is missing or cannot be read.
    """
    bundle = load_bundle(settings.bundle)
    sounds = settings.sounds or settings.bundle / SOUNDS_FOLDER
    try:
        model = sha256_of(bundle.path / MODEL_FILE, *bundle.files(settings.precision or bundle.recommended()))
        learned = [path for path in sorted(sounds.glob("*")) if path.suffix in (".json", ".npz") and path.is_file()]
        heads = sha256_of(*learned) if learned else ""
    except OSError as error:
        raise HtsatEdgeError(f"{error.filename}: cannot be read: {error.strerror}") from None
    plain = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    chosen = _flat({name: value for name, value in plain.items() if name not in PATHS})
    return {VERSION: htsat_edge.__version__, MODEL: model, SOUNDS: heads, **chosen}


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return what differs between two keys, for an error: `--hop (1.28, now 0.32), --labels`; empty: nothing does."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    differing = (_differing(name, old.get(name, "null"), new.get(name, "null")) for name in names)
    return visible(listed(dict.fromkeys(differing), 3))


def _differing(name: str, old: str, new: str) -> str:
    option = OPTIONS.get(name, name if name == VERSION else f"{name} of --config")
    is_shown = max(len(old), len(new)) <= SHOWN_LETTERS and name not in ("shown", "labels")
    values = ("none" if value == "null" else in_one_line(value) for value in (old, new))
    return f"{option} ({', now '.join(values)})" if is_shown else option


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings by name as JSON; those of detection each by its own name."""
    plain = to_jsonable_python(settings)
    plain |= plain.pop("detection")
    return {name: json.dumps(value, sort_keys=True) for name, value in plain.items()}
