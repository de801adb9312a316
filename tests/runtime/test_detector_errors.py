"""Misuse of the detector is a ValueError that says what is wrong; nothing hangs, and nothing is computed from it."""

import numpy as np
import pytest

from htsat_edge import Detector, HtsatEdgeError, Settings

SECOND = np.zeros(32_000, np.float32)


@pytest.fixture
def detector():
    made = Detector.from_bundle(sample_rate=32_000)
    yield made
    made.close()


@pytest.mark.parametrize("rate", [0, -1, float("nan"), 44_100.5, "48000", None])
def test_a_sample_rate_is_a_whole_number_of_hz(rate):
    with pytest.raises(ValueError, match="want a sample rate in Hz, a whole number from 1 on, not "):
        Detector.from_bundle(sample_rate=rate)


def test_a_recording_that_is_over_takes_no_more(detector):
    detector.push(SECOND)
    detector.flush()
    for call in (lambda: detector.push(SECOND), detector.flush):
        with pytest.raises(ValueError, match="the recording is over: reset begins another"):
            call()
    detector.reset()
    detector.push(SECOND)
    assert detector.duration_s == 1


def test_a_detector_is_closed_once(detector):
    detector.push(SECOND)
    detector.close()
    detector.close()
    for call in (lambda: detector.push(SECOND), detector.flush):
        with pytest.raises(ValueError, match="the detector is closed"):
            call()


def test_a_list_of_floats_is_taken(detector):
    assert detector.push([0.0] * 320) == []
    assert detector.duration_s == 0.01


def test_labels_are_a_tuple(detector):
    with pytest.raises(HtsatEdgeError, match=r"labels: want a tuple such as \('Dog',\), not a text"):
        Detector.from_bundle(sample_rate=32_000, settings=Settings(labels="Dog"))
