import json
import tracemalloc
from datetime import datetime, timezone

import numpy as np
import pytest
import soundfile
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, Settings
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.backends import Scores, open_backend
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import read_bundle


class Loud:
    """Stands for a model: every class scores where a step is loud, on the mean or in a single frame."""

    def __init__(self, info, loudest=False):
        self._info = info
        self._level = np.max if loudest else np.mean

    def infer(self, log_mel):
        steps = np.array_split(log_mel[0], self._info.steps)
        level = np.array([[self._level(step) for step in steps]])
        framewise = np.repeat((level > -40).astype(np.float32)[:, :, None], len(self._info.labels), axis=2)
        return Scores(framewise, framewise.mean(axis=1), np.zeros((len(log_mel), 1), np.float32))

    def close(self):
        pass


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return read_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def backend(bundle):
    return open_backend(bundle)


def burst(onset_s, offset_s, duration_s, rate=32_000):
    x = np.zeros(round(duration_s * rate), np.float32)
    span = slice(round(onset_s * rate), round(offset_s * rate))
    x[span] = np.random.default_rng(0).normal(0, 0.3, len(x[span]))
    return x


def lines(detector, samples, chunk):
    events = [event for i in range(0, len(samples), chunk) for event in detector.push(samples[i : i + chunk])]
    return "\n".join(json.dumps(event.line("x", None)) for event in events + detector.close())


@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_any_chunking_gives_the_same_json_to_the_byte(rate, bundle, backend, farmyard):
    samples, _ = soundfile.read(farmyard, dtype="float32")
    samples = samples[: 14 * rate]
    settings = Settings(threshold=0.4)  # random weights: this makes some hundred events
    found = {
        chunk: lines(Detector(bundle.info, backend, rate, settings), samples, chunk) for chunk in (160, 4800, 1_000_000)
    }
    found |= {chunk: lines(Detector(bundle.info, backend, rate, settings), samples, chunk) for chunk in (1, 7)}
    assert len(found[160].splitlines()) > 10
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("duration_s", [11.0, 25.3, 40.0])
def test_a_burst_is_found_where_it_is(duration_s, bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 32_000, Settings(merge_gap_s=0))
    events = detector.push(burst(8.0, 10.0, duration_s)) + detector.close()
    assert {event.label for event in events} == set(bundle.info.labels)
    for event in events:
        assert event.onset == pytest.approx(8.0, abs=0.32)
        if event.type == "end":
            assert event.offset == pytest.approx(10.0, abs=0.32)


@pytest.mark.parametrize(
    ("frames", "settings"),
    [
        (1024, Settings()),
        (1024, Settings(hop_s=0.32, look_ahead_s=0)),
        (1024, Settings(hop_s=1.6, min_length_s=1)),
        (1001, Settings()),
        (1001, Settings(hop_s=0.3125)),
    ],
)
@pytest.mark.parametrize("onset_s", [20.0, 20.02, 20.3, 20.9, 21.27])
def test_the_start_comes_within_the_stated_latency(frames, settings, onset_s, bundle):
    info = bundle.info.model_copy(update={"frames": frames, "step_s": 0.32 if frames == 1024 else 0.3125})
    detector = Detector(info, Loud(info, loudest=True), 32_000, settings)
    samples, block = burst(onset_s, onset_s + 5, onset_s + 10), 320
    heard_s = next((i + block) / 32_000 for i in range(0, len(samples), block) if detector.push(samples[i : i + block]))
    assert onset_s < heard_s <= onset_s + detector.latency_s + block / 32_000


def test_the_stated_latency_by_default(bundle):
    """Hop and look-ahead, a block of frames and half a window."""
    assert Detector(bundle.info, Loud(bundle.info), 32_000).latency_s == pytest.approx(1.28 + 2.56 + 0.08 + 0.016)


def test_an_event_that_goes_on_ends_with_the_recording(bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 32_000)
    events = detector.push(burst(9.0, 12.1, 12.1)) + detector.close()
    assert {event.offset for event in events if event.type == "end"} == {12.1}


@pytest.mark.parametrize("duration_s", [0.1, 0.5, 1.0, 5.0, 10.0, 10.23, 10.24, 10.25, 12.8])
def test_short_recordings_have_events_within_them(duration_s, bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 32_000)
    events = detector.push(burst(0, duration_s, duration_s)) + detector.close()
    assert {event.type for event in events} == {"start", "end"}
    for event in events:
        assert event.onset == 0
        assert event.offset is None or event.offset == pytest.approx(duration_s)


def graph_of(network, frames, info, folder):
    import onnx
    from htsat_edge.export.graph import build

    onnx.save(build(network, frames), folder / "fp32.onnx")
    return OrtBackend(folder / "fp32.onnx", info)


@pytest.mark.parametrize(("frames", "atol"), [(1024, 2e-5), (1001, 1e-2)])
def test_a_short_recording_is_what_the_reference_makes_of_it(
    frames, atol, tiny_network, bundle, waveforms, goldens, tmp_path
):
    """5 s are tiled: a step's score is the mean of the reference's two, one in each tile.

    At 1001 frames the tiles are stretched twice, to 1001 and to 1024, which is not quite the same as once.
    """
    info = bundle.info.model_copy(update={"frames": frames, "step_s": 0.32 if frames == 1024 else 0.3125})
    trace = Trace()
    detector = Detector(info, graph_of(tiny_network, frames, info, tmp_path), 32_000, watcher=trace)
    detector.push(waveforms["clip5"])
    detector.close()
    golden = goldens["clip5_infer/framewise"]
    np.testing.assert_allclose(trace.score.rows(), (golden[:16] + golden[16:]) / 2, atol=atol)


def test_ten_seconds_at_1001_frames_are_the_reference(tiny_network, goldens, waveforms, bundle, tmp_path):
    info = bundle.info.model_copy(update={"frames": 1001, "step_s": 0.3125})
    trace = Trace()
    detector = Detector(info, graph_of(tiny_network, 1001, info, tmp_path), 32_000, watcher=trace)
    detector.push(waveforms["clip10"])
    detector.close()
    np.testing.assert_allclose(trace.score.rows(), goldens["clip10_default/framewise"], atol=1e-5)


def test_a_reset_gives_the_same_again(bundle, backend, farmyard):
    samples, _ = soundfile.read(farmyard, dtype="float32")
    detector = Detector(bundle.info, backend, 44_100, Settings(threshold=0.4))
    first = lines(detector, samples, 5000)
    detector.reset()
    assert lines(detector, samples, 5000) == first
    detector.reset()
    detector.push(samples[:300_000])  # a recording that broke off
    detector.reset()
    assert lines(detector, samples, 5000) == first


def test_memory_does_not_grow_with_the_recording(bundle):
    """Ten minutes and forty: what is kept is a clip or two, and the picture's fixed number of columns."""

    def peak(minutes):
        info, minute = bundle.info, np.random.default_rng(0).normal(0, 1e-4, 60 * 32_000).astype(np.float32)
        tracemalloc.start()
        detector = Detector(info, Loud(info), 32_000, watcher=Trace())
        for _ in range(minutes):
            for second in np.split(minute, 60):
                detector.push(second)
        detector.close()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(40) < peak(10) + 1_000_000


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_silence_and_full_scale_give_finite_scores(level, bundle, backend):
    trace = Trace()
    detector = Detector(bundle.info, backend, 32_000, watcher=trace)
    detector.push(np.full(400_000, level, np.float32))
    detector.close()
    assert np.isfinite(trace.score.rows()).all()


def test_too_short_to_hear(bundle, backend):
    detector = Detector(bundle.info, backend, 32_000)
    detector.push(np.zeros(100, np.float32))
    with pytest.raises(HtsatEdgeError, match=r"3\.1 ms are too short"):
        detector.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(hop_s=0.1), "hop of 0.1 s: want between 0.32 and 10.24 s"),
        (Settings(hop_s=11), "hop of 11 s"),
        (Settings(look_ahead_s=10.24), "look-ahead of 10.24 s is not shorter than a clip"),
    ],
)
def test_impossible_settings_are_refused(settings, message, bundle, backend):
    with pytest.raises(HtsatEdgeError, match=message):
        Detector(bundle.info, backend, 32_000, settings)


def test_an_event_knows_the_time_when_the_start_is_known(bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 32_000)
    event = (detector.push(burst(8.0, 10.0, 14.0)) + detector.close())[0]
    began = datetime(2026, 5, 1, 21, 30, tzinfo=timezone.utc)
    assert event.line("yard", began) == {
        "type": "start",
        "source": "yard",
        "label": "class 0",
        "onset": 8.0,
        "time": "2026-05-01T21:30:08+00:00",
        "score": 1.0,
    }
    assert event.line("yard", None)["time"] is None


@pytest.mark.parametrize(
    "samples",
    [np.zeros(10, np.int16), np.zeros((10, 2), np.float32), np.full(10, np.nan, np.float32), np.array([np.inf])],
)
def test_what_is_no_sound_is_refused(samples, bundle, backend):
    with pytest.raises(ValueError, match=r"want floats in|must be finite"):
        Detector(bundle.info, backend, 44_100).push(samples)


def test_double_precision_is_taken(bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 44_100)
    events = detector.push(burst(8.0, 10.0, 14.0, 44_100).astype(np.float64)) + detector.close()
    assert events[0].onset == pytest.approx(8.0, abs=0.32)
