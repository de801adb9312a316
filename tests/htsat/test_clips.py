"""Whole clips: their batches, and what they are drawn and varied by."""

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from htsat_edge.evaluation.labels import Labelled
from htsat_edge.htsat.clips import (
    ClipBatches,
    LabelledClip,
    Spectrograms,
    clips_of,
    draw_shares,
    fill_window,
    read_log_mel,
    targets_of,
    usable,
    windows_of,
)
from htsat_edge.htsat.settings import TrainConfig
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel
from htsat_edge.runtime.dsp.windows import tile

RATE = 32_000


class Levels:
    """Stands for the spectrograms of clips that are as loud as their number says, in dB."""

    in_memory = True

    def __init__(self, count, frames=500):
        self._count, self._frames = count, frames

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        return np.full((self._frames, 64), index, np.float16)


def clip(path, labels, split="train", group="g"):
    return LabelledClip(path, frozenset(labels), group, split)


def batches(targets, **keys):
    augment = {"mixup": 0, "balance": 0, "time_masks": [0, 0], "band_masks": [0, 0], **keys.pop("augment", {})}
    config = TrainConfig(network="x", examples="clips", steps=10, augment=augment, **keys)
    return ClipBatches(Levels(len(targets)), np.array(targets, bool), config)


@pytest.fixture
def recordings(tmp_path):
    """A second and eleven seconds of noise."""
    rng = np.random.default_rng(0)
    paths = []
    for seconds in (1, 11):
        paths.append(tmp_path / f"{seconds}.wav")
        soundfile.write(paths[-1], 0.1 * rng.standard_normal(seconds * RATE), RATE)
    return paths


def test_recordings_become_clips_with_all_their_classes(tmp_path):
    path = tmp_path / "a.wav"
    labelled = [
        Labelled(path, frozenset({"Rain", "Dog"}), split="val", group="a"),
        Labelled(path, frozenset({"background"}), split="train", group="b"),
        Labelled(path, frozenset(), split="train", group="c"),
        Labelled(path, None, split="train", group="d"),
    ]
    found = clips_of(labelled)
    assert [c.label for c in found] == ["Dog + Rain", "background", "background"]
    assert [c.held for c in found] == [True, False, False]
    np.testing.assert_array_equal(targets_of(found, ["Cat", "Dog", "Rain"]), [[0, 1, 1], [0, 0, 0], [0, 0, 0]])


def test_cross_entropy_takes_clips_of_one_class_and_leaves_out_those_of_none():
    clips = [clip("a", ["Dog"]), clip("b", []), clip("c", ["Owl"]), clip("d", ["Dog"], "val")]
    assert [c.path for c in usable(clips, ["Dog"], "ce")] == ["a", "d"]
    assert [c.path for c in usable(clips, ["Dog"], "bce")] == ["a", "b", "c", "d"]
    several = [*clips, clip("e", ["Dog", "Owl"])]
    assert len(usable(several, ["Dog"], "ce")) == 3  # the other class is not learned
    with pytest.raises(
        HtsatEdgeError, match=r"e: has several classes, Dog \+ Owl; the network file must say loss: bce"
    ):
        usable(several, ["Dog", "Owl"], "ce")


def test_what_cannot_be_learned_or_measured_is_one_line():
    with pytest.raises(HtsatEdgeError, match="has no training recording of Owl; it has Dog"):
        usable([clip("a", ["Dog"]), clip("b", ["Owl"], "val")], ["Dog", "Owl"], "bce")
    with pytest.raises(HtsatEdgeError, match="holds back no recording of any label"):
        usable([clip("a", ["Dog"])], ["Dog"], "bce")


def test_a_clip_is_read_whole_and_as_finely_as_half_precision(recordings):
    samples, _ = soundfile.read(recordings[1], dtype="float32")
    log_mel = read_log_mel(recordings[1], FrontEnd())
    assert (log_mel.dtype, log_mel.shape) == (np.float16, (1101, 64))
    np.testing.assert_allclose(log_mel, LogMel(FrontEnd())(samples), atol=0.032)


def test_a_clip_of_a_few_samples_is_silence_for_the_rest(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(10), RATE)
    assert read_log_mel(tmp_path / "a.wav", FrontEnd()).shape[1] == 64


def test_what_does_not_fit_into_memory_is_read_anew_and_is_the_same(recordings, monkeypatch, capsys):
    clips = [clip(path, ["Dog"]) for path in recordings]
    kept = Spectrograms(clips, FrontEnd(), "reading")
    monkeypatch.setattr("htsat_edge.htsat.clips.memory", lambda: 100)
    read = Spectrograms(clips, FrontEnd(), "reading")
    assert (kept.in_memory, read.in_memory) == (True, False)
    assert "GB of spectrograms; they are read anew whenever they are drawn" in capsys.readouterr().out
    for i in range(2):
        np.testing.assert_array_equal(kept[i], read[i])


def test_short_clips_are_repeated_as_by_the_runtime():
    rng = np.random.default_rng(0)
    for frames in (1, 2, 101, 501, 700, 1001, 1024):
        log_mel = rng.standard_normal((frames, 64)).astype(np.float32)
        np.testing.assert_allclose(fill_window(rng, log_mel, shift=False), tile(log_mel, 1024), atol=1e-5)
        (window,) = windows_of(log_mel)
        np.testing.assert_allclose(window, tile(log_mel, 1024), atol=1e-5)


def test_a_shifted_clip_is_rolled_and_a_long_one_cropped():
    rng = np.random.default_rng(0)
    ramp = np.repeat(np.arange(512, dtype=np.float32)[:, None], 64, axis=1)
    window = fill_window(rng, ramp, shift=True)
    begin = int(window[0, 0])
    assert begin > 0
    np.testing.assert_array_equal(window[:, 5], (np.arange(1024) + begin) % 512)
    ramp = np.repeat(np.arange(3000, dtype=np.float32)[:, None], 64, axis=1)
    begins = [int(fill_window(rng, ramp, shift=False)[0, 0]) for _ in range(200)]
    assert min(begins) < 100
    assert 1876 < max(begins) <= 1976


def test_a_long_clip_is_measured_in_windows_of_which_the_last_is_its_end():
    ramp = np.repeat(np.arange(2500, dtype=np.float32)[:, None], 64, axis=1)
    assert [int(window[0, 0]) for window in windows_of(ramp)] == [0, 1024, 2500 - 1024]
    assert [int(window[0, 0]) for window in windows_of(ramp[:2048])] == [0, 1024]
    assert {len(window) for window in windows_of(ramp)} == {1024}


def test_balance_draws_every_class_equally_often_and_none_as_one_more():
    targets = np.array([[1, 0]] * 6 + [[0, 1]] + [[1, 1]] + [[0, 0]] * 2, bool)
    shares = draw_shares(targets, 1)
    assert shares.sum() == pytest.approx(1)
    expected = [1 / 7 / 3] * 6 + [1 / 2 / 3] + [(1 / 7 + 1 / 2) / 3] + [1 / 2 / 3] * 2
    assert shares == pytest.approx(expected)
    assert draw_shares(targets, 0) == pytest.approx([0.1] * 10)
    assert draw_shares(targets, 0.5) == pytest.approx(0.5 * shares + 0.05)
    assert draw_shares(targets[:7], 1) == pytest.approx([1 / 12] * 6 + [1 / 2])  # each has a class


def test_rare_classes_are_drawn_as_often_as_common_ones():
    targets = [[1, 0]] * 30 + [[0, 1]] * 2
    even = batches(targets, batch=400)[0][1].mean(0)
    balanced = batches(targets, batch=400, augment={"balance": 1})[0][1].mean(0)
    assert even[1] == pytest.approx(2 / 32, abs=0.04)
    assert balanced[1] == pytest.approx(0.5, abs=0.08)


def test_a_mixture_has_the_classes_of_both_by_their_share():
    log_mel, target = batches(np.eye(2), batch=300, augment={"mixup": 0.5})[0]
    share = target[:, 1]  # the clips are as loud as their numbers, 0 and 1
    torch.testing.assert_close(target.sum(1), torch.ones(300))
    torch.testing.assert_close(log_mel[:, 0, 0], share)
    mixed = (share > 0.001) & (share < 0.999)
    assert 0.35 < mixed.float().mean() < 0.65  # half of the pairs are of one clip
    assert share.mean() == pytest.approx(0.5, abs=0.08)
    pure = batches(np.eye(2), batch=300, augment={"mixup": 0.5, "mixup_share": 0})[0][1]
    assert set(pure.flatten().tolist()) == {0, 1}


def test_gain_moves_levels_but_never_below_the_floor():
    config = {"batch": 100, "augment": {"gain_db": 6}}
    log_mel, _ = batches([[1]], **config)[0]
    assert -6 <= log_mel.min() < -5
    assert 5 < log_mel.max() <= 6
    assert torch.equal(log_mel[:, 0, 0], log_mel[:, 1000, 63])  # of the whole clip
    quiet = batches([[1]], **config)
    quiet._spectrograms = [np.full((500, 64), -98, np.float16)]
    assert quiet[0][0].min() == -100


def test_masks_hide_stripes():
    ramps = batches([[1]], batch=50, augment={"time_masks": [2, 64], "band_masks": [2, 8]})
    ramps._spectrograms = [np.repeat(np.arange(64, dtype=np.float16)[None], 1024, axis=0)]
    log_mel, _ = ramps[0]
    hidden = log_mel != torch.arange(64)
    assert 0 < hidden[:, 0].float().mean() < 0.25  # bands, and where the first frame is masked, all
    assert hidden.all(2).float().mean() == pytest.approx(2 * 32 / 1024, abs=0.02)


def test_batches_are_the_same_in_any_process_and_part():
    one = batches(np.eye(6), batch=6, augment={"mixup": 0.5, "gain_db": 3, "time_masks": [1, 30]})
    whole = [one[step] for step in (4, 3)][::-1]
    elsewhere = list(DataLoader(one, batch_size=None, sampler=range(3, 5), num_workers=2))
    torch.testing.assert_close(whole, [tuple(batch) for batch in elsewhere])
    for part in (slice(0, 2), slice(2, 6)):
        one._part = part
        for found, wanted in zip(one[3], whole[0], strict=True):
            assert torch.equal(found, wanted[part])
    assert not torch.equal(whole[0][0], whole[1][0])
