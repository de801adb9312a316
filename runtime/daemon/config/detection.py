"""The model, and when a sound is an event."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from htsat_edge.runtime.daemon.config.section import Seconds, Section, Share


class ModelConfig(Section):
    """The model."""

    bundle: Path | None = None
    """Folder of the model; the bundled one by default."""
    precision: str | None = None
    """Of its graphs or engines; by default the one that was measured to be best here."""
    backend: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    """Of onnxruntime; by default one fewer than there are cores, so that one is free for the sound card."""
    build: bool = True
    """Build an engine in the background where TensorRT is there but no engine fits."""


class DetectionConfig(Section):
    """When a sound is an event."""

    hop_s: Seconds | None = None
    """From one run of the model to the next; an eighth of a window by default, 1.28 s."""
    look_ahead_s: Annotated[float, Field(ge=0)] | None = None
    """Heard after a moment before its scores are final; a quarter of a window by default, 2.56 s."""
    threshold: Share | None = None
    """For every class, in place of the model's own."""
    thresholds: dict[str, Share] = {}
    """For some classes, by label."""
    labels: list[str] | None = None
    """Only these classes; all by default."""
    release: Share = 0.6
    """An event goes on while its score is at least this share of the threshold."""
    min_length_s: Annotated[float, Field(ge=0)] = 0.3
    merge_gap_s: Annotated[float, Field(ge=0)] = 0.7
    gate_dbfs: Annotated[float, Field(le=0)] | None = None
    """Save power: the model does not run on windows that are never louder than this. Off by default: see docs."""
