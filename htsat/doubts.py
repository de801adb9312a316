"""Say, in whole sentences, why a training or its figures are not to be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MOST_FOREIGN = 0.05
"""The share of recordings of other sounds that may raise an event."""
FEW, FEW_GROUPS = 5, 3
"""Fewer held recordings or groups of a class say little of it."""
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


def doubts_of_data(classes: int, backgrounds: int, held: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return what speaks against the recordings of a training.

    Parameters
    ----------
    classes
        How many there are in all, also those that are not reported.
    backgrounds
        How many recordings have no sound of any class.
    held
        By label: how many recordings are held back, and of how many groups.
    """
    doubts = [LONELY] if classes == 1 else []
    doubts += [] if backgrounds else [PLACELESS]
    return doubts + doubts_of_held(held)


def doubts_of_held(held: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return what speaks against figures of so many held recordings and groups, by label."""
    few = [label for label, (recordings, groups) in held.items() if recordings < FEW or groups < FEW_GROUPS]
    if not few:
        return []
    return [
        f"Fewer than {FEW} recordings or {FEW_GROUPS} groups are held back of {named(few)}: their figures say "
        "little, and an interval without width is no certainty."
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
