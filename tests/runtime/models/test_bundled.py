"""The model that ships with the runtime, on the recording that the demo plays."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.detector import Detector, WindowStream, detect_file
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import ACCURACY_FILE, BUNDLED, Measurement, load_bundle
from htsat_edge.runtime.models.settings import Settings


@pytest.fixture(scope="module")
def events(farmyard):
    return detect_file(farmyard)


@pytest.mark.parametrize("label", ["Speech", "Thunder", "Cattle, bovinae"])
def test_it_finds_a_sound_where_a_person_hears_it(label, events, farmyard):
    """To two steps of 0.32 s, and nowhere else."""
    with farmyard.with_suffix(".csv").open() as file:
        ((onset, offset),) = [
            (float(r["onset"]), float(r["offset"])) for r in csv.DictReader(file) if r["label"] == label
        ]
    (event,) = [event for event in events if event.label == label]
    assert event.onset == pytest.approx(onset, abs=0.64)
    assert event.offset == pytest.approx(offset, abs=0.64)


def test_it_finds_the_barks_and_the_duck(farmyard):
    """To two steps, and no others; at its own threshold the fainter bark is missed."""
    events = detect_file(farmyard, settings=Settings(threshold=0.5))
    spans = {label: [(e.onset, e.offset) for e in events if e.label == label] for label in ("Dog", "Fowl")}
    (first, second), (duck,) = spans["Dog"], spans["Fowl"]
    assert first == pytest.approx((6.4, 7.32), abs=0.64)
    assert second == pytest.approx((8.0, 8.92), abs=0.64)
    assert duck == pytest.approx((18.6, 21.71), abs=0.64)


@pytest.mark.parametrize(("slope", "level_db"), [(0, -60), (0.25, -30), (0.5, -50), (0.75, -40), (1, -30)])
def test_a_quiet_room_has_no_events(slope, level_db):
    """A minute each of noise from white to brown at several levels, with mains hum 10 dB below it."""
    bundle, rate = load_bundle(BUNDLED), 32_000
    hz = np.maximum(np.fft.rfftfreq(60 * rate, 1 / rate), 20)
    noise = np.fft.irfft(np.fft.rfft(np.random.default_rng(0).normal(size=60 * rate)) * hz**-slope)
    turns = np.arange(60 * rate) / rate
    hum = sum(np.sin(2 * np.pi * 50 * k * turns) for k in (1, 2, 3))
    samples = (noise / noise.std() + hum / hum.std() * 10 ** (-10 / 20)) * 10 ** (level_db / 20)
    detector = Detector(bundle.info, open_backend(bundle), sample_rate=rate)
    assert detector.push(samples.astype(np.float32)) + detector.flush() == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_embedding_of_a_window_is_the_mean_of_its_steps(precision, farmyard):
    bundle = load_bundle(BUNDLED)
    backend = open_backend(bundle, precision, "onnxruntime")
    samples, rate = soundfile.read(farmyard, dtype="float32")
    windows = np.stack([window.log_mel for window in WindowStream(bundle.info, rate).push(samples)])[-8:]
    scores = backend.infer(windows)
    assert scores.frame_embedding.shape == (8, 32, 256)
    np.testing.assert_allclose(scores.frame_embedding.mean(axis=1), scores.embedding, atol=1e-5)
    assert scores.frame_embedding.std(axis=1).mean() > 0.05  # steps differ


def test_it_is_small():
    size = sum(path.stat().st_size for path in Path(BUNDLED).iterdir())
    assert size < 24e6
    assert max(path.stat().st_size for path in Path(BUNDLED).iterdir()) < 10e6


def test_it_has_its_card_and_licences():
    assert (BUNDLED / "MODEL_CARD.md").is_file()
    assert (BUNDLED / "LICENCES.md").is_file()


def test_its_measurement_is_of_the_files_that_are_there():
    bundle = load_bundle(BUNDLED)
    measured = read_json(BUNDLED / ACCURACY_FILE, Measurement)
    assert {name: graph.sha256 for name, graph in measured.graphs.items()} == {
        name: bundle.sha256(name) for name in bundle.precisions()
    }
    assert {"fp32", "int8"} <= measured.graphs.keys()
    assert bundle.info.quantization.fp32_sha256 == bundle.sha256("fp32")


def test_its_8_bit_graph_is_for_tensorrt(nvidia_layers):
    onnx = pytest.importorskip("onnx")
    bundle = load_bundle(BUNDLED)
    model = onnx.load(bundle.graph("int8"))
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert nvidia_layers(model) < 150 * sum(bundle.info.provenance["network"]["depths"])
