"""Which numbered messages of a session have come."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

MOST_HOLES = 100
"""Of a session; what comes late into an older one is given up."""
MOST_LOST = 1_000_000
"""At once, weeks of messages; more are a device that has miscounted."""


@dataclass
class SeenNumbers:
    """The numbers that have come: all up to the highest but those in holes."""

    first: int = 1
    """Where it counts as lost that one does not come; before, nobody was there to take it, or it was miscounted."""
    last: int = 0
    """The highest."""
    holes: list[tuple[int, int]] = field(default_factory=list)
    """The first and the last number of each, ascending."""

    @classmethod
    def read(cls, first: int, last: int, holes: str | None) -> SeenNumbers:
        """Return them from what `written` has written."""
        return cls(first, last, [(begin, end) for begin, end in json.loads(holes)] if holes else [])

    @property
    def written(self) -> str | None:
        """The holes as JSON; None where there is none."""
        return json.dumps(self.holes) if self.holes else None

    def add(self, number: int) -> int | None:
        """Add a number; return how many more are lost now, or None where it had come already."""
        if number > self.last:
            begin, self.last = self.last + 1, number
            if number - begin > MOST_LOST:
                self.first = number
            if begin < number:
                self.holes = [*self.holes, (begin, number - 1)][-MOST_HOLES:]
            return max(0, number - max(begin, self.first))
        for i, (begin, end) in enumerate(self.holes):
            if begin <= number <= end:
                parts = [(begin, number - 1), (number + 1, end)]
                self.holes[i : i + 1] = [part for part in parts if part[0] <= part[1]]
                return -1 if number >= self.first else 0
        return None
