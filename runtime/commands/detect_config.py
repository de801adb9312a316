"""What is in force in `htsat-edge detect`: the daemon's configuration where one is given, and the options above it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.sources import names_of
from htsat_edge.runtime.daemon.level import with_level_label
from htsat_edge.runtime.daemon.outputs.clip_names import parse_clip_name, plain
from htsat_edge.runtime.daemon.settings import prepare, settings_of
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.classes import Classes
from htsat_edge.runtime.models.groups import read_groups
from htsat_edge.runtime.models.model import refuse_no_sounds
from htsat_edge.runtime.models.sensitivity import note_sensitivity
from htsat_edge.runtime.models.settings import Settings

MODEL_OPTIONS = ("bundle", "precision", "backend", "threads", "sounds")
"""Of the command line, each with a key of the section `model`."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hearing:
    """How a recording is heard."""

    source: str
    """Of the configuration, whose settings these are; empty: those of all."""
    settings: Settings
    classes: Classes
    """Those that are shown; others have an infinite threshold here, and their own in the settings."""
    shown: Sequence[str]
    """Names of the events that are shown."""


def read_config(args: argparse.Namespace) -> DaemonConfig:
    """Return the configuration, or that of a daemon without one, with the model that the options name.

    Raise an HtsatEdgeError where it cannot be read, or has not the source that is asked for, or --sounds is no folder.
    """
    if args.config is None and args.source is not None:
        raise HtsatEdgeError(f"--source {args.source}: is a source of a configuration: give --config FILE, too")
    config = DaemonConfig() if args.config is None else read_yaml(args.config, DaemonConfig)
    names = {source.name for source in config.sources}
    if args.source is not None and not names & names_of(args.source):
        meant = suggest(args.source, names, f"; there is {listed(sorted(names))}")
        raise HtsatEdgeError(f"--source {args.source}: is no source of {args.config}{meant}")
    refuse_no_sounds(args.sounds)
    given = {name: value for name in MODEL_OPTIONS if (value := getattr(args, name)) is not None}
    return config.model_copy(update={"model": config.model.model_copy(update=given)})


class Hearings:
    """Finds how each recording is heard."""

    def __init__(self, args: argparse.Namespace, config: DaemonConfig, info: ModelInfo) -> None:
        """Prepare; raise an HtsatEdgeError where configuration and options do not fit the model."""
        if args.groups is not None:
            config = with_groups(config, args.groups, info)
        prepare(info, config)
        self.config, self._args, self._info = config, args, info
        self._known: dict[str, Hearing] = {}

    def of(self, path: Path) -> Hearing:
        """Return how a recording is heard: with the settings of --source, or of the source in the name of a clip."""
        source = self._args.source or self._find_source(path)
        if source not in self._known:
            self._known[source] = self._make(source)
        return self._known[source]

    def _find_source(self, path: Path) -> str:
        named = None if self._args.config is None else parse_clip_name(path.name)
        if named is None:
            return ""
        name, _, channel = named.source.rpartition("-")
        for source in self.config.sources:
            if plain(source.name) == named.source:
                return source.name
            if plain(source.name) == name and channel.isdecimal():
                return f"{source.name}/{channel}"
        if named.source not in self._known:  # once
            text = "%s: no source of %s is called so: the settings of all count; --source names another"
            logger.warning(text, named.source, self._args.config)
        return named.source

    def _make(self, source: str) -> Hearing:
        args, info = self._args, self._info
        settings = settings_of(source, info, self.config)
        if args.hop_s is not None:
            settings = replace(settings, hop_s=args.hop_s)
        if args.sensitivity is not None:
            settings = replace(settings, sensitivity=args.sensitivity, threshold=None, thresholds={})
        known = with_level_label(settings.reported(info), self.config.level)
        shown = known if args.labels is None else split_labels(args.labels, info, known)
        if args.config is None:  # nothing else is in force: other classes need not be heard
            settings = replace(settings, threshold=args.threshold, labels=None if args.labels is None else tuple(shown))
        elif args.threshold is not None and args.labels is None:
            settings = replace(settings, threshold=args.threshold, thresholds={})
        elif args.threshold is not None:
            own = {name: args.threshold for name in settings.reported(info) if name in shown}
            settings = replace(settings, thresholds={**settings.thresholds, **own})
        settings.validate(info)
        if args.sensitivity is not None and (note := note_sensitivity(info, settings)):
            logger.warning(note)
        classes = settings.classes(info)
        hidden = [name not in shown for name in classes.labels]
        limits = np.where(hidden, np.float32(np.inf), classes.thresholds)
        return Hearing(source, settings, replace(classes, thresholds=limits), shown)


def with_groups(config: DaemonConfig, named: str, info: ModelInfo) -> DaemonConfig:
    """Return a configuration with these groups in all sources, in place of its own."""
    detection = config.detection.model_copy(update={"groups": read_groups(named, info)})
    sources = [
        source.model_copy(update={"detection": source.detection.model_copy(update={"groups": None})})
        for source in config.sources
    ]
    return config.model_copy(update={"detection": detection, "sources": sources})


def split_labels(text: str, info: ModelInfo, known: Sequence[str]) -> list[str]:
    """Split names of classes at commas, of which some are within names: "Gunshot, gunfire,Dog" are two."""
    by_name = {name.casefold(): name for name in known}
    parts, picked, unknown = text.split(","), [], []
    while parts:
        for length in range(len(parts), 0, -1):
            name = ",".join(parts[:length]).strip()
            if name.casefold() in by_name:
                picked.append(by_name[name.casefold()])
                parts = parts[length:]
                break
        else:
            unknown.append(parts.pop(0).strip())
    info.check_labels("--labels", unknown, known)
    return picked
