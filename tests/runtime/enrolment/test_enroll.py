"""Learn sounds with the bundled model: what is told apart is heard, what is not is refused."""

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, detect_file
from htsat_edge.runtime.enrolment.embedding import embed, hop_for
from htsat_edge.runtime.enrolment.enroll import enroll
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.enrolment.teaching import refresh, teach
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.model import load_model

RATE = 32_000
FARMYARD = Path(__file__).parents[2] / "data" / "recordings" / "farmyard.flac"


@pytest.fixture(scope="module")
def bundle():
    return load_bundle()


@pytest.fixture(scope="module")
def backend(bundle):
    with closing(open_backend(bundle, kind="onnxruntime", threads=1)) as opened:
        yield opened


def ding_dong(seed, seconds=1.6):
    """Two struck bars, never quite the same twice."""
    rng = np.random.default_rng(seed)
    t, samples = np.arange(round(seconds * RATE)) / RATE, np.zeros(round(seconds * RATE))
    for start, hz in ((0.05, 660), (0.6, 523)):
        since = np.clip(t - start, 0, None)
        for partial, level in ((1, 1.0), (2.76, 0.4), (5.4, 0.2)):
            tuned = hz * partial * (1 + rng.normal(0, 0.004))
            samples += level * np.sin(2 * np.pi * tuned * since) * np.exp(-4 * since) * (t > start)
    room = rng.normal(0, 10 ** rng.uniform(-3.2, -2.2), len(t))
    return rng.uniform(0.1, 0.4) * samples + room


def write(folder, name, samples):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.flac"
    soundfile.write(path, np.clip(samples, -1, 1), RATE, "PCM_16")
    return path


@pytest.fixture(scope="module")
def doorbells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doorbells")
    return [write(folder, f"ding-dong-{seed}", ding_dong(seed)) for seed in range(5)]


@pytest.fixture(scope="module")
def taught(bundle, backend, doorbells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "sounds"
    sound, report = teach(Library(folder, bundle), backend, "Our doorbell", doorbells)
    return folder, sound, report


def noise(seconds, seed=0, level=0.01):
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE))


def test_a_doorbell_is_learned_and_heard_in_noise(taught, tmp_path, bundle):
    folder, sound, report = taught
    assert report.accepted
    assert sound is not None
    assert report.recall.value >= 0.8
    assert report.recall.low < report.recall.value  # five recordings say little
    assert report.false_alarms_per_h.value <= 1 < report.false_alarms_per_h.high
    street = noise(30, seed=3)
    for begin_s, seed in ((8, 20), (19, 21)):
        own = ding_dong(seed)
        street[begin_s * RATE : begin_s * RATE + len(own)] += own
    path = write(tmp_path, "street", street)
    model = load_model(bundle, folder)
    with Detector(model.info, model.open(kind="onnxruntime"), RATE) as detector:
        events = [*detector.push(street.astype(np.float32)), *detector.flush()]
    found = sorted(event.onset for event in events if event.label == "Our doorbell" and event.type == "start")
    assert len(found) == 2
    assert found == pytest.approx([8, 19], abs=0.7)
    assert "Our doorbell" not in {event.label for event in detect_file(path, bundle=bundle)}


def test_no_other_class_changes(taught, bundle):
    folder = taught[0]
    before, after = (load_model(bundle, sounds) for sounds in (folder / "none", folder))
    log_mel = np.random.default_rng(1).normal(-40, 20, (2, 1024, 64)).astype(np.float32)
    with closing(before.open(kind="onnxruntime")) as plain, closing(after.open(kind="onnxruntime")) as more:
        known, scores = plain.infer(log_mel), more.infer(log_mel)
    assert after.info.labels == [*before.info.labels, "Our doorbell"]
    assert np.array_equal(scores.framewise[..., :-1], known.framewise)
    assert np.array_equal(scores.clipwise[..., :-1], known.clipwise)


def test_the_same_recordings_give_the_same_sound(bundle, backend, doorbells):
    one, two = (enroll(bundle, backend, "Our doorbell", doorbells) for _ in range(2))
    assert np.array_equal(one.weight, two.weight)
    assert one.bias == two.bias


def test_what_differs_from_recording_to_recording_is_refused(bundle, backend, tmp_path):
    """Pieces of a farmyard: a person, a dog, a bull, a duck and a toucan."""
    samples, rate = soundfile.read(FARMYARD)
    assert rate == RATE
    begins = [round(second * rate) for second in (1.2, 8.0, 10.8, 18.6, 23.2)]
    paths = [write(tmp_path, f"piece-{at}", samples[at : at + 2 * rate]) for at in begins]
    library = Library(tmp_path / "sounds", bundle)
    sound, report = teach(library, backend, "Farm", paths)
    assert sound is None
    assert not report.accepted
    assert report.reason.startswith("these 5 recordings")
    assert not list((tmp_path / "sounds").glob("*.json"))


@pytest.mark.parametrize("slope", [0, -1, -2], ids=["white", "pink", "brown"])
@pytest.mark.parametrize("level", [0.001, 0.1])
def test_plain_noise_is_not_the_sound(taught, bundle, slope, level):
    spectrum = np.fft.rfft(noise(15, seed=9, level=1))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (slope / 2)
    samples = np.fft.irfft(spectrum)
    samples *= level / samples.std()
    model = load_model(bundle, taught[0])
    with Detector(model.info, model.open(kind="onnxruntime"), RATE) as detector:
        events = [*detector.push(samples.astype(np.float32)), *detector.flush()]
    assert "Our doorbell" not in {event.label for event in events}


def test_a_false_alarm_is_not_taken_for_the_sound_again(taught, bundle, backend, tmp_path):
    """A phone that rings with much the same tones."""
    folder = shutil.copytree(taught[0], tmp_path / "sounds")
    alarm = write(tmp_path, "phone", ding_dong(77)[: round(0.55 * RATE)])

    def highest():
        model = load_model(bundle, folder)
        with closing(model.open(kind="onnxruntime")) as opened:
            heard = embed(alarm, bundle.info, backend, 4)
            return max(opened.infer(window.log_mel[None]).framewise[..., -1].max() for window in heard.windows)

    assert highest() > 0.5
    library = Library(folder, bundle)
    _, report = refresh(library, backend, "Our doorbell", false_alarms=[alarm])
    assert report.accepted
    assert highest() < 0.5
    assert {one.kind for one in library.find("Our doorbell")[1].recordings} == {"positive", "false_alarm"}


def test_without_backgrounds_nothing_is_learned(bundle, backend, doorbells, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("model.json", "fp32.onnx"):
        (bare / name).symlink_to(bundle.path / name)
    with pytest.raises(HtsatEdgeError, match=r"ships no embeddings of backgrounds: 5 minutes .*: --background FOLDER"):
        enroll(load_bundle(bare), backend, "Our doorbell", doorbells)
    street = [write(tmp_path, f"street-{seed}", noise(160, seed=seed)) for seed in range(2)]
    learned = enroll(load_bundle(bare), backend, "Our doorbell", doorbells, backgrounds=street)
    assert learned.report.background_h == pytest.approx(320 / 3600, abs=0.01)


def test_the_hop_bounds_the_work(bundle):
    assert hop_for(1.0, bundle.info, 40) == 1
    assert hop_for(5 * 30.0, bundle.info, 40) == 12
    assert hop_for(50 * 30.0, bundle.info, 40) == 16
