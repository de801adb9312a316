"""Figures of held clips."""

import numpy as np
import pytest
import torch

from htsat_edge.htsat.clip_figures import ClipOutputs, apply_to_clips, judge_clips, resample, write_clip_page
from htsat_edge.htsat.clips import LabelledClip
from htsat_edge.htsat.network import NetworkOutput

LABELS = ["Cat", "Dog"]


def clips(*labels, groups=None):
    return [LabelledClip(f"{i}.wav", frozenset(own), (groups or "abcdefgh")[i], "val") for i, own in enumerate(labels)]


class Loudest(torch.nn.Module):
    """Scores each class by the highest level of its band."""

    def forward(self, log_mel):
        assert len(log_mel) <= 16
        scores = log_mel[..., :3].amax(1)
        return NetworkOutput(scores, scores, scores, scores, scores)


def test_a_clip_scores_as_high_as_its_highest_window():
    """The third window of the first clip has the event; outputs beyond the labels are left out."""
    long, short = np.zeros((2500, 64), np.float16), np.zeros((100, 64), np.float16)
    long[2400, 1], short[50, 0], short[:, 2] = 3, 2, 9

    class Spectrograms(list):
        in_memory = True

    outputs = apply_to_clips(Loudest(), Spectrograms([long] * 9 + [short]), clips(*["Dog"] * 0), LABELS)
    np.testing.assert_allclose(outputs.scores[:9], [[0, 3]] * 9)
    assert outputs.scores[9, 1] < 0.5 < outputs.scores[9, 0]


def test_accuracy_and_confusion_of_a_worked_example():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.2]], np.float32)
    truth = np.array([[1, 0], [0, 1], [0, 1], [0, 0]], bool)
    outputs = ClipOutputs(scores, truth)
    assert outputs.accuracy() == pytest.approx(2 / 3)  # the last has no class, so none is right
    np.testing.assert_array_equal(outputs.confusion(), [[1, 0], [1, 1]])
    assert outputs.summary() == pytest.approx({"accuracy": 2 / 3, "clip_map": (1 + 1) / 2})


def test_clips_with_several_classes_have_no_accuracy():
    outputs = ClipOutputs(np.array([[0.9, 0.8], [0.2, 0.8]]), np.array([[1, 1], [0, 1]], bool))
    assert set(outputs.summary()) == {"clip_map"}
    results = judge_clips(outputs, clips(["Cat", "Dog"], ["Dog"]), LABELS)
    assert results.confusion is None
    assert [c.recall for c in results.classes] == [None, None]
    assert "accuracy" not in results.line()


def test_groups_are_drawn_whole():
    for rows in resample(["x", "x", "x", "y", "z", "z"]):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[1] == counts[2]
        assert counts[4] == counts[5]
        assert counts[0] + counts[3] + counts[4] == 3


def test_results_count_clips_and_groups_and_name_what_is_not_held(tmp_path):
    scores = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.1, 0.7, 0]], np.float32)
    truth = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]], bool)
    held = clips(["Cat"], ["Dog"], ["Dog"], ["Dog"], groups="abbc")
    results = judge_clips(ClipOutputs(scores, truth), held, [*LABELS, "<Owl>"])
    assert [(c.recordings, c.groups) for c in results.classes] == [(1, 1), (3, 2), (0, 0)]
    assert results.classes[1].recall == pytest.approx(2 / 3)
    assert results.figures["accuracy"].value == pytest.approx(0.75)
    assert results.figures["accuracy"].low <= 0.75 <= results.figures["accuracy"].high
    assert results.line().startswith("accuracy 0.750 (")
    assert results.line().endswith("(nothing is held of <Owl>)  4 clips")
    row = {"step": 1.0, "loss": 1.0, "accuracy": 0.1, "clip_map": 0.1}
    write_clip_page(tmp_path / "x.html", results, [row])
    page = (tmp_path / "x.html").read_text()
    assert page.count("<svg") == 2
    assert "&lt;Owl&gt;" in page
    assert "<Owl>" not in page
