"""A detector whose classes are groups of labels, and a tree of them."""

import json

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings

RATE = 32_000
TREE = {"class 1": ["class 0"], "class 2": ["class 1"], "class 4": ["class 3"], "class 6": ["class 5", "class 7"]}
GROUPS = {"two": ["class 2", "class 8"], "more": ["class 8", "class 9"]}


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def info(bundle):
    """The tiny model, as if some of its labels were more general than others."""
    return bundle.info.model_copy(update={"parents": TREE})


class Barking:
    """Stands for a model that hears an animal, a dog and a bark (classes 0 to 2) wherever it hears anything."""

    def __init__(self, info, *scores):
        self._info, self._scores = info, scores

    def infer(self, log_mel):
        steps = log_mel.reshape(len(log_mel), self._info.steps, -1).mean(axis=2)
        framewise = np.zeros((len(log_mel), self._info.steps, len(self._info.labels)), np.float32)
        for k, score in enumerate(self._scores):
            framewise[..., k] = np.where(steps > -60, score, 0)
        return Scores(framewise, framewise.mean(axis=1), np.zeros((len(log_mel), 1), np.float32))

    def close(self):
        pass


def detect(detector, samples, chunk=10**9):
    events = [event for i in range(0, len(samples), chunk) for event in detector.push(samples[i : i + chunk])]
    return [*events, *detector.flush()]


@pytest.fixture(scope="module")
def burst():
    """Two seconds of noise in twelve of silence."""
    samples = np.zeros(12 * RATE, np.float32)
    samples[5 * RATE : 7 * RATE] = np.random.default_rng(0).normal(0, 0.3, 2 * RATE)
    return samples


@pytest.mark.parametrize(
    ("scores", "settings", "labels"),
    [
        ((0.9, 0.8, 0.7), Settings(), ["class 2"]),
        ((0.9, 0.8, 0.2), Settings(), ["class 1"]),
        ((0.9, 0.8, 0.7), Settings(most_specific=False), ["class 0", "class 1", "class 2"]),
        ((0.9, 0.8, 0.7), Settings(labels=("class 0",)), ["class 0"]),
        ((0.9, 0.8, 0.7), Settings(groups={"Dog": ["class 1", "class 2"]}), ["Dog"]),
        ((0.9, 0.2, 0.7), Settings(groups={"Dog": ["class 1", "class 2"]}), ["Dog"]),
        ((0.9, 0.2, 0.7), Settings(groups={"Dog": ["class 1", "class 2"]}, thresholds={"Dog": 0.75}), ["class 0"]),
        ((0.9, 0.8, 0.7), Settings(confirm_s={"class 2": 4.0}), []),
    ],
)
def test_one_bark_is_one_event(scores, settings, labels, info, burst):
    trace = Trace()
    found = detect(Detector(info, Barking(info, *scores), RATE, settings, trace), burst)
    assert sorted((e.label, e.type) for e in found) == [(label, kind) for label in labels for kind in ("end", "start")]
    assert len(labels) < 2 or {event.onset for event in found} == {found[0].onset}
    # Who watches the scores sees all of them: speech is silenced in clips, whatever else there is of it.
    classes = settings.classes(info).labels
    np.testing.assert_allclose(trace.peak[classes.index("class 0")], 0.9, atol=1e-6)


def test_any_chunking_gives_the_same_json_to_the_byte(info, bundle, farmyard):
    samples, _ = soundfile.read(farmyard, dtype="float32")
    samples = samples[: 14 * RATE]
    settings = Settings(threshold=0.4, groups=GROUPS, confirm_s={"more": 0.9})  # random weights: many events
    backend = open_backend(bundle)
    found = {
        chunk: [event.encoded for event in detect(Detector(info, backend, RATE, settings), samples, chunk)]
        for chunk in (160, 4800, 1_000_000)
    }
    backend.close()
    assert found[160] == found[4800] == found[1_000_000]
    labels = {json.loads(line)["label"] for line in found[160]}
    assert labels & set(GROUPS)
    assert labels <= {"two", "more", *(f"class {i}" for i in (0, 1, 3, 4, 5, 6, 7))}
