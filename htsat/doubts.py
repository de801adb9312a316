"""Say, in whole sentences, why a training or its figures are not to be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from htsat_edge.htsat.settings import Example
from htsat_edge.runtime.common.text import plural

MOST_FOREIGN = 0.05
"""The share of recordings of other sounds that may raise an event."""
FEW, FEW_GROUPS = 5, 3
"""Fewer held recordings or groups of a class say little of it."""
ENOUGH = 8
"""Recordings of a class; with fewer there is little to learn from."""
NAMED = 5
"""Most classes that a sentence names."""

UNMEASURED = (
    "Other sounds were not measured: how often the model fires at what it was not taught is not known. "
    "Play an hour of your place to it before you rely on it."
)
CLOSED = (
    "The network learns no sounds but those that it reports, and will take any other for one of them. Say "
    "`negatives: true`, or add folders of other sounds and list the classes to report under `labels:`."
)
LONELY = (
    "There is one class only. Add folders of sounds that it may be taken for, "
    "and list the one to report under `labels:` of the training file."
)
PLACELESS = (
    "There is no folder `background`: nothing of your place was heard. "
    "A few minutes of it in which nothing happens make false events fewer."
)


class Counts(NamedTuple):
    """How many recordings of a class there are."""

    all: int
    held: int


def count_held(labels: Sequence[str], recordings: Iterable[Example], held: Iterable[Example]) -> dict[str, Counts]:
    """Return by label how many recordings there are, and how many of them are held back."""
    there, back = Counter(r.label for r in recordings), Counter(r.label for r in held)
    return {label: Counts(there[label], back[label]) for label in labels}


def doubts_of_data(classes: int, backgrounds: int, held: Mapping[str, Counts]) -> list[str]:
    """Return what speaks against the recordings of a training.

    Parameters
    ----------
    classes
        How many there are in all, also those that are not reported.
    backgrounds
        How many recordings have no sound of any class.
    held
        By label: how many recordings there are, and are held back.
    """
    doubts = [LONELY] if classes == 1 else []
    doubts += [] if backgrounds else [PLACELESS]
    few = {label: counts for label, counts in held.items() if counts.all < ENOUGH or not counts.held}
    doubts += [_of_few(label, few[label]) for label in [*few][:NAMED]]
    more = len(few) - NAMED
    return doubts + ([f"{more} more class{'es' * (more != 1)}: too few recordings, as well."] if more > 0 else [])


def _of_few(label: str, counts: Counts) -> str:
    has = f"{label} has {plural(counts.all, 'recording')}"
    eight = f": {ENOUGH} at least." if counts.all < ENOUGH else "."
    if not counts.held:
        return f"{has}, none held back, and is never measured{eight}"
    return f"{has}, {counts.all - counts.held} to learn from{eight}"


def notes_of_held(held: Iterable[tuple[int, int]]) -> list[str]:
    """Return what is to be known of figures by class of so many held recordings and groups."""
    if not any(0 < recordings < FEW or 0 < groups < FEW_GROUPS for recordings, groups in held):
        return []
    return [
        f"The figures of a class with fewer than {FEW} held recordings, or {FEW_GROUPS} groups of them, say little."
    ]


def doubts_of_foreign(share: float | None, reported: str) -> list[str]:
    """Return what speaks against a model that so large a share of other sounds raises an event in; None: unknown."""
    if share is None:
        return [UNMEASURED]
    if share <= MOST_FOREIGN:
        return []
    return [
        f"{100 * share:.0f} % of other sounds raise an event, reported as {reported}. Add folders of what is taken for "
        "them, and list the classes to report under `labels:` of the training file."
    ]


def named(labels: Sequence[str]) -> str:
    """Return labels as a list that is not too long."""
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return "; ".join(labels[:NAMED]) + more
