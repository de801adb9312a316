"""What a pattern of an alarm is: a cycle of beats, a voice that plays it, and a housing around that.

The tones of a beat are multiples of the pattern's pitch, its times multiples of the pace. Each recording draws all of
these anew from their ranges. alarm_signals.py has the patterns themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Rng = np.random.Generator
Range = tuple[float, float]


class Beat(NamedTuple):
    """Tones that sound at once, and the pause after them."""

    on_s: float
    off_s: float
    tones: tuple[float, ...]
    glide: float = 1.0
    """The tones end at this multiple of where they begin."""


Cycle = tuple[Beat, ...]


@dataclass(frozen=True)
class Tone:
    """An oscillator that plays pulses: duty 0.5 is a square wave, a steep tilt leaves a sine."""

    duty: Range = (0.25, 0.5)
    tilt_db: Range = (0.0, 9.0)
    """How much weaker the partials are than those of pulses, an octave."""
    edge_s: Range = (0.001, 0.006)
    """Of attack and release."""
    vibrato_hz: Range = (0.0, 0.0)
    vibrato: Range = (0.0, 0.0)
    """Its depth, as a share of the frequency."""
    breath: Range = (0.0, 0.0)
    """The level of noise that sounds with the tones."""


@dataclass(frozen=True)
class Struck:
    """A body that is hit and rings on: each beat is a stroke."""

    modes: tuple[float, ...]
    """Frequencies as multiples of the lowest."""
    decay_s: Range
    """Until the lowest mode is 60 dB down; higher ones are faster."""
    hammer: Range = (0.0, 0.3)
    """The level of the noise of the stroke."""
    uneven: float = 0.02
    """Deviation of strokes in time, as a share of the beat."""


Voice = Tone | Struck


class Housing(NamedTuple):
    """What surrounds the sounder: the corners of the band that it passes, in Hz. Resonances are drawn within."""

    low_hz: Range
    high_hz: Range


@dataclass(frozen=True)
class Pattern:
    """A kind of signal."""

    name: str
    label: str
    """A class of AudioSet."""
    pitch: Range
    """Hz of the tone 1; near 1 where the tones of the beats are in Hz."""
    cycle: Cycle | Callable[[Rng], Cycle]
    voice: Voice
    housing: Housing
    pace: Range = (0.9, 1.1)
    """Multiplies all times."""
    duty: Range = (1.0, 1.0)
    """Multiplies `on_s` at the cost of the pause."""
    span: Range = (1.0, 1.0)
    """An exponent of tones and glides: how far apart they are."""
    times: tuple[int, int] | None = None
    """How often the cycle is played; None: from end to end of the recording."""
    outdoors: bool = False
    moving: bool = False
    """Whether the source may drive past."""
    share: int = 1
    """Of the recordings of its class."""
    held: bool = False
    """Whether it is held back as a whole: a signal of a kind that was never learned."""


def beat(on_s: float, off_s: float, *tones: float, glide: float = 1.0) -> Beat:
    """Return a beat; without tones, of one at the pitch of the pattern."""
    return Beat(on_s, off_s, tones or (1.0,), glide)


def pulses(count: int, on_s: float, off_s: float, pause_s: float) -> Cycle:
    """Return equal pulses with a longer pause after the last one."""
    return (*(beat(on_s, off_s),) * (count - 1), beat(on_s, pause_s))


def ring(on_s: float, off_s: float, *tones: float, rate: float) -> Cycle:
    """Return tones that take turns, `rate` of them a second, for `on_s`, and the pause after them."""
    beats = [beat(1 / rate, 0.0, tones[n % len(tones)]) for n in range(round(on_s * rate))]
    return (*beats[:-1], beats[-1]._replace(off_s=off_s))


def melody(notes: tuple[int, int], scale: tuple[float, ...], beat_s: float, chord: int = 1) -> Callable[[Rng], Cycle]:
    """Return a maker of tunes of so many notes: a walk over the scale in whole, double and half beats."""

    def make(rng: Rng) -> Cycle:
        place, found = int(rng.integers(len(scale))), []
        for _ in range(rng.integers(*notes, endpoint=True)):
            place = int(np.clip(place + rng.integers(-3, 4), 0, len(scale) - 1))
            lasts_s = beat_s * float(rng.choice([0.5, 1, 1, 1, 2]))
            tones = (scale[(place + 2 * n) % len(scale)] for n in range(chord))
            found.append(beat(0.9 * lasts_s, 0.1 * lasts_s, *tones))
        return (*found[:-1], found[-1]._replace(off_s=float(rng.choice([0.05, 0.4, 1.0, 1.8]))))

    return make


def digits(rng: Rng) -> Cycle:
    """Return a number as it is dialled, in Hz (ITU-T Q.23; Q.24, annex A: tones and pauses of at least 40 to 65 ms)."""
    rows, columns = (697, 770, 852, 941), (1209, 1336, 1477)
    on_s, off_s = rng.uniform(0.05, 0.25, 2)
    keys = [(rng.choice(rows), rng.choice(columns)) for _ in range(rng.integers(1, 12, endpoint=True))]
    return tuple(beat(on_s, off_s * rng.uniform(0.8, 2.0), *key) for key in keys)


def few_beeps(rng: Rng) -> Cycle:
    """Return the one to three short beeps with which a device answers."""
    on_s, off_s = rng.uniform(0.03, 0.25, 2)
    tones = 1.0, float(rng.choice([0.5, 0.75, 1.0, 1.0, 1.0, 1.26, 1.5])), 1.0
    return tuple(beat(on_s, off_s, tone) for tone in tones[: rng.integers(1, 4)])


def clock_beeps(rng: Rng) -> Cycle:
    """Return a group of two to eight beeps, and the pause after it."""
    on_s = rng.uniform(0.03, 0.11)
    return pulses(int(rng.integers(2, 9)), on_s, on_s * rng.uniform(0.7, 1.3), rng.uniform(0.2, 0.8))


def some_glides(rng: Rng) -> Cycle:
    """Return short glides in arbitrary directions, one after the other."""
    ends = np.exp(rng.uniform(-0.4, 0.4, rng.integers(2, 5)))
    return tuple(beat(rng.uniform(0.03, 0.12), 0.0, a, glide=b / a) for a, b in pairwise(ends))
