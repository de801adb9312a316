"""The file of thresholds that goes from an evaluation to a bundle."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from htsat_edge.runtime.common.files import replacing


class Tuning(BaseModel):
    """What was chosen for each class; `export/to_onnx.py --thresholds` reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: dict[str, float] = {}
    median_steps: dict[str, int] = {}

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with replacing(path) as part:
            part.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
