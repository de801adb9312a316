import tracemalloc
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings


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
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def backend(bundle):
    return open_backend(bundle)


def burst(onset_s, offset_s, duration_s, rate=32_000):
    x = np.zeros(round(duration_s * rate), np.float32)
    span = slice(round(onset_s * rate), round(offset_s * rate))
    x[span] = np.random.default_rng(0).normal(0, 0.3, len(x[span]))
    return x


def encoded(events):
    return "\n".join(event.encoded for event in events)


def detect(detector, samples, chunk=10**9):
    """The events of a recording as JSON Lines."""
    events = [event for i in range(0, len(samples), chunk) for event in detector.push(samples[i : i + chunk])]
    return encoded(events + detector.flush())


@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_any_chunking_gives_the_same_json_to_the_byte(rate, bundle, backend, farmyard):
    samples, _ = soundfile.read(farmyard, dtype="float32")
    samples = samples[: 14 * rate]
    settings = Settings(threshold=0.4)  # random weights: this makes some hundred events
    found = {
        chunk: detect(Detector(bundle.info, backend, rate, settings), samples, chunk)
        for chunk in (160, 4800, 1_000_000)
    }
    assert len(found[160].splitlines()) > 10
    assert len(set(found.values())) == 1
    # Two seconds sample by sample, then seven at a time, then the rest.
    detector, events, second = Detector(bundle.info, backend, rate, settings), [], slice(2 * rate, 4 * rate)
    for part, chunk in ((samples[: second.start], 1), (samples[second], 7), (samples[second.stop :], 10**9)):
        events += [event for i in range(0, len(part), chunk) for event in detector.push(part[i : i + chunk])]
    assert encoded(events + detector.flush()) == found[160]


@pytest.mark.parametrize("duration_s", [11.0, 25.3, 40.0])
def test_a_burst_is_found_where_it_is(duration_s, bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 32_000, Settings(merge_gap_s=0))
    events = detector.push(burst(8.0, 10.0, duration_s)) + detector.flush()
    assert {event.label for event in events} == set(bundle.info.labels)
    for event in events:
        assert event.onset == pytest.approx(8.0, abs=0.32)
        if event.type == "end":
            assert event.offset == pytest.approx(10.0, abs=0.32)


@pytest.mark.parametrize(
    ("frames", "median", "settings"),
    [
        (1024, 1, Settings()),
        (1024, 1, Settings(hop_s=0.32, look_ahead_s=0)),
        (1024, 1, Settings(hop_s=1.6, min_length_s=1)),
        (1024, 5, Settings()),
        (1001, 1, Settings()),
        (1001, 1, Settings(hop_s=0.3125)),
    ],
)
def test_no_start_is_later_than_the_stated_latency_and_the_latest_is_near_it(frames, median, settings, bundle):
    """Sounds that begin anywhere between two runs of the model; all classes have what the slowest has."""
    update = {"frames": frames, "step_s": 0.32 if frames == 1024 else 0.3125, "median_steps": {"class 0": median}}
    info = bundle.info.model_copy(update=update)
    onsets, rate, block = [20 + 5.17 * i for i in range(32)], 32_000, 320
    samples = np.zeros(200 * rate, np.float32)
    for onset in onsets:
        begin = round(onset * rate)
        samples[begin : begin + 2 * rate] = np.random.default_rng(0).normal(0, 0.3, 2 * rate)
    detector, late = Detector(info, Loud(info, loudest=True), rate, settings), []
    for i in range(0, len(samples), block):
        for event in detector.push(samples[i : i + block]):
            if isinstance(event, EventStart) and event.label == "class 0":
                late.append((i + block) / rate - onsets[len(late)])
    assert len(late) == len(onsets)
    stated = settings.latency_s(info)
    assert min(late) > 0
    assert stated - 0.4 < max(late) <= stated + block / rate


@pytest.mark.parametrize("median", [1, 5])
def test_an_event_that_goes_on_ends_with_the_recording(median, bundle):
    info = bundle.info.model_copy(update={"median_steps": dict.fromkeys(bundle.info.labels, median)})
    detector = Detector(info, Loud(info), 32_000)
    events = detector.push(burst(9.0, 12.1, 12.1)) + detector.flush()
    assert {event.offset for event in events if event.type == "end"} == {12.1}


@pytest.mark.parametrize("duration_s", [0.1, 0.5, 1.0, 5.0, 10.0, 10.23, 10.24, 10.25, 12.8])
def test_short_recordings_have_events_within_them(duration_s, bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 32_000)
    events = detector.push(burst(0, duration_s, duration_s)) + detector.flush()
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
    trace, whole = Trace(), Settings(hop_s=10)  # nothing is scored before the recording is over
    detector = Detector(info, graph_of(tiny_network, frames, info, tmp_path), 32_000, whole, trace)
    detector.push(waveforms["clip5"])
    detector.flush()
    golden = goldens["clip5_infer/framewise"]
    np.testing.assert_allclose(trace.score.rows(), (golden[:16] + golden[16:]) / 2, atol=atol)


def test_ten_seconds_at_1001_frames_are_the_reference(tiny_network, goldens, waveforms, bundle, tmp_path):
    info = bundle.info.model_copy(update={"frames": 1001, "step_s": 0.3125})
    trace, whole = Trace(), Settings(hop_s=10)
    detector = Detector(info, graph_of(tiny_network, 1001, info, tmp_path), 32_000, whole, trace)
    detector.push(waveforms["clip10"])
    detector.flush()
    np.testing.assert_allclose(trace.score.rows(), goldens["clip10_default/framewise"], atol=1e-5)


def test_a_reset_gives_the_same_again(bundle, backend, farmyard):
    samples, _ = soundfile.read(farmyard, dtype="float32")
    detector = Detector(bundle.info, backend, 44_100, Settings(threshold=0.4, hop_s=1.28))
    first = detect(detector, samples, 5000)
    detector.reset()
    assert detect(detector, samples, 5000) == first
    detector.reset()
    detector.push(samples[:300_000])  # a recording that broke off
    detector.reset()
    assert detect(detector, samples, 5000) == first


def test_memory_does_not_grow_with_the_recording(bundle):
    """Three minutes and twelve: what is kept is a window or two, and the picture's fixed number of columns."""

    def peak(minutes):
        info, minute = bundle.info, np.random.default_rng(0).normal(0, 1e-4, 60 * 32_000).astype(np.float32)
        tracemalloc.start()
        detector = Detector(info, Loud(info), 32_000, Settings(hop_s=1.28), Trace())
        for _ in range(minutes):
            for second in np.split(minute, 60):
                detector.push(second)
        detector.flush()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(12) < peak(3) + 1_000_000


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_silence_and_full_scale_give_finite_scores(level, bundle, backend):
    trace = Trace()
    detector = Detector(bundle.info, backend, 32_000, observer=trace)
    detector.push(np.full(400_000, level, np.float32))
    detector.flush()
    assert np.isfinite(trace.score.rows()).all()


def test_too_short_for_the_model(bundle, backend):
    detector = Detector(bundle.info, backend, 32_000)
    detector.push(np.zeros(100, np.float32))
    with pytest.raises(HtsatEdgeError, match=r"3\.1 ms are too short"):
        detector.flush()


def test_impossible_settings_are_refused(bundle, backend):
    with pytest.raises(HtsatEdgeError, match=r"hop of 0\.01 s: want between 0\.08 and 10\.24 s"):
        Detector(bundle.info, backend, 32_000, Settings(hop_s=0.01))


def test_an_event_knows_the_time_when_that_of_its_onset_is_known(bundle):
    began = datetime(2026, 5, 1, 21, 30, tzinfo=timezone.utc)

    def time_of(position_s):
        return began + timedelta(seconds=position_s)

    detector = Detector(bundle.info, Loud(bundle.info), 32_000, source="yard", time_of=time_of)
    events = detector.push(burst(8.0, 10.0, 14.0)) + detector.flush()
    assert events[0] == EventStart(
        source="yard", id=1, label="class 0", onset=8.0, time="2026-05-01T21:30:08.000+00:00", score=1.0
    )
    assert events[-1] == EventEnd(
        source="yard", id=10, label="class 9", onset=8.0, offset=9.92, time="2026-05-01T21:30:08.000+00:00", score=1.0
    )


def test_without_a_beginning_there_is_no_time(bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 32_000)
    events = detector.push(burst(8.0, 10.0, 14.0)) + detector.flush()
    assert {(event.source, event.time) for event in events} == {("", None)}


def test_numbers_count_from_1_in_each_recording(bundle, backend, farmyard):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    detector = Detector(bundle.info, backend, rate, Settings(threshold=0.35))
    for _ in range(2):
        events = detector.push(samples) + detector.flush()
        ids = [event.id for event in events if isinstance(event, EventStart)]
        assert len(ids) > 10
        assert ids == list(range(1, len(ids) + 1))
        assert sorted(event.id for event in events if isinstance(event, EventEnd)) == ids
        detector.reset()


def test_only_reported_classes_have_events_and_numbers(bundle, backend, farmyard):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    every, some = (
        Detector(bundle.info, backend, rate, Settings(threshold=0.4, labels=labels))
        for labels in (None, ("class 7", "class 2"))
    )
    wanted = [e for e in every.push(samples) + every.flush() if e.label in ("class 2", "class 7")]
    found = some.push(samples) + some.flush()
    assert {event.label for event in found} == {"class 2", "class 7"}
    assert [event.model_dump(exclude={"id"}) for event in found] == [e.model_dump(exclude={"id"}) for e in wanted]
    ids = [event.id for event in found if isinstance(event, EventStart)]
    assert ids == list(range(1, len(ids) + 1))


class Closing(Loud):
    """Counts how often it is closed."""

    closed = 0

    def close(self):
        self.closed += 1


def test_a_detector_that_cannot_be_made_leaves_no_model_open(bundle, monkeypatch):
    opened = []

    def open_backend(bundle, precision, kind, build, threads):
        opened.append(Closing(bundle.info))
        return opened[-1]

    monkeypatch.setattr("htsat_edge.runtime.models.model.open_backend", open_backend)
    with pytest.raises(HtsatEdgeError, match="hop of 99 s"):
        Detector.from_bundle(bundle, sample_rate=32_000, settings=Settings(hop_s=99))
    with Detector.from_bundle(bundle, sample_rate=32_000):
        assert [backend.closed for backend in opened] == [1, 0]
    assert [backend.closed for backend in opened] == [1, 1]


def test_a_detector_releases_its_model(bundle):
    backend = Closing(bundle.info)
    with Detector(bundle.info, backend, 32_000) as detector:
        detector.push(np.zeros(100, np.float32))
        assert backend.closed == 0
    assert backend.closed == 1


# What is no sound


@pytest.mark.parametrize(
    "samples",
    [np.zeros(10, np.int16), np.zeros((10, 2), np.float32), np.full(10, np.nan, np.float32), np.array([np.inf])],
)
def test_what_is_no_sound_is_refused(samples, bundle, backend):
    with pytest.raises(ValueError, match=r"want floats in|must be finite"):
        Detector(bundle.info, backend, 44_100).push(samples)


def test_double_precision_is_taken(bundle):
    detector = Detector(bundle.info, Loud(bundle.info), 44_100)
    events = detector.push(burst(8.0, 10.0, 14.0, 44_100).astype(np.float64)) + detector.flush()
    assert events[0].onset == pytest.approx(8.0, abs=0.32)
