"""Which windows are chosen, and what is refused."""

import numpy as np
import pytest
import soundfile
import soxr

from htsat_edge.calibration.selection import MaterialWindow, draw, split, upper_end_hz
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel
from htsat_edge.runtime.models.bundle import load_bundle


@pytest.fixture(scope="module")
def info(tiny_bundle):
    return load_bundle(tiny_bundle).info


def write(path, samples, rate=32_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")


def noise(seconds, seed=0, rate=32_000):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def test_a_draw_is_the_same_for_the_same_seed_and_spreads_over_recordings(info, recordings):
    windows, log_mels = draw([recordings], info, 8, seed=3)
    again, same = draw([recordings], info, 8, seed=3)
    assert windows == again
    np.testing.assert_array_equal(log_mels, same)
    assert log_mels.shape == (8, 1024, 64)
    assert len({window.path for window in windows}) >= 7
    others, _ = draw([recordings], info, 8, seed=4)
    assert windows != others


def test_quiet_and_lively_windows_are_drawn_alike(info, tmp_path):
    """Nine parts of the material are a steady hiss, one part is knocking."""
    for i in range(45):
        write(tmp_path / f"hiss{i}.wav", noise(10.3, i))
    for i in range(5):
        knocks = noise(10.3, i) * (np.arange(round(10.3 * 32_000)) % 16_000 < 800)
        write(tmp_path / f"knocks{i}.wav", knocks + 1e-3 * noise(10.3, i + 100))
    windows, _ = draw([tmp_path], info, 10, seed=0)
    assert sum("knocks" in window.path.name for window in windows) == 1
    assert max(window.activity for window in windows) > 5 * min(window.activity for window in windows)


def test_no_folder_prevails(info, tmp_path):
    """A folder is often a class: the one with nine of ten recordings gives half of the windows, as long as it can."""
    for i in range(36):
        write(tmp_path / "speech" / f"{i}.wav", noise(10.3, i))
    for i in range(4):
        write(tmp_path / "dog" / f"{i}.wav", noise(10.3, 100 + i))
    windows, _ = draw([tmp_path], info, 8, seed=0)
    dogs = [window for window in windows if window.path.parent.name == "dog"]
    assert len(dogs) >= 3
    assert len({window.path for window in dogs}) == len(dogs)


def test_copies_and_silence_are_left_out(info, tmp_path):
    for i in range(8):
        write(tmp_path / f"{i}.wav", noise(10.3, i))
        write(tmp_path / "copies" / f"{i}.wav", noise(10.3, i))
    write(tmp_path / "silence.wav", np.zeros(400_000))
    windows, _ = draw([tmp_path], info, 100, seed=0)
    assert len(windows) == len({window.sha256 for window in windows}) == 16  # of each recording a window, and its end


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no recording in"),
        ({"x.wav": (noise(30), 32_000)}, "1 recordings hold 3 different windows of 10.24 s; want at least 8"),
        (
            {"x.wav": (np.zeros(32_000 * 120), 32_000)},
            "0 different windows of 10.24 s, and 12 silent ones; want at least 8",
        ),
        (
            {"muted.wav": (np.round(noise(120) * 10) / 32_768, 32_000)},
            "0 different windows of 10.24 s, and 12 silent ones; want at least 8",
        ),
        (
            {"x.wav": (noise(120, rate=8000), 8000)},
            "half of the windows hold nothing above 4.* kHz, but the model uses up to 14 kHz",
        ),
        (
            {f"{i}.wav": (noise(5, i, rate=8000) / 100, 8000) for i in range(9)},
            "half of the windows hold nothing above 4.0 kHz",
        ),
        (
            {f"{i}.wav": (soxr.resample(noise(12, i, rate=8000), 8000, 32_000), 32_000) for i in range(9)},
            "half of the windows hold nothing above 4.* kHz",
        ),
    ],
)
def test_what_cannot_be_calibrated_on(files, message, info, tmp_path):
    for name, (samples, rate) in files.items():
        write(tmp_path / name, samples, rate)
    with pytest.raises(HtsatEdgeError, match=message):
        draw([tmp_path], info, 16, seed=0)


def test_a_recording_that_is_missing_is_named(info, tmp_path):
    (tmp_path / "list.csv").write_text("file\ngone.wav\n")
    with pytest.raises(HtsatEdgeError, match=r"gone\.wav: no such file"):
        draw([tmp_path / "list.csv"], info, 16, seed=0)


def test_whole_recordings_are_held_back_where_there_are_some(tmp_path):
    windows = [MaterialWindow(tmp_path / str(i % 6), i, "", 0.0, 1.0) for i in range(12)]
    learned, held = split(windows)
    assert sorted(learned + held) == list(range(12))
    assert held == [3, 9]
    learned, held = split([MaterialWindow(tmp_path / "one", i, "", 0.0, 1.0) for i in range(12)])
    assert (len(learned), held) == (9, [3, 7, 11])


def test_a_damaged_recording_among_many_is_left_out_and_said(info, tmp_path, capsys):
    """It ended the calibration."""
    for i in range(12):
        write(tmp_path / f"{i:02}.wav", noise(10.3, i))
    (tmp_path / "03.wav").write_bytes(b"RIFF, but broken")
    windows, _ = draw([tmp_path], info, 8, seed=0)
    assert len(windows) == 8
    read, damaged = capsys.readouterr().out.splitlines()
    assert read == f"{tmp_path}: 12 recordings"
    assert damaged.startswith(f"left out: 1 of 12 recordings: not decodable, the first: {tmp_path}/03.wav: is no reco")
    (tmp_path / "04.wav").write_bytes(b"")
    with pytest.raises(HtsatEdgeError, match="2 of 12 recordings are not decodable, the first: "):
        draw([tmp_path], info, 8, seed=0)


@pytest.mark.parametrize(
    ("front_end", "highest_hz"),
    [
        (FrontEnd(), 14_000),
        (FrontEnd(sample_rate=44_100, mel_sample_rate=32_000), 19_293.75),
        (FrontEnd(sample_rate=16_000, hop=160), 8000),
    ],
)
def test_the_upper_end_of_noise_is_that_of_the_model(front_end, highest_hz):
    window = np.full((100, front_end.n_mels), -20, np.float32)
    assert upper_end_hz(window, front_end) == pytest.approx(highest_hz)


def test_the_upper_end_in_hz_of_the_recordings():
    """Microsoft's CLAP: a recording that ends at 4 kHz ends in the bands that were made for 2.9 kHz, or just above."""
    front_end = FrontEnd(sample_rate=44_100, mel_sample_rate=32_000)
    samples = np.random.default_rng(0).normal(0, 0.1, 44_100)
    spectrum = np.fft.rfft(samples)
    spectrum[4000:] = 0
    window = LogMel(front_end)(np.fft.irfft(spectrum).astype(np.float32))
    assert 4000 <= upper_end_hz(window, front_end) <= 4800
