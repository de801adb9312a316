"""Render alarms plainly, to measure on: tones, sweeps and struck bodies after published patterns, in a simple room.

It shares no code and no drawn parameter with the synthesiser that models learn from (htsat/alarms.py), and nothing is
ever trained on what it renders, so that it shows what a model knows of an alarm rather than of that synthesiser.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.runtime.common.arrays import FloatArray

RATE = 32_000
SOUNDING_S = 12.0
"""An alarm begins no further cycle after this time: three of CO's, two rings of a telephone in North America."""
SMOKE, SIREN, CLOCK, TELEPHONE, DOORBELL, REVERSING = ALARMS = (
    "Smoke detector, smoke alarm",
    "Siren",
    "Alarm clock",
    "Telephone",
    "Doorbell",
    "Reversing beeps",
)
KEYS = tuple((low, high) for low in (697, 770, 852, 941) for high in (1209, 1336, 1477))
"""The two tones of each key of a telephone, in Hz: ITU-T Q.23."""
BAR = (1.0, 2.756, 5.404)
BELL = (1.0, 2.0, 2.4, 3.0, 4.0, 5.33)
"""Partials of a free bar and of a bell: Fletcher and Rossing, The Physics of Musical Instruments, 2.15 and 21.1."""

Wave = npt.NDArray[np.float64]
Cycle = list[tuple[float, Wave]]
Draw = Callable[[np.random.Generator], tuple[Cycle, float]]


@dataclass(frozen=True)
class Alarm:
    """An alarm to be heard."""

    kind: str
    """How it was made: a pattern, or the class where that is all that is known."""
    label: str
    samples: FloatArray
    """(S,) at RATE."""
    sounding: tuple[tuple[float, float], ...]
    """Onset and offset of each pulse, ring or stroke in seconds."""

    @property
    def whole(self) -> Occurrence:
        """From its first onset to its last offset."""
        return Occurrence(self.sounding[0][0], max(offset for _, offset in self.sounding), self.label)


def tone(frequency_hz: float | Wave, seconds: float, square: bool = False) -> Wave:
    """Return a sine, or the harmonics of a square below the Nyquist frequency, with edges of 3 ms."""
    frequency = np.broadcast_to(np.asarray(frequency_hz, np.float64), round(seconds * RATE))
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    odd = range(1, int(RATE / 2 / frequency.max()) + 1, 2) if square else (1,)
    edge = np.minimum(1, np.minimum(np.arange(len(phase)), np.arange(len(phase))[::-1]) / (0.003 * RATE))
    return np.asarray(edge * sum(np.sin(k * phase) / k for k in odd), np.float64)


def struck(frequency_hz: float, partials: Sequence[float], decay_s: float, seconds: float) -> Wave:
    """Return a body that was struck: damped partials, the higher the weaker and the shorter."""
    time = np.arange(round(seconds * RATE)) / RATE
    heard = [p for p in partials if p * frequency_hz < RATE / 2]
    return np.asarray(
        sum(np.sin(2 * np.pi * p * frequency_hz * time) * np.exp(-time * p / decay_s) / p for p in heard), np.float64
    )


def train(count: int, on_s: float, off_s: float, make: Callable[[int], Wave]) -> Cycle:
    """Return `count` pulses, each `on_s` long, with pauses between."""
    return [(k * (on_s + off_s), make(k)) for k in range(count)]


def swept(rng: np.random.Generator, slowest: float, fastest: float) -> tuple[Cycle, float]:
    """Return a tone that goes up and down so many times a minute, somewhere between 500 and 1800 Hz."""
    low, high = rng.uniform(500, 750), rng.uniform(1300, 1800)
    phase = np.arange(round(SOUNDING_S * RATE)) / RATE * rng.uniform(slowest, fastest) / 60
    up_and_down = 1 - np.abs(2 * (phase % 1) - 1)
    return [(0.0, tone(low * (high / low) ** up_and_down, SOUNDING_S, square=True))], SOUNDING_S + 1


def two_tones(rng: np.random.Generator, pairs: Sequence[tuple[float, float]], each_s: float) -> tuple[Cycle, float]:
    """Return the two tones of a siren in turn."""
    pair = pairs[int(rng.integers(len(pairs)))]
    return train(2, each_s, 0.0, lambda k: tone(pair[k], each_s, square=True)), 2 * each_s


def temporal(
    rng: np.random.Generator, count: int, pulse_s: float, pause_s: float, low: bool = False
) -> tuple[Cycle, float]:
    """Return pulses as far apart as they are long, which varies by 10 %, and the pause after them, which does not."""
    pitch, on = rng.uniform(494, 546) if low else rng.uniform(2900, 3400), pulse_s * rng.uniform(0.9, 1.1)
    return train(count, on, on, lambda _: tone(pitch, on, square=True)), count * 2 * on - on + pause_s


def rung(rng: np.random.Generator, gongs: int, strokes_per_s: float, on_s: float) -> Cycle:
    """Return a hammer that strikes one gong, or two in turn."""
    pitch, period = rng.uniform(700, 1600), 1 / strokes_per_s
    made = np.zeros(round((on_s + 0.6) * RATE))
    for k in range(int(on_s * strokes_per_s)):
        stroke = struck(pitch * 1.19 ** (k % gongs), BELL, 0.4, 0.6) * rng.uniform(0.8, 1)
        made[(at := round(k * period * RATE)) : at + len(stroke)] += stroke
    return [(0.0, made)]


def dialled(rng: np.random.Generator) -> tuple[Cycle, float]:
    """Return a dialled number of seven to eleven digits."""
    on, digits = rng.uniform(0.08, 0.2), rng.integers(len(KEYS), size=rng.integers(7, 12))
    return train(
        len(digits), on, on, lambda k: tone(KEYS[digits[k]][0], on) + tone(KEYS[digits[k]][1], on)
    ), SOUNDING_S + 1


def warbled(rng: np.random.Generator) -> tuple[Cycle, float]:
    """Return an electronic ringer: two tones in the ratio of 5 to 4 in turn, both 12.5 times a second."""
    low, on = rng.choice([404, 808, 1616]), 2.0
    high = (np.arange(round(on * RATE)) * 12.5 / RATE) % 1 < 0.5
    return [(0.0, tone(np.where(high, low * 1.25, low), on, square=True))], 6.0


def ringback(pair: tuple[float, float], on_s: float, offsets: Sequence[float], cycle_s: float) -> tuple[Cycle, float]:
    """Return what a caller hears while it rings: two tones together."""
    return [(at, tone(pair[0], on_s) + tone(pair[1], on_s)) for at in offsets], cycle_s


def chimed(rng: np.random.Generator) -> tuple[Cycle, float]:
    """Return ding and dong: two bars, a third or a fourth apart."""
    pitch, ratio, apart = rng.uniform(500, 900), rng.choice([1.2, 1.25, 1.333]), rng.uniform(0.5, 0.9)
    return [(0.0, struck(pitch, BAR, 0.9, 2)), (apart, struck(pitch / ratio, BAR, 1.1, 2.5))], rng.uniform(4, 7)


def buzzed(rng: np.random.Generator) -> tuple[Cycle, float]:
    """Return an armature that knocks at twice the frequency of the mains."""
    on, mains = rng.uniform(0.5, 1.5), rng.choice([50.0, 60.0])
    return [(0.0, np.tanh(4 * tone(2 * mains, on, square=True) + 2 * tone(mains, on)))], rng.uniform(2.5, 4)


def hissed(rng: np.random.Generator, on_s: float) -> Wave:
    """Return a burst of noise between 400 Hz and 8 kHz."""
    spectrum = np.fft.rfft(rng.normal(size=round(on_s * RATE)))
    hz = np.fft.rfftfreq(round(on_s * RATE), 1 / RATE)
    return np.asarray(np.fft.irfft(spectrum * ((hz > 400) & (hz < 8000)), round(on_s * RATE)), np.float64)


def beeped(rng: np.random.Generator) -> tuple[Cycle, float]:
    """Return four short beeps a second of a quartz divided by 16 or by 8."""
    pitch = rng.choice([2048, 4096])
    return train(4, 0.0625, 0.0625, lambda _: tone(pitch, 0.0625, square=True)), 1.0


def reversed_(rng: np.random.Generator, broadband: bool) -> tuple[Cycle, float]:
    """Return a pulse, and a pause as long: one to two of them a second."""
    on, pitch = 0.5 / rng.uniform(1, 2), rng.uniform(1000, 1500)
    return [(0.0, hissed(rng, on) if broadband else tone(pitch, on, square=True))], 2 * on


PATTERNS: dict[str, tuple[str, Draw]] = {
    # ISO 8201 and ANSI/ASA S3.41: three pulses of 0.5 s, 0.5 s apart, then 1.5 s of silence; 520 Hz: NFPA 72, 18.4.6
    "T3": (SMOKE, lambda rng: temporal(rng, 3, 0.5, 1.5)),
    "T3 of 520 Hz": (SMOKE, lambda rng: temporal(rng, 3, 0.5, 1.5, low=True)),
    # ANSI/UL 2034 and NFPA 72: four pulses of 0.1 s, 0.1 s apart, then 5 s of silence
    "T4": (SMOKE, lambda rng: temporal(rng, 4, 0.1, 5.0)),
    # California Code of Regulations, title 13, 1028: 10 to 30 and 150 to 250 oscillations a minute
    "wail": (SIREN, lambda rng: swept(rng, 10, 30)),
    "yelp": (SIREN, lambda rng: swept(rng, 150, 250)),
    # DIN 14610: two tones a fourth apart; France: 435 and 580 Hz (police), or 488 Hz (fire, 25 to 30 cycles a minute)
    "hi-lo": (SIREN, lambda rng: two_tones(rng, [(440, 585), (360, 480), (435, 580)], rng.uniform(0.5, 0.75))),
    "hi-lo of 435 and 488 Hz": (SIREN, lambda rng: two_tones(rng, [(435, 488)], rng.uniform(1.0, 1.2))),
    # Quartz watches divide 32768 Hz by 16 (or 8) and beep on eighths of a second
    "four beeps": (CLOCK, beeped),
    # A wind-up clock: one gong, struck until it has run down; 12 to 20 times a second are chosen, as no standard says
    "bell of a clock": (CLOCK, lambda rng: (rung(rng, 1, rng.uniform(12, 20), 6.0), SOUNDING_S + 1)),
    # Each half-wave of a ringing current of 20 Hz strikes one of two gongs; 2 s of 6 in North America: ITU-T E.180
    "bell of a telephone": (TELEPHONE, lambda rng: (rung(rng, 2, 40, 2.0), 6.0)),
    # Motorola MC34017: 404, 808 or 1616 Hz by its version, and 5/4 of it, in turn at 12.5 Hz
    "electronic ringer": (TELEPHONE, warbled),
    # ITU-T E.180, supplement 2
    "ringing tone, US": (TELEPHONE, lambda _: ringback((440, 480), 2.0, [0.0], 6.0)),
    "ringing tone, UK": (TELEPHONE, lambda _: ringback((400, 450), 0.4, [0.0, 0.6], 3.0)),
    "DTMF": (TELEPHONE, dialled),
    # Bars of free ends (see BAR) over a tube; an electromagnet on the mains
    "ding-dong": (DOORBELL, chimed),
    "buzzer": (DOORBELL, buzzed),
    # SAE J994 and ISO 9533: a pulse and a pause as long, one to two a second, of 700 to 2800 Hz; 1000 to 1500 Hz are
    # chosen, and so is the band of the noise
    "reversing beep": (REVERSING, lambda rng: reversed_(rng, broadband=False)),
    "reversing hiss": (REVERSING, lambda rng: reversed_(rng, broadband=True)),
}


def room(samples: Wave, rng: np.random.Generator) -> Wave:
    """Return what is heard in a room: the sound itself, and noise that dies away as its echoes, 0 to 12 dB weaker."""
    seconds = rng.uniform(0.2, 0.7)
    tail = rng.normal(size=round(seconds * RATE)) * 10 ** (-3 * np.arange(round(seconds * RATE)) / (seconds * RATE))
    tail[: round(rng.uniform(0.002, 0.01) * RATE)] = 0
    tail *= 10 ** (-rng.uniform(0, 12) / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    size = len(samples) + len(tail) - 1
    return np.asarray(
        np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)], np.float64
    )


def render(pattern: str, seed: int) -> Alarm:
    """Render a pattern of PATTERNS; the same seed gives the same samples."""
    label, draw = PATTERNS[pattern]
    rng = np.random.default_rng((seed, zlib.crc32(pattern.encode())))
    cycle, every_s = draw(rng)
    starts: list[float] = np.arange(0, SOUNDING_S, every_s).tolist()
    pieces = [(start + at, piece) for start in starts for at, piece in cycle]
    sounding = tuple((at, at + len(piece) / RATE) for at, piece in pieces)
    samples: Wave = np.zeros(round((max(off for _, off in sounding) + 1) * RATE))
    for at, piece in pieces:
        samples[(start := round(at * RATE)) : start + len(piece)] += piece
    samples = room(samples, rng)
    return Alarm(pattern, label, (samples / np.abs(samples).max() * 0.5).astype(np.float32), sounding)
