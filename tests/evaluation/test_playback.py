"""Several versions side by side find what each would find alone."""

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.playback import Merged, Version, logits, play
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, WindowStream
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import load_bundle


class Shifted:
    """A model that is a little off, and far off for the loudest windows."""

    def __init__(self, backend):
        self._backend = backend

    def infer(self, log_mel):
        scores = self._backend.infer(log_mel)
        off = 1e-3 if log_mel.mean() < -45 else 0.1
        return scores._replace(framewise=np.clip(scores.framewise + off, 0, 1))

    def close(self):
        self._backend.close()


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    # Near enough to what this untrained network gives that events come and go.
    info = bundle.info.model_copy(update={"thresholds": dict.fromkeys(bundle.info.labels, 0.35)})
    return type(bundle)(bundle.path, info)


@pytest.fixture(scope="module")
def yard(farmyard, tmp_path_factory):
    """14 s, quiet at first: more than a window, and than is read at a time; events come and go."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    samples = samples[-14 * rate :]
    samples[: 8 * rate] *= 0.1
    path = tmp_path_factory.mktemp("yard") / "yard.flac"
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture(scope="module")
def versions(bundle, yard):
    backend = open_backend(bundle)
    versions = [
        Version("fp32", backend, bundle.info),
        Version("same", backend, bundle.info),
        Version("off", Shifted(backend), bundle.info),
    ]
    play(yard, versions)
    return versions


def test_each_finds_what_it_would_find_alone(versions, bundle, yard):
    file = AudioFile(yard)
    detector = Detector(bundle.info, open_backend(bundle), file.sample_rate)
    found = [event for block in file.blocks(10_000) for event in detector.push(block)] + detector.flush()
    wanted = [(e.onset, e.offset, e.label) for e in found if e.type == "end"]
    assert wanted
    for version in versions[:2]:
        (result,) = version.results
        assert result.events == wanted
        assert result.duration_s == pytest.approx(file.samples / file.sample_rate)
        assert result.scores.shape == (np.ceil(result.duration_s / 0.32), 10)
        assert result.clipwise.shape == (10,)
        np.testing.assert_array_equal(result.peak, result.scores.max(axis=0))


def test_the_same_model_is_the_same_to_the_bit(versions):
    assert versions[1].snr_db == float("inf")
    assert {odd.snr_db for odd in versions[1].odd_windows} == {float("inf")}
    np.testing.assert_array_equal(versions[0].results[0].scores, versions[1].results[0].scores)


def test_the_window_that_differs_most_is_kept_with_its_place(versions, yard, bundle):
    (odd,) = versions[2].odd_windows
    assert odd.snr_db < versions[2].snr_db
    file = AudioFile(yard)
    stream = WindowStream(bundle.info, file.sample_rate)
    windows = [window for block in file.blocks(10_000) for window in stream.push(block)] + stream.flush()
    (step,) = [window.step for window in windows if np.array_equal(window.log_mel, odd.log_mel)]
    assert odd.at_s == step * 0.32 > 0


@pytest.fixture
def recordings(farmyard, tmp_path):
    """Six recordings of 3 s."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    paths = [tmp_path / f"{i}.flac" for i in range(6)]
    for i, path in enumerate(paths):
        soundfile.write(path, samples[4 * i * rate :][: 3 * rate], rate)
    return paths


def test_of_many_recordings_the_worst_are_kept(bundle, recordings):
    backend = open_backend(bundle)
    versions = [Version("fp32", backend, bundle.info), Version("off", Shifted(backend), bundle.info)]
    worst = {}
    for path in recordings:
        alone = [Version("fp32", backend, bundle.info), Version("off", Shifted(backend), bundle.info)]
        play(path, alone)
        worst[path] = alone[1].odd_windows[0].snr_db
        play(path, versions)
    found = [(odd.path, odd.snr_db) for odd in versions[1].odd_windows]
    assert found == sorted(worst.items(), key=lambda item: item[1])[:4]


def test_a_recording_that_is_too_short_is_named(bundle, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 32_000)
    with pytest.raises(HtsatEdgeError, match=r"short\.wav: 3\.1 ms are too short"):
        play(tmp_path / "short.wav", [Version("fp32", open_backend(bundle), bundle.info)])


def test_certain_scores_have_finite_logits():
    found = logits(np.array([0, 0.5, 1], np.float32))
    assert np.isfinite(found).all()
    assert found[1] == 0


def test_merged_classes_score_as_their_highest():
    scores = Scores(np.arange(6, dtype=np.float32).reshape(1, 2, 3), np.array([[0.1, 0.9, 0.5]]), np.zeros((1, 1)))

    class Fixed:
        def infer(self, log_mel):
            return scores

    found = Merged(Fixed(), [[2, 0], [1]]).infer(np.zeros((1, 4, 4)))
    np.testing.assert_array_equal(found.framewise, [[[2, 1], [5, 4]]])
    np.testing.assert_array_equal(found.clipwise, [[0.5, 0.9]])
    assert found.embedding is scores.embedding
