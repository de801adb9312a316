"""What a training file says."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from htsat.config import NetworkConfig, read_network
from runtime.command import Parser
from runtime.config import read_yaml
from runtime.errors import UserError


class TrainConfig(BaseModel):
    """The keys of configs/train.yaml; the comments there explain each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Path
    labels: list[str] = Field(min_length=1)
    auxiliary: list[str] = []
    steps: int = Field(gt=0)
    batch: int = Field(8, gt=0)
    dense_share: float = Field(0.5, ge=0, le=1)
    tiled_share: float = Field(0.3, ge=0, le=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    ema: float = Field(0.998, gt=0, lt=1)
    clip_weight: float = Field(0.5, ge=0)
    seed: int = 1


def read_training(path: Path) -> tuple[TrainConfig, NetworkConfig]:
    """Read a training file and the network file that it names."""
    config = read_yaml(path, TrainConfig)
    network = read_network(path.parent / config.network)
    if network.classes != len(config.labels):
        raise UserError(f"{path}: {len(config.labels)} labels, but the network has {network.classes} classes")
    return config, network


def make_parser(prog: str, description: str) -> Parser:
    """The options that training and evaluation share."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument("--config", type=Path, required=True, help="a training file, such as configs/train.yaml")
    parser.add_argument("--data", type=Path, required=True, help="a folder with manifest.csv and its recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder for what comes out")
    return parser


def make_folder(path: Path) -> None:
    """The folder that results go to, made before the work rather than after it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written: {error.strerror}") from None
