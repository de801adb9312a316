"""Read network files: the content of configs/networks/NAME.yaml. Missing keys have the paper's values."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.dsp.log_mel import FrontEnd

STAGES = 4
MELS = 64


class NetworkConfig(BaseModel):
    """The sizes of one HTS-AT (the paper, section 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int = Field(96, gt=0)
    """Channels of a token in the first stage; each stage doubles them."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks in each stage."""
    heads: tuple[int, ...] = (4, 8, 16, 32)
    """Attention heads in each stage."""
    classes: int = Field(527, gt=0)
    loss: Literal["bce", "ce"] = "bce"
    """Loss of clipwise: `bce` for any number of classes at once, `ce` for exactly one."""
    frequency_bias: bool = False
    """Whether each of the 16 frequency rows of patches has a learned vector; no published checkpoint has them."""
    front_end: FrontEnd = FrontEnd()  # type: ignore[call-arg]

    @property
    def channels(self) -> int:
        """Channels of a token after the last stage, and of the embedding."""
        return self.embed_dim << (STAGES - 1)

    @model_validator(mode="after")
    def _consistent(self) -> NetworkConfig:
        for name in ("depths", "heads"):
            values = getattr(self, name)
            if len(values) != STAGES or min(values) < 1:
                raise ValueError(f"{name} {list(values)}: want {STAGES} positive numbers, one a stage")
        for stage, heads in enumerate(self.heads):
            if (self.embed_dim << stage) % heads:
                raise ValueError(
                    f"stage {stage + 1} has {self.embed_dim << stage} channels, not a multiple of {heads} heads"
                )
        if self.front_end.n_mels != MELS:
            raise ValueError(f"front_end.n_mels is {self.front_end.n_mels}: the network folds {MELS} mel bands")
        return self


def read_network(path: Path) -> NetworkConfig:
    """Read and check a network file; an HtsatEdgeError says what is wrong in it."""
    return read_yaml(path, NetworkConfig)
