"""Enrolled sounds beside the classes of a model: these stay as they were, and what is damaged is left out."""

import json
import logging
import os
from hashlib import sha256

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, load_bundle
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.models.sounds import SoundsBackend, read_sounds, score_logits

CHANNELS, STEPS = 4, 32


class Fixed:
    """A backend that gives the same scores again and again."""

    def __init__(self, with_frames=True):
        rng = np.random.default_rng(0)
        frames = rng.normal(size=(2, STEPS, CHANNELS)).astype(np.float32)
        framewise = rng.uniform(size=(2, STEPS, 3)).astype(np.float32)
        self.scores = Scores(framewise, framewise.mean(axis=1), frames.mean(axis=1), frames if with_frames else None)
        self.closed = False

    def infer(self, log_mel):
        return self.scores

    def close(self):
        self.closed = True


@pytest.fixture
def library(tmp_path, tiny_bundle):
    return Library(tmp_path / "sounds", load_bundle(tiny_bundle))


@pytest.fixture
def other_graph(tiny_bundle, tmp_path):
    """A bundle that differs from the small one in its graph alone."""
    path = tmp_path / "other"
    path.mkdir()
    (path / "fp32.onnx").write_bytes((tiny_bundle / "fp32.onnx").read_bytes() + b"\x12\x00")
    (path / "model.json").write_bytes((tiny_bundle / "model.json").read_bytes())
    return load_bundle(path)


def detect(farmyard, sounds):
    """The messages of the recording that the demo plays, on the bundled model."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    with Detector.from_bundle(
        sample_rate=rate, settings=Settings(threshold=0.3, hop_s=1.28), sounds=sounds
    ) as detector:
        return detector.push(samples) + detector.flush()


def test_the_other_classes_stay_as_they_were_to_the_byte(farmyard, tmp_path, put_sound):
    """Where a sound never fires nothing changes; where it does, the ids of others move, since ids count events."""
    without = detect(farmyard, tmp_path / "none")
    library = Library(tmp_path / "sounds", load_bundle(BUNDLED))
    weight = np.random.default_rng(0).normal(0, 0.05, 256).astype(np.float32)
    sound = put_sound(library, "Our doorbell", weight, bias=-30.0)
    assert [e.encoded for e in detect(farmyard, library.folder)] == [e.encoded for e in without]
    assert len(without) > 10
    put_sound(library, "Our doorbell", weight, bias=0.0, replace=sound.name)
    found = detect(farmyard, library.folder)
    others = [event.model_copy(update={"id": 0}) for event in found if event.label != "Our doorbell"]
    assert [e.encoded for e in others] == [e.model_copy(update={"id": 0}).encoded for e in without]
    assert len(found) > len(others)


def test_scores_of_sounds_are_the_last_columns_and_all_else_is_the_models_own(library, put_sound):
    weights = np.random.default_rng(1).normal(size=(2, CHANNELS)).astype(np.float32)
    put_sound(library, "b", weights[1], bias=0.5)
    put_sound(library, "a", weights[0], bias=-1.0)
    inner = Fixed()
    backend = SoundsBackend(inner, library.sounds())
    found, own = backend.infer(None), inner.scores
    assert found.framewise[..., :3].tobytes() == own.framewise.tobytes()
    assert found.clipwise[..., :3].tobytes() == own.clipwise.tobytes()
    assert found.embedding is own.embedding
    assert found.frame_embedding is own.frame_embedding
    logits = own.frame_embedding.astype(np.float64) @ weights.T + [-1.0, 0.5]
    np.testing.assert_allclose(found.framewise[..., 3:], 1 / (1 + np.exp(-logits)), rtol=1e-6)
    np.testing.assert_allclose(found.clipwise[..., 3:], 1 / (1 + np.exp(-logits.mean(axis=1))), rtol=1e-6)
    assert found.framewise.dtype == found.clipwise.dtype == np.float32
    backend.close()
    assert inner.closed


def test_a_score_does_not_depend_on_how_many_windows_there_are():
    rng = np.random.default_rng(0)
    frames, weight = rng.normal(size=(7, STEPS, 768)).astype(np.float32), rng.normal(size=768).astype(np.float32)
    together = score_logits(frames, weight, 0.1)
    alone = np.stack([score_logits(frames[k], weight, 0.1) for k in range(7)])
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("with_frames", "channels", "text"), [(False, CHANNELS, "no"), (True, CHANNELS + 1, "another (4 channels)")]
)
def test_a_graph_without_its_frame_embeddings_hears_no_sound_and_says_so_once(
    with_frames, channels, text, library, put_sound, caplog
):
    put_sound(library, "Our doorbell", np.ones(channels, np.float32), bias=50.0)
    backend = SoundsBackend(Fixed(with_frames), library.sounds())
    found = [backend.infer(None) for _ in range(3)]
    assert all((one.framewise[..., 3] == 0).all() and (one.clipwise[..., 3] == 0).all() for one in found)
    assert [record.getMessage() for record in caplog.records] == [
        f"the model gives {text} frame_embedding, so Our doorbell cannot be heard: export its graph, and enrol them, "
        "again"
    ]


def test_sounds_are_the_last_classes_in_the_order_of_their_names(library, put_sound, tiny_bundle):
    put_sound(library, "Zebra crossing", threshold=0.7)
    put_sound(library, "our doorbell", threshold=0.3)
    model = load_model(tiny_bundle, library.folder)
    assert model.info.labels == [*model.bundle.info.labels, "our doorbell", "Zebra crossing"]
    assert model.info.thresholds == {**model.bundle.info.thresholds, "our doorbell": 0.3, "Zebra crossing": 0.7}
    Settings(thresholds={"our doorbell": 0.9}, labels=("Zebra crossing",)).validate(model.info)


def test_the_folder_is_the_bundles_own_by_default(tiny_bundle, tmp_path, put_sound):
    bundle = Bundle(tmp_path, load_bundle(tiny_bundle).info)
    (tmp_path / "fp32.onnx").write_bytes((tiny_bundle / "fp32.onnx").read_bytes())
    put_sound(Library(tmp_path / "sounds", bundle), "Our doorbell")
    assert load_model(bundle).sounds.labels == ["Our doorbell"]
    assert load_model(bundle, tmp_path / "elsewhere").sounds.labels == []


def test_a_sound_of_another_graph_stays_a_class_that_never_fires(library, put_sound, other_graph, caplog):
    """So a configuration that names it is still right, and it is heard again once it was learned again."""
    put_sound(library, "Our doorbell", np.ones(CHANNELS, np.float32), bias=50.0)
    model = load_model(other_graph, library.folder)
    assert [name for name, _ in model.sounds.stale] == ["our-doorbell"]
    assert model.sounds.usable == []
    Settings(thresholds={"Our doorbell": 0.9}).validate(model.info)
    backend = SoundsBackend(Fixed(), model.sounds)
    assert (backend.infer(None).framewise[..., 3] == 0).all()
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        model.open(kind="onnxruntime").close()
    assert [r.getMessage() for r in caplog.records] == [
        f"{library.folder}/our-doorbell.json: Our doorbell: was made for another graph: not heard until "
        "`htsat-edge enroll --refresh` has learned it again"
    ]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def change(**keys):
    def edit(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return edit


def replace_head(**arrays):
    """Put other weights in place, with a json that says that they are right."""

    def edit(path):
        np.savez(path, **arrays)
        info = path.with_suffix(".json")
        content = {**json.loads(info.read_text()), "head_sha256": sha256(path.read_bytes()).hexdigest()}
        info.write_text(json.dumps(content))

    return edit


def spoil_deflated_head(path):
    """Damage the inside of a compressed array, which only unpacking finds."""
    np.savez_compressed(path, weight=np.zeros(CHANNELS, np.float32), bias=np.zeros(4000))
    content = bytearray(path.read_bytes())
    content[100:140] = b"\xff" * 40
    path.write_bytes(content)
    info = path.with_suffix(".json")
    info.write_text(json.dumps({**json.loads(info.read_text()), "head_sha256": sha256(content).hexdigest()}))


HEAD = "is missing or damaged: `htsat-edge enroll --refresh our-doorbell` learns the sound again"


@pytest.mark.parametrize(
    ("suffix", "damage", "text"),
    [
        (".npz", cut_short, HEAD),
        (".npz", lambda path: path.unlink(), HEAD),
        (".npz", spoil_deflated_head, HEAD),
        (".npz", replace_head(weight=np.full(CHANNELS, 1e300), bias=0.0), HEAD),
        (".npz", replace_head(weight=np.zeros(CHANNELS, np.complex64), bias=0.0), HEAD),
        (".npz", replace_head(weight=np.full(CHANNELS, np.nan, np.float32), bias=0.0), HEAD),
        (".npz", replace_head(weight=np.zeros(CHANNELS, np.float32), bias=[0.0, 1.0]), HEAD),
        (".json", change(channels=5), HEAD),
        (".json", cut_short, "is not JSON"),
        (".json", lambda path: path.write_bytes(b" " * 5_000_000), "is too large"),
        (".json", change(format=2), "format: "),
        (".json", change(threshold=1.5), "threshold: "),
        (".json", change(label="\x1b[2J"), "label: "),
        (".json", change(label="Class 3"), "its label 'Class 3' is that of a class of the model"),
        (".json", change(label="zebra crossing"), None),
        (
            ".json",
            change(recordings=[{"file": "../x", "sha256": "0" * 64, "seconds": 1, "kind": "positive"}]),
            "'../x'",
        ),
    ],
)
def test_a_damaged_sound_is_left_out_and_a_line_says_why(suffix, damage, text, library, put_sound, tiny_bundle):
    put_sound(library, "Our doorbell")
    put_sound(library, "Zebra crossing")
    damage(library.folder / f"our-doorbell{suffix}")
    sounds = read_sounds(library.folder, library.bundle)
    if text is None:  # of two that have one label, the second is left out
        assert sounds.labels == ["zebra crossing"]
        assert sounds.problems[0].endswith("is that of the sound our-doorbell: rename or remove one of them")
        return
    assert sounds.labels == ["Zebra crossing"]
    (problem,) = sounds.problems
    assert text in problem
    assert "\n" not in problem
    assert problem.startswith(f"{library.folder}/our-doorbell.json: ")


def test_files_with_names_that_nobody_gives_are_none_of_ours(library, put_sound):
    put_sound(library, "Our doorbell")
    for name in (b"\xff.json", b"new\nline.json", b".hidden.json"):
        (library.folder / os.fsdecode(name)).write_bytes(b"{")
    sounds = read_sounds(library.folder, library.bundle)
    assert (sounds.labels, sounds.problems) == (["Our doorbell"], [])
