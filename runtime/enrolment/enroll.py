"""Learn a sound from recordings of it, or refuse what the model cannot tell apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.intervals import count_interval, share_interval
from htsat_edge.runtime.enrolment.embedding import Embedded, embed
from htsat_edge.runtime.enrolment.examples import read_examples
from htsat_edge.runtime.enrolment.folds import (
    FEWEST_OF_A_CLASS,
    LEAST_RECALL,
    MOST_OF_A_CLASS,
    HeldOut,
    hold_out,
    learn,
)
from htsat_edge.runtime.enrolment.head import Head
from htsat_edge.runtime.enrolment.negatives import (
    BACKGROUND,
    FALSE_ALARM,
    Negatives,
    no_negatives,
    read_negatives,
    spread,
)
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import Bundle, ModelInfo
from htsat_edge.runtime.models.sounds import Confusion, Estimate, SoundReport

LEAST_BACKGROUND_S = 300.0
"""Of background to learn a sound from; a bundle that ships embeddings has more."""
STEPS_OF_A_SOUND = 6
"""Of each recording of another sound."""
THRESHOLD = 0.5
"""Of every enrolled sound: its bias is such that a score of 0.5 is where its folds say."""
MOST_CONFUSIONS = 6


@dataclass(frozen=True)
class Enrolment:
    """What was learned of a sound; nothing of it is to be used where its report is not `accepted`."""

    label: str
    weight: FloatArray
    """(channels,)."""
    bias: float
    threshold: float
    report: SoundReport


def enroll(
    bundle: Bundle,
    backend: Backend,
    label: str,
    recordings: Sequence[Path],
    *,
    backgrounds: Sequence[Path] = (),
    false_alarms: Sequence[Path] = (),
    others: Mapping[str, Sequence[Path]] = {},
) -> Enrolment:
    """Learn a sound from recordings of it.

    It is learned against the embeddings that ship with the bundle, and what is given here. Recordings, classes and
    backgrounds that it was not learned from say what it finds, what else it fires on, and where its threshold lies.

    Parameters
    ----------
    bundle, backend
        The model, and what runs it.
    label
        Of the sound. Recordings of a class of the same name are not held against it.
    recordings
        Of the sound, three at least.
    backgrounds, false_alarms
        What else is heard there, and what was wrongly taken for the sound.
    others
        Recordings of other sounds that were enrolled, by label.

    Returns
    -------
    What was learned; `report.accepted` is False, and `report.reason` says why, where the model cannot tell the sound
    from others.

    Raises
    ------
    HtsatEdgeError
        A recording cannot be used, the model gives no embeddings, or there is too little background to learn from.
    """
    info = bundle.info
    examples = read_examples(recordings, info, backend)
    shipped = read_negatives(bundle) or no_negatives(examples[0].embeddings.shape[1], info.step_s)
    negatives = _add(shipped.without(label), info, backend, backgrounds, false_alarms, others)
    _refuse_without_background(bundle, negatives)
    held_out, head = hold_out(examples, negatives), learn(examples, negatives)
    limit = max(held_out.choose(), _above_false_alarms(head, negatives))
    report = _report(held_out, limit, _reason_against(held_out, limit, len(recordings), info.labels))
    return Enrolment(label, head.weight.astype(np.float32), head.bias - limit, THRESHOLD, report)


def _refuse_without_background(bundle: Bundle, negatives: Negatives) -> None:
    if negatives.background_h * 3600 < LEAST_BACKGROUND_S:
        raise HtsatEdgeError(
            f"{bundle.path}: ships no embeddings of backgrounds: {LEAST_BACKGROUND_S / 60:.0f} minutes at least of "
            "what is heard there otherwise are needed: --background FOLDER"
        )


def _add(
    negatives: Negatives,
    info: ModelInfo,
    backend: Backend,
    backgrounds: Sequence[Path],
    false_alarms: Sequence[Path],
    others: Mapping[str, Sequence[Path]],
) -> Negatives:
    """Return negatives with those of a user."""

    def hear(paths: Sequence[Path], hop_steps: int = info.steps // 2) -> list[Embedded]:
        return [embed(path, info, backend, hop_steps) for path in paths]

    def names(paths: Sequence[Path]) -> list[str]:
        return [str(path) for path in paths]

    negatives = negatives.plus(BACKGROUND, names(backgrounds), [own.final() for own in hear(backgrounds)])
    # Nothing of a false alarm may fire again, nor what is quiet in it.
    alarms = [np.concatenate([own.of_sound(), own.final()]) for own in hear(false_alarms, 1)]
    negatives = negatives.plus(FALSE_ALARM, names(false_alarms), alarms)
    for label, paths in others.items():
        heard = [spread(own.of_sound(), STEPS_OF_A_SOUND) for own in hear(paths)]
        negatives = negatives.plus(label, names(paths), heard)
    return negatives


def _above_false_alarms(head: Head, negatives: Negatives) -> float:
    """Return a threshold that none of the false alarms reaches, once they are learned from."""
    own = np.array([negatives.labels[i] == FALSE_ALARM for i in negatives.recordings], bool)
    return float(np.nextafter(head.logits(negatives.embeddings[own]).max(), np.inf)) if own.any() else -np.inf


def _reason_against(held_out: HeldOut, limit: float, recordings: int, known: Collection[str]) -> str:
    """Return why the sound cannot be told apart; nothing where it can."""
    if held_out.recall(limit) >= LEAST_RECALL:
        return ""
    needed = float(np.sort(held_out.examples)[recordings - ceil(LEAST_RECALL * recordings)])
    fired = held_out.fired(needed)
    many = {label: len(own) for label, own in held_out.others.items() if len(own) >= FEWEST_OF_A_CLASS}
    shares = {label: fired[label] / count for label, count in many.items()}
    worst = max(shares, key=lambda label: (shares[label], fired[label]), default="")
    these = f"these {recordings} recordings"
    if worst and shares[worst] > MOST_OF_A_CLASS:
        hint = "" if worst in known else f"; if that is what they are, call the sound {worst}, and these do not count"
        return (
            f"{these} sound like {worst} to this model: to find most of them, {shares[worst]:.0%} of the recordings of "
            f"{worst} would fire{hint}"
        )
    total, of = sum(fired.values()), sum(map(len, held_out.others.values()))
    per_h = held_out.alarms(needed) / held_out.background_h
    return (
        f"{these} are too different from each other, or too like other sounds, for this model: to find most of them, "
        f"{total} of {of} recordings of other sounds would fire, and backgrounds {per_h:.1f} times an hour"
    )


def _report(held_out: HeldOut, limit: float, reason: str) -> SoundReport:
    fired = held_out.fired(limit)
    confusions = [Confusion(label=label, fired=count, of=len(held_out.others[label])) for label, count in fired.items()]
    confusions = sorted((one for one in confusions if one.fired), key=lambda one: (-one.fired / one.of, one.label))
    found = int((held_out.examples >= limit).sum())
    return SoundReport(
        recordings=len(held_out.examples),
        recall=_share(found, len(held_out.examples)),
        false_alarms_per_h=_rate(held_out.alarms(limit), held_out.background_h),
        background_h=round(held_out.background_h, 2),
        confusions=confusions[:MOST_CONFUSIONS],
        threshold=THRESHOLD,
        accepted=not reason,
        reason=reason,
    )


def _share(found: int, of: int) -> Estimate:
    low, high = share_interval(found, of)
    return Estimate(value=round(found / of, 3), low=round(low, 3), high=round(high, 3))


def _rate(count: int, hours: float) -> Estimate:
    low, high = count_interval(count)
    return Estimate(value=round(count / hours, 2), low=round(low / hours, 2), high=round(high / hours, 2))
