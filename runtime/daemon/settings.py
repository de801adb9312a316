"""The settings of detection that a configuration means, for all sources and for each."""

from __future__ import annotations

import re

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig, DetectionConfig
from htsat_edge.runtime.daemon.level import with_level_label
from htsat_edge.runtime.daemon.rules import check_labels, check_notified
from htsat_edge.runtime.models.bundle import BUNDLED, DEFAULT_THRESHOLD, ModelInfo
from htsat_edge.runtime.models.groups import read_groups
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.sensitivity import note_sensitivity
from htsat_edge.runtime.models.settings import Settings

KEY = r"\w+: "
"""What an error of the settings begins with, where it is about one of them."""


def prepare(info: ModelInfo, config: DaemonConfig) -> Settings:
    """Return the settings of detection; raise an HtsatEdgeError where they, a source's or the rules do not fit."""
    settings = to_settings("detection", info, config.detection)
    each = [settings, *(settings_of(source.name, info, config) for source in config.sources)]
    names = dict.fromkeys(name for own in each for name in own.reported(info))
    reported = with_level_label([*names], config.level)
    check_labels(config.rules, reported)
    if config.outputs.notify is not None:
        check_notified(config.outputs.notify, reported)
    return settings


def check_model(config: DaemonConfig) -> None:
    """Raise an HtsatEdgeError where a configuration does not fit its model and the sounds that are enrolled."""
    prepare(load_model(config.model.bundle or BUNDLED, config.model.sounds).info, config)


def settings_of(source: str, info: ModelInfo, config: DaemonConfig) -> Settings:
    """Return the settings of detection in a source; raise an HtsatEdgeError where the model cannot work with them."""
    detection = config.detection_of(source)
    where = "detection" if detection == config.detection else f"sources: {source}: detection"
    return to_settings(where, info, detection)


def to_settings(where: str, info: ModelInfo, detection: DetectionConfig) -> Settings:
    """Return a section as settings; raise an HtsatEdgeError that says where it is, if the model cannot work with it."""
    try:
        named = detection.groups
        settings = Settings(
            hop_s=None if detection.hop_s == "auto" else detection.hop_s,
            look_ahead_s=detection.look_ahead_s,
            threshold=detection.threshold,
            release=detection.release,
            min_length_s=detection.min_length_s,
            merge_gap_s=detection.merge_gap_s,
            early_margin=detection.early_margin,
            mirror_s=detection.mirror_s,
            labels=tuple(detection.labels) if detection.labels else None,
            groups=read_groups(named, info) if isinstance(named, str) else named,
            thresholds=detection.thresholds,
            sensitivity=detection.sensitivity,
            confirm_s=detection.confirm_s,
            most_specific=detection.most_specific,
        )
        settings.validate(info)
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{where}{'.' if re.match(KEY, str(error)) else ': '}{error}") from None
    return settings


def note_thresholds(info: ModelInfo, settings: Settings) -> str:
    """Return which thresholds count where a bundle has none, as those of published checkpoints; else nothing."""
    if info.thresholds or settings.threshold is not None:
        return ""
    names, plain = settings.reported(info), settings.without_threshold(info)
    return (
        f"{info.name}: the bundle has no thresholds: {len(names) - len(plain)} classes have those of the configuration "
        f"or of their groups, {len(plain)} have {DEFAULT_THRESHOLD:g}; `htsat-edge detect --top` shows what scores"
    )


def notes_of(bundled: ModelInfo, info: ModelInfo, config: DaemonConfig) -> list[str]:
    """Return what is to be known of thresholds; `bundled` is the model without sounds that were enrolled."""
    settings = prepare(info, config)
    each = [settings_of(source.name, info, config) for source in config.sources] or [settings]
    notes = [note_thresholds(bundled, settings), *(note_sensitivity(info, own) for own in each)]
    return [*dict.fromkeys(filter(None, notes))]
