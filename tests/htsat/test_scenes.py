import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.htsat.corpus import BACKGROUND, Recording
from htsat_edge.htsat.scenes import (
    SceneMaker,
    Sound,
    borrow_spectrum,
    change_contrast,
    colour,
    crop,
    layer,
    mask_bands,
    reverberate,
    stretch,
)
from htsat_edge.runtime.dsp.log_mel import FrontEnd, to_db


def sound(label, frames, group="a", band=20):
    """A sound that fills one mel band."""
    power = np.full((frames, 64), 1e-8, np.float32)
    power[:, band] = 1
    return Sound(Recording(path=None, label=label, group=group, split="train"), (power,))


@pytest.fixture
def maker():
    sounds = [
        sound("Dog", 50, band=10),
        sound("Bird", 400, band=40),
        sound(BACKGROUND, 300, band=60),
        sound("Bell", 80),
    ]
    return SceneMaker(sounds, ["Dog", "Bird"], FrontEnd())


def test_scenes_are_clips_with_targets_for_the_labels(maker):
    rng = np.random.default_rng(0)
    scenes = [maker.mixture(rng, (0, 4)) for _ in range(40)]
    for scene in scenes:
        assert scene.log_mel.shape == (1024, 64)
        assert scene.target.shape == (32, 2)
        assert np.isfinite(scene.log_mel).all()
        assert scene.log_mel.min() >= -100.001
        assert 0 <= scene.target.min() <= scene.target.max() <= 1
    assert 0.02 < np.mean([scene.target.mean() for scene in scenes]) < 0.5


def test_events_are_where_the_sound_is(maker):
    """A loud event raises its band in just the frames that its occurrences cover."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        power = np.full((1024, 64), 1e-6, np.float32)
        active = np.zeros((1024, 2), bool)
        event = sound("Bird", 400, band=40).power[0]
        maker._place(power, active, event, int(rng.integers(-200, 900)), 1)
        np.testing.assert_array_equal(power[:, 40] > 0.5, active[:, 1])
        (bird,) = maker._occurrences(active)
        covered = np.zeros(1024, bool)
        covered[round(bird.onset_s * 100) : round(bird.offset_s * 100)] = True
        np.testing.assert_array_equal(covered, active[:, 1])
        assert bird.label == "Bird"


def test_events_of_a_class_do_not_overlap_and_fill_their_steps(maker):
    rng = np.random.default_rng(2)
    for scene in (maker.mixture(rng, (4, 8)) for _ in range(20)):
        for k, label in enumerate(["Dog", "Bird"]):
            own = [event for event in scene.events if event.label == label]
            assert all(b.onset_s - a.offset_s > 0.149 for a, b in itertools.pairwise(own))
            total = sum(event.offset_s - event.onset_s for event in own)
            share = scene.target[:, k] / 2
            assert share.sum() * 0.32 <= total + 1e-6  # a target is full from half a step on
            assert (total > 0) == share.any()


def test_events_with_hardly_a_pause_between_them_are_one(maker):
    active = np.zeros((1024, 2), bool)
    for begin, end in [(0, 10), (24, 30), (45, 60), (100, 1024)]:  # pauses of 0.14, 0.15 and 0.4 s
        active[begin:end, 0] = True
    spans = [(event.onset_s, event.offset_s) for event in maker._occurrences(active)]
    assert spans == [pytest.approx(span) for span in [(0, 0.3), (0.45, 0.6), (1, 10.24)]]


def test_what_is_not_labelled_is_mixed_in_now_and_then():
    maker = SceneMaker([sound("Dog", 50), sound("Bell", 80, band=30)], ["Dog"], FrontEnd(), augment=False)
    rng = np.random.default_rng(0)
    drawn = [maker._any(rng) for _ in range(2000)]
    assert drawn.count("Bell") / 2000 == pytest.approx(0.1, abs=0.02)


def test_every_part_of_a_long_background_is_used():
    """Frames of a level each, so that a scene shows which it has."""
    power = np.repeat(10 ** (np.arange(3000, dtype=np.float32) / 500 - 3)[:, None], 64, axis=1)
    maker = SceneMaker([Sound(Recording(None, BACKGROUND, "x", "train"), (power,))], [], FrontEnd())
    rng = np.random.default_rng(0)
    loudest = [maker._background(rng)[:, 30].argmax() for _ in range(60)]
    assert len({frame // 100 for frame in loudest}) > 5


def test_without_augmentation_a_sound_is_as_recorded():
    original = sound("Dog", 300).power[0]
    maker = SceneMaker([sound("Dog", 300)], ["Dog"], FrontEnd(), augment=False)
    np.testing.assert_array_equal(maker._event(np.random.default_rng(0), "Dog"), original)


def test_no_events_no_targets(maker):
    assert maker.mixture(np.random.default_rng(0), (0, 0)).target.sum() == 0


def test_a_tiled_scene_sounds_from_end_to_end(maker):
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(30):
        target = maker.tiled(rng).target
        assert (target == target[0]).all()
        counts.append(int(target[0].sum()))
    assert set(counts) == {1, 2}


def test_the_same_seed_is_the_same_scene(maker):
    first, second = (maker.mixture(np.random.default_rng(7), (2, 5)) for _ in range(2))
    np.testing.assert_array_equal(first.log_mel, second.log_mel)
    np.testing.assert_array_equal(first.target, second.target)


def test_large_groups_do_not_dominate():
    sounds = [sound("Dog", 20, group="large", band=1) for _ in range(100)] + [sound("Dog", 20, group="small", band=2)]
    maker = SceneMaker(sounds, ["Dog"], FrontEnd())
    rng = np.random.default_rng(0)
    small = [maker._draw(rng, "Dog")[0].argmax() == 2 for _ in range(2000)]
    assert np.mean(small) == pytest.approx(1 / 11, abs=0.03)  # weights 10 and 1


def test_colour_and_reverberation_keep_the_shape_of_power():
    rng = np.random.default_rng(0)
    power = sound("Dog", 50).power[0]
    for _ in range(20):
        coloured, wet = colour(rng, power), reverberate(rng, power)
        assert coloured.shape == power.shape
        assert (coloured > 0).all()
        assert len(wet) == 80
        assert (np.diff(wet[50:].sum(axis=1)) < 0).all()  # the tail decays


def noisy(frames, seed=0):
    return np.random.default_rng(seed).gamma(2, 1, (frames, 64)).astype(np.float32)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(5, 1200))
def test_variations_stay_sounds(seed, frames):
    rng, power = np.random.default_rng(seed), noisy(frames)
    for varied in (
        crop(rng, power),
        layer(rng, power, noisy(700, 1)),
        stretch(power, 77),
        change_contrast(rng, power),
        borrow_spectrum(rng, power, noisy(20, 2)),
    ):
        assert varied.dtype == np.float32
        assert varied.shape[1] == 64
        assert (varied > 0).all()
        assert np.isfinite(varied).all()


def test_contrast_scales_what_is_around_each_bands_mean():
    power = noisy(500)
    around = to_db(power) - to_db(power.mean(axis=0))
    varied = to_db(change_contrast(np.random.default_rng(1), power)) + to_db(power.max())
    factor, offset = np.polyfit(around.ravel(), (varied - to_db(power.mean(axis=0))).ravel(), 1)
    assert 0.7 <= factor <= 1.25
    assert offset == pytest.approx(0, abs=1e-3)


def test_a_borrowed_spectrum_lies_between_the_two():
    power, other = noisy(400), noisy(400, 1) * np.linspace(0.1, 3, 64, dtype=np.float32)
    own, wanted = (to_db(x.mean(axis=0)) - to_db(x.mean(axis=0)).mean() for x in (power, other))
    borrowed = to_db(borrow_spectrum(np.random.default_rng(0), power, other).mean(axis=0))
    share = np.polyfit(wanted - own, borrowed - borrowed.mean() - own, 1)[0]
    assert 0.05 < share < 0.5


def test_a_long_sound_is_cropped_and_a_short_one_is_not():
    rng = np.random.default_rng(0)
    assert {len(crop(rng, noisy(120))) for _ in range(20)} == {120}
    lengths = {len(crop(rng, noisy(900))) for _ in range(30)}
    assert max(lengths) == 900
    assert 360 <= min(lengths) < 700


def test_masks_fill_bands_and_a_span():
    log_mel = np.random.default_rng(0).normal(-40, 10, (1024, 64)).astype(np.float32)
    before = log_mel.copy()
    mask_bands(np.random.default_rng(3), log_mel)
    changed = log_mel != before
    assert 0 < changed.mean() < 0.35
    assert np.ptp(log_mel[changed]) == 0
