"""Groups of labels: what a person calls one thing, and what is reported as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.levels import Sensitivity

SHIPPED = CONFIGS / "groups"
"""The folder of the files that ship with this; `audioset` is one."""


class Group(BaseModel):
    """Labels of a model that are reported as one class; in a file also a plain list of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    labels: Annotated[list[str], Field(min_length=1)]
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The highest of its labels' own by default."""
    few_false_alarms: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The threshold at that sensitivity; `threshold` by default."""
    miss_little: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The same."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, content: Any) -> Any:
        return {"labels": content} if isinstance(content, list | tuple) else content

    @model_validator(mode="after")
    def _ordered(self) -> Group:
        said = [x for x in (self.miss_little, self.threshold, self.few_false_alarms) if x is not None]
        if said != sorted(said):
            raise ValueError("want miss_little <= threshold <= few_false_alarms")
        return self

    def said_at(self, sensitivity: Sensitivity) -> float | None:
        """Return what the group itself says for a level; None where it says nothing."""
        levels = {"few_false_alarms": self.few_false_alarms, "miss_little": self.miss_little}
        return levels.get(sensitivity, self.threshold)


class GroupsFile(RootModel[dict[str, Group]]):
    """The content of a file of groups."""


def read_groups(name: str, info: ModelInfo) -> dict[str, Group]:
    """Return the groups of a file: its path, or the name of one that ships with this.

    Of the latter, labels that the model does not have are left out, and thresholds count only where the bundle has
    none for the labels of its group.

    Raises
    ------
    HtsatEdgeError
        There is no such file, it holds no groups, or the model has none of the labels of one that ships with this.
    """
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name not in shipped:
        if not Path(name).exists():
            hint = suggest(name, shipped, f"; {', '.join(shipped)} ship with this")
            raise HtsatEdgeError(f"groups: {name}: no such file{hint}")
        return read_yaml(Path(name), GroupsFile).root
    groups = {}
    for title, group in read_yaml(SHIPPED / f"{name}.yaml", GroupsFile).root.items():
        labels = [label for label in group.labels if label in info.labels]
        if labels:
            measured = any(label in info.thresholds for label in labels)
            groups[title] = Group(labels=labels) if measured else group.model_copy(update={"labels": labels})
    if not groups:
        raise HtsatEdgeError(f"groups: {name}: the model has none of these labels")
    return groups
