"""Why a class was reported at a moment or was not, as a sentence for who owns the detector."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from htsat_edge.runtime.dsp.events import is_early
from htsat_edge.runtime.store.records import Stage, StoredEvent

NEAR_S = 3.0
LONG_S = 15.0
"""An event that is longer may not be what one wants."""
PLAIN = re.compile(r"[A-Za-z][\w ()-]*")
"""What YAML takes as it stands; other labels need quotes."""


def clock(at: float, near: float | None = None) -> str:
    """Return a time of day, with its date where that is not the one of another moment."""
    moment = datetime.fromtimestamp(at)
    with_date = near is None or moment.date() != datetime.fromtimestamp(near).date()
    return f"{moment:%Y-%m-%d %H:%M:%S}" if with_date else f"{moment:%H:%M:%S}"


@dataclass(frozen=True)
class Alternative:
    """What another threshold of a class would have reported at a moment."""

    threshold: float
    length_s: float
    """Of the event."""
    others: int
    """How many more events than there were it makes within a minute."""


@dataclass(frozen=True)
class Finding:
    """What is known of a class at a moment that was scored."""

    label: str
    at: float
    stage: Stage
    score: float
    peak: float
    """The highest score within NEAR_S."""
    threshold: float
    release: float
    heard_s: float
    """How long what has reached the threshold here lasted; 0 where nothing has."""
    min_length_s: float
    """What an event of the class needs."""
    would: float | None
    """The highest threshold with which there would be an event."""
    alternative: Alternative | None
    """What a threshold that one would write does; None where none does anything."""
    event: StoredEvent | None
    hiding: Sequence[str]
    """The more specific classes that have an event."""
    faults: Mapping[str, str]
    """What to do about each input fault."""


def sentence_of(finding: Finding) -> str:
    """Return the sentence."""
    return f"{SENTENCES[finding.stage](finding)}."


def shown_score(score: float) -> str:
    """Return a score as text."""
    return "less than 0.01" if score < 0.01 else f"{score:.2f}" if score >= 0.1 else f"{score:.3f}"


def limit(threshold: float) -> str:
    """Return a threshold as text: with two decimals, as scores have, where these are all."""
    return f"{threshold:.2f}" if threshold == round(threshold, 2) else f"{threshold:.3g}"


def lower(threshold: float) -> float:
    """Return a threshold rounded down to what one would write."""
    scale = 100 if threshold >= 0.1 else 1000
    return math.floor(threshold * scale + 1e-6) / scale


def higher(threshold: float) -> float:
    """Return the next threshold above that one would write; there may be none, and it is 1 or more."""
    return math.floor(threshold * 100 + 1) / 100


def setting(key: str, label: str, value: float) -> str:
    """Return a key of the configuration with a value for one class."""
    name = label if PLAIN.fullmatch(label) else json.dumps(label, ensure_ascii=False)
    return f"`{key}: {{{name}: {value:g}}}`"


def _scored(f: Finding) -> str:
    near = f" ({shown_score(f.peak)} at most within {NEAR_S:g} s)" if f.peak > f.score + 0.005 else ""
    rounded = ""
    if f.score < f.threshold and shown_score(f.score) == shown_score(f.threshold):
        rounded = ", which is a little less (stored scores are rounded)"
    return f"{f.label} scored {shown_score(f.score)} here{near}, and is reported from {f.threshold:.3g} on{rounded}"


def _would(f: Finding) -> str:
    other = f.alternative
    if other is None:
        return "no threshold would have reported it"
    whole = f" as a part of {other.length_s:.0f} s" if other.length_s > LONG_S else ""
    more = f", and {other.others} more within a minute" if other.others else ""
    return f"{setting('detection.thresholds', f.label, other.threshold)} would have reported it{whole}{more}"


def _reported(f: Finding) -> str:
    event = f.event
    if event is None:
        return f"{f.label} was reported; its threshold is {limit(f.threshold)}"
    if event.offset is None:
        lasted = f"from {clock(event.at, f.at)} on (its end is not known)"
    else:
        lasted = f"from {clock(event.at, f.at)} for {event.offset - event.onset:.3g} s"
    text = f"{f.label} was reported {lasted}, with {shown_score(event.score)} at most"
    if is_early(event, f.threshold):
        return (
            f"{f.label} was reported {lasted}, early, from scores that were not final; with what was heard after, they "
            f"are {shown_score(event.score)} at most, and its threshold is {limit(f.threshold)}: a greater "
            "`detection.early_margin` makes that rarer, and null waits for the final scores"
        )
    text += f"; its threshold is {limit(f.threshold)}"
    if f.would is None or (above := higher(f.would)) >= 1:
        return text
    return f"{text}, and {setting('detection.thresholds', f.label, above)} would have left this moment out"


def _below_threshold(f: Finding) -> str:
    return f"{_scored(f)}: {_would(f)}"


def _too_short(f: Finding) -> str:
    key = "min_length_s" if f.stage == "too_short" else "confirm_s"
    longer = "" if f.alternative is None else f"; {_would(f)}, since it would have lasted longer"
    return (
        f"{_scored(f)}, but this lasted for {f.heard_s:.3g} s only, and it needs {f.min_length_s:.3g} s "
        f"(`detection.{key}`){longer}"
    )


def not_reported(label: str, score: float | None, would: float | None) -> str:
    """Return the sentence of a class that is not reported; without a score it was none of the source's classes."""
    if score is None:
        return f"{label} was none of the classes that were scored at that time."
    text = f"{label} scored {shown_score(score)} here, but is not reported: `detection.labels` does not have it"
    return (
        f"{text}." if would is None else f"{text}; with it, a threshold up to {lower(would):g} would have reported it."
    )


def _more_specific(f: Finding) -> str:
    others = " and ".join(f.hiding) or "a more specific class"
    return (
        f"{f.label} scored {shown_score(f.score)} here, but counts as nothing while there is {others}, which is more "
        "specific: `detection.most_specific: false` lets each have events of its own"
    )


def _ruled(rule: str, why: str) -> Callable[[Finding], str]:
    return lambda f: f"{f.label} was found here, but {why}: `rules.{rule.format(f.label)}` left it out"


def _not_stored(f: Finding) -> str:
    return (
        f"{_scored(f)}, and should have been: no event of it is stored, because the store was not written to at that "
        "moment, or the event was deleted"
    )


def _input_fault(f: Finding) -> str:
    faults = "; ".join(f"{problem}: {advice}" for problem, advice in f.faults.items())
    return f"{f.label} scored {shown_score(f.score)} here, while something was wrong with the sound ({faults})"


SENTENCES: Mapping[Stage, Callable[[Finding], str]] = {
    "reported": _reported,
    "below_release": _below_threshold,
    "below_threshold": _below_threshold,
    "too_short": _too_short,
    "confirming": _too_short,
    "more_specific": _more_specific,
    "suppress": _ruled("suppress.{}", "another class sounded at the same time"),
    "cooldown": _ruled("cooldown_s", "it had been reported shortly before"),
    "quiet_hours": _ruled("quiet_hours", "it was a time at which it is not reported"),
    "not_stored": _not_stored,
    "input_fault": _input_fault,
}
