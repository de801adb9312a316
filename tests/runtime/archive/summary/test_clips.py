"""Clips for the page of a scan."""

import base64
import io
import sys

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.archive.journal import KeptEvent
from htsat_edge.runtime.archive.summary.clips import cut, why_not_drawn
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd, hz_to_band

RATE = 48_000


def tone(hz, seconds, level=0.3):
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def recording(tmp_path):
    """30 s of two channels, all but silent, with 1 kHz on the first and 4 kHz on the second from 20 to 21 s."""
    samples = np.random.default_rng(0).normal(0, 1e-4, (30 * RATE, 2))
    samples[20 * RATE : 21 * RATE] += np.stack([tone(1000, 1), tone(4000, 1)], axis=1)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    return tmp_path / "a.wav"


def decode(uri):
    """The content of a data URI."""
    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))


def loudest_hz(samples, rate):
    return np.fft.rfftfreq(len(samples), 1 / rate)[np.abs(np.fft.rfft(samples)).argmax()]


@pytest.mark.parametrize(("channel", "hz"), [(1, 1000), (2, 4000)])
def test_a_clip_is_the_event_with_a_second_around_it(recording, channel, hz):
    matplotlib_image = pytest.importorskip("matplotlib.image")
    clip = cut(recording, KeptEvent(channel, "Beep", 20, 21, 0.9), FrontEnd())
    assert (clip.begin_s, clip.end_s) == (19, 22)
    assert clip.gain_db == pytest.approx(20 * np.log10(0.7 / 0.3), abs=0.1)
    assert clip.sound.startswith("data:audio/mpeg;base64,")
    samples, rate = soundfile.read(decode(clip.sound))
    assert rate == 32_000
    assert len(samples) == pytest.approx(3 * rate, abs=3000)
    assert loudest_hz(samples, rate) == pytest.approx(hz, abs=2)
    inside = np.flatnonzero(np.abs(samples) > 0.35)
    assert (inside[0] / rate, inside[-1] / rate) == pytest.approx((1, 2), abs=0.1)
    pixels = matplotlib_image.imread(decode(clip.picture), format="png")[::-1, :, :3].sum(
        axis=2
    )  # the lowest band first
    assert pixels.shape == (64, 150)
    band, column = np.unravel_index(pixels.argmax(), pixels.shape)
    assert band == pytest.approx(hz_to_band(FrontEnd(), hz), abs=1.5)
    assert 50 <= column < 100


def test_the_mix_holds_all_channels(recording):
    samples, rate = soundfile.read(decode(cut(recording, KeptEvent(0, "Beep", 20, 21, 0.9), FrontEnd()).sound))
    spectrum = np.abs(np.fft.rfft(samples))
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    assert sorted(
        round(hz[i], -1) for i in (np.where(hz < 2500, spectrum, 0).argmax(), np.where(hz > 2500, spectrum, 0).argmax())
    ) == [1000, 4000]


def test_of_a_long_event_there_is_the_beginning(recording):
    clip = cut(recording, KeptEvent(1, "Beep", 0.5, 29, 0.9), FrontEnd(), draw=False)
    assert (clip.begin_s, clip.end_s, clip.picture) == (0, 8, "")
    assert clip.gain_db == pytest.approx(30)


def test_at_the_end_of_a_recording_the_clip_is_shorter(recording):
    clip = cut(recording, KeptEvent(1, "Beep", 29.5, 31, 0.9), FrontEnd(), draw=False)
    assert (clip.begin_s, clip.end_s) == (28.5, 30)


def test_a_rate_that_mp3_does_not_have_becomes_flac(recording):
    front_end = FrontEnd(sample_rate=20_000, n_fft=512, hop=200, fmax=8000)
    clip = cut(recording, KeptEvent(1, "Beep", 20, 21, 0.9), front_end, draw=False)
    assert clip.sound.startswith("data:audio/flac;")
    samples, rate = soundfile.read(decode(clip.sound))
    assert (len(samples), rate) == (60_000, 20_000)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_what_a_damaged_recording_still_has_is_shown(recording, name):
    samples, _ = soundfile.read(recording)
    damaged = recording.with_name(name)
    soundfile.write(damaged, samples, RATE)
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) * 205 // 300])  # breaks off at about 20.5 s
    clip = cut(damaged, KeptEvent(1, "Beep", 20, 20.2, 0.9), FrontEnd(), draw=False)
    assert 20.2 < clip.end_s < 21


def test_a_recording_that_cannot_be_sought_is_cut_as_exactly(recording):
    samples, _ = soundfile.read(recording)
    soundfile.write(recording.with_suffix(".mp3"), samples, RATE, format="MP3")
    clip = cut(recording.with_suffix(".mp3"), KeptEvent(1, "Beep", 20, 20.93, 0.9), FrontEnd(), draw=False)
    assert (clip.begin_s, clip.end_s) == pytest.approx((19, 21.93), abs=1e-4)
    samples, rate = soundfile.read(decode(clip.sound))
    assert np.flatnonzero(np.abs(samples) > 0.35)[[0, -1]] / rate == pytest.approx((1, 2), abs=0.1)


def test_a_recording_that_is_gone_or_shorter_is_refused(recording):
    event = KeptEvent(1, "Beep", 20, 21, 0.9)
    soundfile.write(recording, np.zeros((round(19.5 * RATE), 2)), RATE)
    with pytest.raises(HtsatEdgeError, match="has become shorter"):
        cut(recording, event, FrontEnd())
    recording.unlink()
    with pytest.raises(HtsatEdgeError, match="no such file"):
        cut(recording, event, FrontEnd())


def test_without_matplotlib_it_says_so(monkeypatch):
    pytest.importorskip("matplotlib.image")
    assert why_not_drawn() == ""
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    assert "needs matplotlib" in why_not_drawn()
