"""How much of a source was heard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Coverage:
    """How much of a source was heard."""

    heard_s: float = 0.0
    lost_s: float = 0.0
    gaps: int = 0

    @property
    def share(self) -> float:
        """Share of the time that was heard, 0 to 1."""
        whole = self.heard_s + self.lost_s
        return self.heard_s / whole if whole else 1.0

    def add(self, seconds: float, heard: bool) -> None:
        """Count time that was heard, or lost."""
        self.heard_s += seconds if heard else 0.0
        self.lost_s += 0.0 if heard else seconds

    def lose(self, seconds: float) -> None:
        """Count a gap, and so much as lost that was counted as heard."""
        seconds = min(seconds, self.heard_s)
        self.heard_s, self.lost_s, self.gaps = self.heard_s - seconds, self.lost_s + seconds, self.gaps + 1
