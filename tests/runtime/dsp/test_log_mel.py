from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.log_mel import (
    FrontEnd,
    LogMel,
    LogMelStream,
    TooShortError,
    band_to_hz,
    hann,
    hz_to_band,
    hz_to_mel,
    mel_edges_hz,
    mel_filters,
    mel_to_hz,
)

DATA = Path(__file__).parents[2] / "data"
CASES = ["clip10", "clip5", "clip1", "clip12p5", "clip10_quiet"]


@pytest.mark.parametrize(("name", "sample_rate"), [("32k", 32_000), ("16k_scv2", 16_000), ("48k_clap", 48_000)])
def test_mel_filters_are_the_references(name, sample_rate):
    golden = np.load(DATA / "goldens" / "mel_filters.npz")[name]
    np.testing.assert_allclose(mel_filters(FrontEnd(sample_rate=sample_rate)).T, golden, atol=1e-8)


def test_filters_that_were_made_for_another_rate():
    """Microsoft's CLAP hears 44.1 kHz with the filters of 32 kHz: the same matrix, whose bins are other frequencies."""
    front_end = FrontEnd(sample_rate=44_100, mel_sample_rate=32_000)
    np.testing.assert_allclose(mel_filters(front_end), mel_filters(FrontEnd(sample_rate=32_000)), atol=1e-7)
    np.testing.assert_allclose(mel_edges_hz(front_end)[[0, -1]], [50 * 44.1 / 32, 14_000 * 44.1 / 32])
    seconds = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * mel_edges_hz(front_end)[41] * seconds).astype(np.float32)
    assert LogMel(front_end)(tone)[20].argmax() == 40


@pytest.mark.parametrize(
    ("front_end", "lowest_hz", "highest_hz"),
    [
        (FrontEnd(), 50, 14_000),
        (FrontEnd(sample_rate=44_100, mel_sample_rate=32_000), 68.90625, 19_293.75),
        (FrontEnd(sample_rate=16_000, hop=160), 50, 8000),  # Speech Commands: the upper bands are empty
    ],
)
def test_the_ends_of_the_bands(front_end, lowest_hz, highest_hz):
    assert (front_end.lowest_hz, front_end.highest_hz) == pytest.approx((lowest_hz, highest_hz))
    assert hz_to_band(front_end, lowest_hz) == pytest.approx(0)
    assert band_to_hz(front_end, 64) == pytest.approx(14_000 * front_end.mel_stretch)


@given(st.floats(0, 64), st.sampled_from([None, 16_000, 32_000, 48_000]))
def test_bands_there_and_back(band, mel_sample_rate):
    front_end = FrontEnd(sample_rate=44_100, mel_sample_rate=mel_sample_rate)
    hz = band_to_hz(front_end, band)
    assert hz_to_band(front_end, hz) == pytest.approx(band, abs=1e-9)
    edges = mel_edges_hz(front_end)  # 66 of them lie evenly where the 64 bands do
    assert np.interp(band * 65 / 64, [*range(66)], hz_to_mel(edges / front_end.mel_stretch)) == pytest.approx(
        float(hz_to_mel(hz / front_end.mel_stretch))
    )


def test_window_is_periodic():
    np.testing.assert_array_equal(hann(1024), np.load(DATA / "goldens" / "mel_filters.npz")["hann1024_periodic"])


@pytest.mark.parametrize("case", CASES)
def test_log_mel_is_the_references(case, waveforms, goldens):
    log_mel = LogMel(FrontEnd())(waveforms[case])
    assert log_mel.dtype == np.float32
    np.testing.assert_allclose(log_mel, goldens[f"{case}/log_mel"], atol=2e-3)


def test_log_mel_by_its_definition():
    """A slow twin: one frame as a sum over sines, in float64."""
    front_end = FrontEnd(sample_rate=8000, n_fft=64, hop=16, n_mels=6, fmin=100, fmax=3500)
    x = np.random.default_rng(0).normal(0, 0.1, 200).astype(np.float32)
    k = 5
    around = np.array([x[abs(i)] for i in range(k * 16 - 32, k * 16 + 32)], np.float64)
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 64) for n in range(64)]
    power = [
        abs(sum(around[n] * window[n] * np.exp(-2j * np.pi * n * b / 64) for n in range(64))) ** 2 for b in range(33)
    ]
    wanted = 10 * np.log10(np.array(power) @ mel_filters(front_end))
    np.testing.assert_allclose(LogMel(front_end)(x)[k], wanted, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=20), st.sampled_from([(320, 1024), (511, 1024), (16, 64)]))
def test_stream_is_one_shot_whatever_the_chunks(sizes, hop_and_length):
    front_end = FrontEnd(hop=hop_and_length[0], n_fft=hop_and_length[1])
    x = np.random.default_rng(len(sizes)).normal(0, 0.1, max(sum(sizes), 600)).astype(np.float32)
    stream, whole = LogMelStream(front_end), LogMelStream(front_end)
    chunks = np.split(x, np.cumsum(sizes))
    streamed = np.concatenate([*[stream.push(chunk) for chunk in chunks], stream.flush()])
    at_once = np.concatenate([whole.push(x), whole.flush()])
    np.testing.assert_array_equal(streamed, at_once)
    np.testing.assert_allclose(streamed, LogMel(front_end)(x), atol=1e-3)


@pytest.mark.parametrize("samples", range(8 * 511 - 3, 8 * 511 + 4))
def test_the_longest_hop_at_the_seam_of_a_block(samples):
    front_end = FrontEnd(hop=511)
    x = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    stream = LogMelStream(front_end)
    np.testing.assert_allclose(np.concatenate([stream.push(x), stream.flush()]), LogMel(front_end)(x), atol=1e-3)


def test_stream_gives_whole_blocks_and_can_begin_again():
    stream = LogMelStream(FrontEnd())
    x = np.random.default_rng(1).normal(0, 0.1, 100_000).astype(np.float32)
    frames = stream.push(x)
    assert len(frames) == 304
    first = np.concatenate([frames, stream.flush()])
    assert len(first) == 100_000 // 320 + 1
    np.testing.assert_array_equal(np.concatenate([stream.push(x), stream.flush()]), first)


def test_too_few_samples_say_so():
    stream = LogMelStream(FrontEnd())
    stream.push(np.zeros(512, np.float32))
    with pytest.raises(TooShortError, match=r"^512 samples are too few, want at least 513$"):
        stream.flush()


@pytest.mark.parametrize("x", [np.zeros(32_000), np.ones(32_000), np.tile([1.0, -1.0], 16_000)])
def test_silence_and_full_scale_are_finite(x):
    log_mel = LogMel(FrontEnd())(x.astype(np.float32))
    assert np.isfinite(log_mel).all()
    assert log_mel.min() >= -100.001  # the floor, to float rounding


def test_mel_scale_and_back():
    hz = np.array([0, 50, 999, 1000, 1001, 14_000])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz)


def test_a_block_is_given_with_its_last_sample():
    """8 frames: 7 hops and half a transform after the first sample."""
    stream, enough = LogMelStream(FrontEnd()), 7 * 320 + 512
    assert stream.push(np.zeros(enough - 1, np.float32)).shape == (0, 64)
    assert stream.push(np.zeros(1, np.float32)).shape == (8, 64)


def test_the_shortest_recording_has_its_frames():
    stream = LogMelStream(FrontEnd())
    assert stream.push(np.zeros(513, np.float32)).shape == (0, 64)
    assert stream.flush().shape == (2, 64)


def test_the_time_from_frame_to_frame():
    assert FrontEnd().frame_s == 0.01
    assert FrontEnd(sample_rate=8000, hop=100).frame_s == 0.0125


@pytest.mark.parametrize(
    "just_right",
    [
        {"sample_rate": 1},
        {"sample_rate": 1_000_000},
        {"n_fft": 65_536},
        {"n_fft": 4, "hop": 1},
        {"n_mels": 1},
        {"n_mels": 1024},
        {"fmin": 0},
        {"fmin": 0, "fmax": 0.5},
        {"hop": 511},
    ],
)
def test_the_limits_of_a_front_end(just_right):
    assert FrontEnd(**just_right).model_dump().items() >= just_right.items()


@pytest.mark.parametrize(
    "wrong",
    [
        {"fmin": 9000, "fmax": 8000},
        {"fmin": 8000, "fmax": 8000},
        {"fmin": -1},
        {"hop": 512},
        {"hop": 32, "n_fft": 65},
        {"hop": 0},
        {"sample_rate": 0},
        {"sample_rate": 1_000_001},
        {"n_mels": 0},
        {"n_mels": 1025},
        {"n_fft": 65_537},
    ],
)
def test_impossible_front_ends_are_refused(wrong):
    with pytest.raises(ValueError, match=r"fmin|hop|sample_rate|n_mels|n_fft"):
        FrontEnd(**wrong)
