"""The keys of configs/detector.yaml, the configuration of `htsat-edge listen`. Units are in the names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from htsat_edge.runtime.daemon.config.broker import BrokerConfig
from htsat_edge.runtime.daemon.config.detection import (
    DetectionConfig,
    ModelConfig,
    RemoteConfig,
    SourceDetectionConfig,
)
from htsat_edge.runtime.daemon.config.level import LevelConfig, LevelEventConfig, SourceLevelConfig
from htsat_edge.runtime.daemon.config.notify import NotifyConfig
from htsat_edge.runtime.daemon.config.outputs import (
    ClipsConfig,
    JsonLinesConfig,
    MetricsConfig,
    MqttConfig,
    OutputsConfig,
    ScoresConfig,
    StoreConfig,
    WebhookConfig,
)
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import Section, slug
from htsat_edge.runtime.daemon.config.sources import (
    PASSWORD,
    HealthConfig,
    MicrophoneConfig,
    PcmConfig,
    SourceConfig,
    StreamConfig,
    names_of,
)
from htsat_edge.runtime.daemon.config.web import WebConfig

__all__ = [
    "PASSWORD",
    "BrokerConfig",
    "ClipsConfig",
    "DaemonConfig",
    "DetectionConfig",
    "HealthConfig",
    "JsonLinesConfig",
    "LevelConfig",
    "LevelEventConfig",
    "MetricsConfig",
    "MicrophoneConfig",
    "ModelConfig",
    "MqttConfig",
    "NotifyConfig",
    "OutputsConfig",
    "PcmConfig",
    "RemoteConfig",
    "RulesConfig",
    "ScoresConfig",
    "Secret",
    "Section",
    "SourceConfig",
    "SourceDetectionConfig",
    "SourceLevelConfig",
    "StoreConfig",
    "StreamConfig",
    "WebConfig",
    "WebhookConfig",
    "slug",
]


class DaemonConfig(Section):
    """The whole configuration."""

    model: ModelConfig = ModelConfig()
    detection: DetectionConfig = DetectionConfig()
    sources: Annotated[list[SourceConfig], Field(min_length=1)] = [
        SourceConfig(name="microphone", microphone=MicrophoneConfig())
    ]
    health: HealthConfig = HealthConfig()
    level: LevelConfig = LevelConfig()
    rules: RulesConfig = RulesConfig()
    outputs: OutputsConfig = OutputsConfig()
    web: WebConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> DaemonConfig:
        names = [source.name for source in self.sources]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"sources: {', '.join(sorted(repeated))} is there twice")
        topics = [slug(name) for name in names]
        if len(set(topics)) < len(topics):
            raise ValueError(f"sources: {', '.join(names)}: two of these would have the same topic")
        if sum(source.stdin is not None for source in self.sources) > 1:
            raise ValueError("sources: only one can read stdin")
        for source in self.sources:
            self.level.of_source(source.level).check(source.name)
        self.rules.check_sources(set(names))
        if self.outputs.notify is not None:
            self.outputs.notify.check_sources(set(names))
        if self.web is not None and self.outputs.store is None:
            raise ValueError("web: the page shows what is stored: give outputs.store.path")
        return self

    @property
    def live_socket(self) -> Path | None:
        """Where the page gets what the daemon hears; None without a page."""
        if self.web is None or self.outputs.store is None:
            return None
        return self.web.socket_beside(self.outputs.store.path)

    def level_of(self, source: str) -> LevelConfig:
        """Return what is in force for the level of a source; a channel of a microphone is NAME/CHANNEL."""
        found = self._find(source)
        return self.level if found is None else self.level.of_source(found.level)

    def calibrated(self, sources: Sequence[str]) -> dict[str, bool]:
        """Return whether the level of each of these sources is calibrated; of none where no level is published."""
        if self.level.every_s is None:
            return {}
        return {source: self.level_of(source).offset_db is not None for source in sources}

    def detection_of(self, source: str) -> DetectionConfig:
        """Return what is in force for detection in a source; a channel of a microphone is NAME/CHANNEL."""
        found = self._find(source)
        return self.detection if found is None else self.detection.of_source(found.detection)

    def with_thresholds_of(self, other: DaemonConfig) -> DaemonConfig:
        """Return this configuration with the thresholds of another, of the sources that both have."""
        theirs = {source.name: source.detection for source in other.sources}
        sources = [
            source.model_copy(update={"detection": source.detection.with_thresholds_of(theirs[source.name])})
            if source.name in theirs
            else source
            for source in self.sources
        ]
        detection = self.detection.with_thresholds_of(other.detection)
        return self.model_copy(update={"detection": detection, "sources": sources})

    def _find(self, source: str) -> SourceConfig | None:
        names = names_of(source)
        return next((each for each in self.sources if each.name in names), None)
