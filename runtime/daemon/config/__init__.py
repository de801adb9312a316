"""The keys of configs/detector.yaml, the configuration of `htsat-edge listen`. Units are in the names."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from htsat_edge.runtime.daemon.config.detection import DetectionConfig, ModelConfig
from htsat_edge.runtime.daemon.config.outputs import (
    ClipsConfig,
    JsonLinesConfig,
    MetricsConfig,
    MqttConfig,
    OutputsConfig,
    StoreConfig,
    WebhookConfig,
)
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import Section, slug
from htsat_edge.runtime.daemon.config.sources import (
    PASSWORD,
    HealthConfig,
    MicrophoneConfig,
    PcmConfig,
    SourceConfig,
    StreamConfig,
)

__all__ = [
    "PASSWORD",
    "ClipsConfig",
    "DaemonConfig",
    "DetectionConfig",
    "HealthConfig",
    "JsonLinesConfig",
    "MetricsConfig",
    "MicrophoneConfig",
    "ModelConfig",
    "MqttConfig",
    "OutputsConfig",
    "PcmConfig",
    "Secret",
    "Section",
    "SourceConfig",
    "StoreConfig",
    "StreamConfig",
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
    outputs: OutputsConfig = OutputsConfig()

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
        return self
