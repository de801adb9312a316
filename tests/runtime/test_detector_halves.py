"""The halves of a detector, samples to windows and scores to events, which together are the whole."""

import itertools
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, EventStream, WindowStream
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings

BEGAN = datetime(2026, 5, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def backend(bundle):
    return open_backend(bundle)


def encoded(events):
    return "\n".join(event.encoded for event in events)


def score(backend, windows):
    return [backend.infer(window.log_mel[None]).framewise[0] for window in windows]


@pytest.mark.parametrize("seconds", [3.0, 10.24, 27.0])
@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_the_halves_compose_to_the_detector(rate, seconds, bundle, backend, farmyard):
    """To the byte, also of what an observer sees, and of a recording that is shorter than a window."""
    samples, _ = soundfile.read(farmyard, dtype="float32")
    samples, settings = samples[: round(seconds * rate)], Settings(threshold=0.4)
    seen, seen_by_halves = Trace(), Trace()
    detector = Detector(bundle.info, backend, rate, settings, seen, "yard")
    wanted = encoded([e for i in range(0, len(samples), 4800) for e in detector.push(samples[i : i + 4800])])
    wanted = "\n".join(filter(None, [wanted, encoded(detector.flush())]))
    windows = WindowStream(bundle.info, rate, settings, seen_by_halves)
    stream = EventStream(bundle.info, settings, seen_by_halves, source="yard")
    events = []
    for i in range(0, len(samples), 4800):
        for window in windows.push(samples[i : i + 4800]):
            events += stream.push(window, *score(backend, [window]))
    for window in windows.flush():
        events += stream.push(window, *score(backend, [window]))
    assert encoded(events + stream.flush()) == wanted
    assert len(events) >= 5
    assert len(seen.score.rows()) >= len(samples) / rate // 0.32
    assert len(seen.spectrogram.rows()) > 0
    np.testing.assert_array_equal(seen_by_halves.score.rows(), seen.score.rows())
    np.testing.assert_array_equal(seen_by_halves.spectrogram.rows(), seen.spectrogram.rows())


def test_scores_may_come_late(bundle, backend, farmyard):
    """All windows first, then all scores: whoever scores several sources at once lags behind."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    settings = Settings(threshold=0.4, hop_s=1.28)
    windows, stream = WindowStream(bundle.info, rate, settings), EventStream(bundle.info, settings)
    pushed = windows.push(samples) + windows.flush()
    events = [
        event
        for window, framewise in zip(pushed, score(backend, pushed), strict=True)
        for event in stream.push(window, framewise)
    ]
    detector = Detector(bundle.info, backend, rate, settings)
    wanted = encoded(detector.push(samples) + detector.flush())
    assert encoded(events + stream.flush()) == wanted


def test_an_event_stream_may_begin_within_a_source(bundle, backend, farmyard):
    """After a gap positions, numbers and times go on."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    settings = Settings(threshold=0.4, hop_s=1.28)
    detector = Detector(bundle.info, backend, rate, settings)
    windows = WindowStream(bundle.info, rate, settings)
    stream = EventStream(
        bundle.info,
        settings,
        ids=itertools.count(41),
        origin_s=100.5,
        time_of=lambda position_s: BEGAN + timedelta(seconds=position_s),
    )
    found = []
    for window in windows.push(samples) + windows.flush():
        found += stream.push(window, *score(backend, [window]))
    found += stream.flush()
    wanted = detector.push(samples) + detector.flush()
    assert len(found) > 10
    for event, one in zip(found, wanted, strict=True):
        assert event.id == 40 + one.id
        assert event.onset == pytest.approx(100.5 + one.onset, abs=1e-9)
        assert event.offset == (None if one.offset is None else pytest.approx(100.5 + one.offset, abs=1e-9))
        assert event.time == (BEGAN + timedelta(seconds=event.onset)).isoformat(timespec="milliseconds")
        assert (event.type, event.label, event.score) == (one.type, one.label, one.score)


@pytest.mark.parametrize("chunk", [777, 32_000, 10**9])
def test_windows_are_the_same_for_any_chunking(chunk, bundle, farmyard):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    stream = WindowStream(bundle.info, rate)
    wanted = stream.push(samples) + stream.flush()
    assert stream.duration_s == len(samples) / rate
    stream.reset()
    assert stream.duration_s == 0
    found = [w for i in range(0, len(samples), chunk) for w in stream.push(samples[i : i + chunk])] + stream.flush()
    assert [window.step for window in found] == [window.step for window in wanted]
    assert [window.step + 30 for window in found] == [end + k for k in range(0, 84, 2) for end in (0.75, 2)] + [85]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.log_mel, other.log_mel)


@pytest.mark.parametrize("settings", [Settings(hop_s=0.01), Settings(labels=("absent",))])
def test_impossible_settings_are_refused_by_both(settings, bundle):
    for make in (lambda: WindowStream(bundle.info, 32_000, settings), lambda: EventStream(bundle.info, settings)):
        with pytest.raises(HtsatEdgeError, match=r"want between|is no class of this model"):
            make()
