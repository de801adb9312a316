"""Synthetic alarms: their figures are those of the standards, measured from what is rendered."""

from collections import defaultdict
from itertools import chain

import numpy as np
import pytest
import scipy.signal

from htsat_edge.configs import CONFIGS
from htsat_edge.htsat.alarm_rendering import SAMPLE_RATE, render
from htsat_edge.htsat.alarms import ALARMS, BANDS, OTHERS, PAUSE_S, Variant, choose, compose, main, perform
from htsat_edge.htsat.corpus import read_corpora
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.dsp.audio import AudioFile

PATTERNS = {pattern.name: pattern for pattern in chain(*ALARMS, OTHERS)}
CLASSES = ["Smoke detector, smoke alarm", "Siren", "Alarm clock", "Telephone", "Doorbell", "Reversing beeps"]


def dry(name, seed):
    """A signal as its sounder radiates it, and its notes."""
    rng = np.random.default_rng(seed)
    variant = Variant(PATTERNS[name], seed % BANDS, seed // 2 % BANDS)
    notes, length = compose(rng, variant)
    return render(rng, notes, variant.pattern.voice, length), notes


def pulses(sound):
    """Onsets and offsets in seconds where the envelope is above half, but of the first and the last pulse."""
    envelope = np.sqrt(scipy.signal.fftconvolve(np.square(sound), np.full(64, 1 / 64), "same").clip(0))
    edges = np.flatnonzero(np.diff(envelope > envelope.max() / 2))
    return edges.reshape(-1, 2)[1:-1] / SAMPLE_RATE


def partials(sound, count):
    """The frequencies of the strongest tones, in ascending order."""
    amplitudes = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 17))
    peaks, _ = scipy.signal.find_peaks(amplitudes, distance=250)
    return np.sort(peaks[np.argsort(-amplitudes[peaks])[:count]]) * SAMPLE_RATE / (1 << 17)


@pytest.mark.parametrize(
    ("name", "count", "on_s", "pause_s", "hz"),
    [
        ("t3-piezo", 3, 0.5, 1.5, (2850, 3500)),
        ("t3-520", 3, 0.5, 1.5, (468, 572)),
        ("t4-piezo", 4, 0.1, 5.0, (2850, 3500)),
        ("t4-520", 4, 0.1, 5.0, (468, 572)),
    ],
)
def test_pulses_of_detectors_are_those_of_the_standards(name, count, on_s, pause_s, hz):
    between = []
    for seed in range(8):
        sound, _ = dry(name, seed)
        found = pulses(sound)
        assert np.diff(found).ravel() == pytest.approx(on_s, rel=0.1, abs=0.012)
        between.append(found[1:, 0] - found[:-1, 1])
        long = np.flatnonzero(between[-1] > 1.2 * on_s)
        assert np.all(np.diff(long) == count)
        (loudest,) = partials(sound, 1)
        assert 0.98 * hz[0] < loudest < 1.02 * hz[1]
    gaps = np.concatenate(between)
    short = gaps < 1.2 * on_s
    assert gaps[short] == pytest.approx(on_s, rel=0.1, abs=0.012)  # as long as the pulses
    assert gaps[~short] == pytest.approx(pause_s, rel=0.1)
    assert 0 < short.sum() < len(short)


def test_dialled_keys_have_one_tone_of_each_group():
    rows, columns = [697, 770, 852, 941], [1209, 1336, 1477]
    heard = set()
    for seed in range(4):
        sound, notes = dry("dtmf", seed)
        for note in notes:
            assert note.offset_s - note.onset_s >= 0.04
            part = sound[round(note.onset_s * SAMPLE_RATE) : round(note.offset_s * SAMPLE_RATE)]
            low, high = partials(part, 2)
            row, column = (min(group, key=lambda hz: abs(hz - tone)) for group, tone in ((rows, low), (columns, high)))
            assert (low, high) == (pytest.approx(row, rel=0.02, abs=4), pytest.approx(column, rel=0.02, abs=4))
            heard.add((row, column))
    assert len(heard) > 6


@pytest.mark.parametrize(("name", "least", "most"), [("wail", 10, 30), ("yelp", 150, 250)])
def test_sirens_rise_and_fall_as_often_as_the_regulation_says(name, least, most):
    for seed in range(5):
        _, notes = dry(name, seed)
        tops = [note.onset_s for note in notes[1:-1] if note.glide < 1]
        assert np.all(60 / np.diff(tops) > least)
        assert np.all(60 / np.diff(tops) < most)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_recording_sounds_where_its_spans_say(name):
    rng = np.random.default_rng(3)
    take = perform(rng, Variant(PATTERNS[name], 1, 3))
    assert np.all(np.isfinite(take.samples))
    assert 0.04 < np.abs(take.samples).max() < 1
    assert 0.3 < len(take.samples) / SAMPLE_RATE <= 10
    edges = np.ravel(take.spans_s)
    assert np.all(np.diff(edges) > 0)
    assert np.all(edges[2::2] - edges[1:-1:2] > PAUSE_S)
    assert edges[0] > 0
    assert edges[-1] <= len(take.samples) / SAMPLE_RATE
    power = np.square(take.samples)
    inside = np.concatenate([power[round(on * SAMPLE_RATE) : round(off * SAMPLE_RATE)] for on, off in take.spans_s])
    before = power[: round(edges[0] * SAMPLE_RATE)]
    assert inside.mean() > 2 * before.mean()


def test_a_third_is_no_alarm_and_a_fifth_of_the_groups_is_held_back():
    variants = [choose(np.random.default_rng((5, number)), number) for number in range(3600)]
    labels = [variant.pattern.label for variant in variants]
    assert {label: labels.count(label) for label in CLASSES} == dict.fromkeys(CLASSES, 400)
    splits = defaultdict(set)
    for variant in variants:
        splits[variant.group].add(variant.held)
    assert all(len(own) == 1 for own in splits.values())
    known = [variant for variant in variants if not variant.pattern.held]
    assert np.mean([variant.held for variant in known]) == pytest.approx(0.2, abs=0.03)
    for bands in ("pitch_band", "pace_band"):  # what is new in held recordings is the pair
        for held in (False, True):
            assert {getattr(variant, bands) for variant in known if variant.held is held} == set(range(BANDS))


def test_classes_are_those_of_audioset():
    names = {row["label"] for row in read_csv(CONFIGS / "labels" / "audioset.csv", ["label"])}
    assert {pattern.label for pattern in PATTERNS.values()} <= names
    assert list(dict.fromkeys(pattern.label for pattern in chain(*ALARMS))) == CLASSES
    assert not {pattern.label for pattern in OTHERS} & set(CLASSES)


def test_any_number_of_processes_writes_the_same_corpus(tmp_path, capsys):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, processes in zip(folders, ("1", "2"), strict=True):
        assert main(["--out", str(folder), "--count", "18", "--seed", "4", "--processes", processes]) == 0
    assert f"18 recordings in {folders[0] / 'manifest.csv'}" in capsys.readouterr().out
    one, two = ({path.relative_to(f): path.read_bytes() for path in f.rglob("*.*")} for f in folders)
    assert one == two
    recordings = read_corpora([folders[0]])
    assert len({recording.path for recording in recordings}) == len(one) - 1 == 18
    for recording in recordings:
        file = AudioFile(recording.path)
        assert file.sample_rate == SAMPLE_RATE
        assert recording.offset_s <= file.samples / SAMPLE_RATE + 0.01
