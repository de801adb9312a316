"""Render notes as they sound: the sounder itself, its housing, the room or the street, and the noise around."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.signal

from htsat_edge.htsat.alarm_patterns import Housing, Rng, Struck, Tone, Voice

Samples = npt.NDArray[np.float64]
SAMPLE_RATE = 32_000
HIGHEST_HZ = 14_500
"""Partials above are left out: they would alias."""
FAINT = 1e-3
"""Partials below this share of the first are left out."""


class Note(NamedTuple):
    """Tones that sound at once."""

    onset_s: float
    offset_s: float
    hz: tuple[float, ...]
    glide: float = 1.0
    """They end at this multiple of where they begin."""


def render(rng: Rng, notes: list[Note], voice: Voice, length: int, moving: bool = False) -> Samples:
    """Return what the sounder radiates, (S,), with a peak of about 1."""
    dry = (
        strike(rng, notes, voice, length) if isinstance(voice, Struck) else oscillate(rng, notes, voice, length, moving)
    )
    return dry / max(np.abs(dry).max(), 1e-9)


def oscillate(rng: Rng, notes: list[Note], voice: Tone, length: int, moving: bool = False) -> Samples:
    """Play notes on oscillators, one for each of the tones at once."""
    drift = wander(rng, length, rng.uniform(0, 0.004)) * vibrato(rng, voice, length)
    gain: Samples = np.ones(length)
    if moving:
        doppler, gain = pass_by(rng, length)
        drift *= doppler
    gains = pulse_partials(rng.uniform(*voice.duty), rng.uniform(*voice.tilt_db))
    edge = np.hanning(max(3, round(rng.uniform(*voice.edge_s) * SAMPLE_RATE)))
    curve = rng.uniform(0.6, 1.6)  # of glides: how much faster they begin or end
    mixed, breath = np.zeros(length), rng.uniform(*voice.breath)
    for tone in range(max(len(note.hz) for note in notes)):
        hz, gate = np.zeros(length), np.zeros(length)
        for note in notes:
            if tone < len(note.hz):
                begin, end = round(note.onset_s * SAMPLE_RATE), round(note.offset_s * SAMPLE_RATE)
                hz[begin:end] = note.hz[tone] * note.glide ** (np.linspace(0, 1, end - begin) ** curve)
                hz[end:] = note.hz[tone] * note.glide  # the release has the last pitch
                gate[begin:end] = 1
        envelope = scipy.signal.fftconvolve(gate, edge / edge.sum())[:length].clip(0, 1)
        sound = add_partials(hz * drift, gains)
        if breath:
            sound += breath * np.abs(sound).max() * rng.normal(size=length)
        mixed += sound * envelope * gain * rng.uniform(0.7, 1)
    return mixed


def pulse_partials(duty: float, tilt_db: float) -> Samples:
    """Return the amplitudes of the partials of pulses, down to the faint ones."""
    k = np.arange(1, HIGHEST_HZ // 40)
    gains = np.abs(np.sin(np.pi * k * duty)) / k * 10 ** (-tilt_db * np.log2(k) / 20)
    gains /= gains[0]
    return gains[: np.flatnonzero(gains > FAINT)[-1] + 1]


def add_partials(hz: Samples, gains: Samples) -> Samples:
    """Return the sum of partials of a fundamental (S,) that may glide."""
    phasor = np.exp(2j * np.pi * np.cumsum(hz) / SAMPLE_RATE)
    partial, total = np.ones_like(phasor), np.zeros(len(hz))
    lowest = hz[hz > 0].min(initial=HIGHEST_HZ)
    for k, gain in enumerate(gains[: int(HIGHEST_HZ / lowest)], 1):
        partial *= phasor
        if gain > FAINT:
            total += gain * partial.imag * (k * hz < HIGHEST_HZ)
    return total


def strike(rng: Rng, notes: list[Note], voice: Struck, length: int) -> Samples:
    """Play notes as strokes: for each pitch, a row of strokes that is convolved with how the body rings."""
    decay_s, hammer = rng.uniform(*voice.decay_s), rng.uniform(*voice.hammer)
    levels = rng.uniform(0.2, 1, len(voice.modes)) / np.sqrt(voice.modes)
    detune = rng.normal(1, 0.004, len(voice.modes))
    mixed = np.zeros(length)
    for hz in sorted({hz for note in notes for hz in note.hz}):
        row = np.zeros(length)
        for note in (note for note in notes if hz in note.hz):
            late_s = voice.uneven * rng.normal() * (note.offset_s - note.onset_s)
            row[min(max(0, round((note.onset_s + late_s) * SAMPLE_RATE)), length - 1)] += rng.uniform(0.6, 1)
        t = np.arange(min(length, round(1.2 * decay_s * SAMPLE_RATE))) / SAMPLE_RATE
        body = hammer * rng.normal(size=len(t)) * np.exp(-t / 0.002)
        for mode, level, off in zip(voice.modes, levels, detune, strict=True):
            if hz * mode < HIGHEST_HZ:
                body += level * np.exp(-6.9 * t * mode**0.6 / decay_s) * np.sin(2 * np.pi * hz * mode * off * t)
        mixed += scipy.signal.fftconvolve(row, body)[:length]
    return mixed


def wander(rng: Rng, length: int, depth: float) -> Samples:
    """Return a factor near 1 (S,) that drifts slowly: temperature, a battery that sags."""
    points = np.cumsum(rng.normal(size=8))
    return 1 + depth * np.interp(np.linspace(0, 7, length), np.arange(8), points - points[0])


def vibrato(rng: Rng, voice: Tone, length: int) -> Samples:
    """Return the vibrato as a factor of the frequency (S,)."""
    rate, depth = rng.uniform(*voice.vibrato_hz), rng.uniform(*voice.vibrato)
    return np.asarray(1 + depth * np.sin(2 * np.pi * rate * np.arange(length) / SAMPLE_RATE + rng.uniform(0, 6)))


def pass_by(rng: Rng, length: int) -> tuple[Samples, Samples]:
    """Return the Doppler factor and the gain (S,) of a source that drives past in a straight line, or stands."""
    speed, nearest = rng.choice([0.0, 1.0]) * rng.uniform(3, 25), rng.uniform(5, 60)
    along = speed * (np.arange(length) / SAMPLE_RATE - rng.uniform(-3, 13))
    distance = np.hypot(nearest, along)
    return 343 / (343 + speed * along / distance), distance.min() / distance


def house(rng: Rng, sound: Samples, housing: Housing) -> Samples:
    """Overdrive the sounder at times, and filter it by its housing: a band with resonances."""
    if rng.random() < 0.4:
        sound = np.tanh(sound * rng.uniform(1, 6))
    low, high = (np.exp(rng.uniform(*np.log(corners))) for corners in housing)
    shaped = scipy.signal.sosfilt(scipy.signal.butter(2, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos"), sound)
    for _ in range(rng.integers(0, 5)):
        hz = np.exp(rng.uniform(np.log(low), np.log(high)))
        shaped += rng.uniform(-0.7, 3) * scipy.signal.lfilter(
            *scipy.signal.iirpeak(hz, rng.uniform(2, 12), SAMPLE_RATE), shaped
        )
    return np.asarray(shaped)


def carry(rng: Rng, sound: Samples, outdoors: bool) -> Samples:
    """Carry the sound to the microphone: losses of treble on the way, early reflections, and a decaying tail."""
    if rng.random() < 0.6:
        corner = np.exp(rng.uniform(np.log(1200), np.log(14000)))
        sound = scipy.signal.lfilter(*scipy.signal.butter(1, corner, fs=SAMPLE_RATE), sound)
    decay_s = rng.uniform(0.1, 2.5 if outdoors else 1.0)
    tail_db = rng.uniform(-35, -8) if outdoors else rng.uniform(-30, 4)
    t = np.arange(round(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    bright, dull = rng.normal(size=(2, len(t)))
    dull = scipy.signal.lfilter(*scipy.signal.butter(1, rng.uniform(500, 4000), fs=SAMPLE_RATE), dull)
    tail = bright * np.exp(-6.9 * t / (rng.uniform(0.3, 0.9) * decay_s)) + 2 * dull * np.exp(-6.9 * t / decay_s)
    tail *= np.sqrt(10 ** (tail_db / 10) / np.square(tail).sum())
    for _ in range(rng.integers(0, 9)):
        late_s = rng.uniform(0.001, 0.03) * (6 if outdoors else 1)
        tail[min(round(late_s * SAMPLE_RATE), len(t) - 1)] += rng.uniform(-0.5, 0.5)
    tail[0] += 1
    return np.asarray(scipy.signal.fftconvolve(sound, tail)[: len(sound)])


def noise(rng: Rng, length: int, outdoors: bool) -> Samples:
    """Return the noise of a place (S,), with a deviation of 1: coloured, unsteady, at times with a hum or an engine."""
    hz = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 30)
    colour_db = -3.01 * rng.uniform(0, 2.2) * np.log2(hz / 30) + np.interp(
        np.log(hz), np.linspace(3.4, 9.7, 8), rng.normal(0, 4, 8)
    )
    found = np.fft.irfft(np.fft.rfft(rng.normal(size=length)) * 10 ** (colour_db / 20), length)
    found *= np.exp(rng.uniform(0, 0.15) * (wander(rng, length, 1.0) - 1))
    found /= found.std()
    if rng.random() < (0.6 if outdoors else 0.2):
        turns = (
            rng.uniform(20, 120) * wander(rng, length, 0.05)
            if outdoors
            else np.full(length, rng.choice([50.0, 60, 100]))
        )
        drone = add_partials(turns.clip(15), pulse_partials(rng.uniform(0.05, 0.5), rng.uniform(0, 6)))
        found += rng.uniform(0.1, 2 if outdoors else 1) * drone / drone.std()
    return np.asarray(found / found.std())


def capture(rng: Rng, sound: Samples) -> Samples:
    """Record with a microphone: overdriven at times, as loud alarms do, and at times with the band of an old device."""
    if rng.random() < 0.15:
        loudest = np.abs(sound).max()
        sound = sound.clip(-loudest * rng.uniform(0.2, 1), loudest * rng.uniform(0.2, 1))
    if rng.random() < 0.35:
        corner = np.exp(rng.uniform(np.log(3400), np.log(9000)))
        sound = scipy.signal.sosfilt(scipy.signal.butter(8, corner, fs=SAMPLE_RATE, output="sos"), sound)
    return np.asarray(sound)
