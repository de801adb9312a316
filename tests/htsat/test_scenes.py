import numpy as np
import pytest

from htsat.corpus import BACKGROUND, Recording
from htsat.scenes import SceneMaker, Sound, colour, mask_bands, reverberate
from runtime.features import FrontEnd


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


def test_a_target_is_where_the_sound_is(maker):
    """A loud event raises its band in just the steps that its class is active in."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        power = np.full((1024, 64), 1e-6, np.float32)
        active = np.zeros((1024, 2), np.float32)
        event = sound("Bird", 400, band=40).power[0]
        onset = int(rng.integers(-200, 900))
        maker._place(power, active, event, onset, 1)
        np.testing.assert_array_equal(power[:, 40] > 0.5, active[:, 1] == 1)
        assert active[:, 0].sum() == 0


def test_no_events_no_targets(maker):
    assert maker.mixture(np.random.default_rng(0), (0, 0)).target.sum() == 0


def test_a_tiled_scene_is_one_label_from_end_to_end(maker):
    rng = np.random.default_rng(0)
    for _ in range(20):
        target = maker.tiled(rng).target
        assert (target.sum(axis=1) == 1).all()
        assert (target == target[0]).all()


def test_the_same_seed_is_the_same_scene(maker):
    first, second = (maker.mixture(np.random.default_rng(7), (2, 5)) for _ in range(2))
    np.testing.assert_array_equal(first.log_mel, second.log_mel)
    np.testing.assert_array_equal(first.target, second.target)


def test_large_groups_do_not_dominate():
    sounds = [sound("Dog", 20, group="large", band=1) for _ in range(100)] + [sound("Dog", 20, group="small", band=2)]
    maker = SceneMaker(sounds, ["Dog"], FrontEnd())
    rng = np.random.default_rng(0)
    drawn = [maker._draw(rng, "Dog").recording.group for _ in range(2000)]
    assert drawn.count("small") / 2000 == pytest.approx(1 / 11, abs=0.03)  # weights 10 and 1


def test_colour_and_reverberation_keep_the_shape_of_power():
    rng = np.random.default_rng(0)
    power = sound("Dog", 50).power[0]
    for _ in range(20):
        coloured, wet = colour(rng, power), reverberate(rng, power)
        assert coloured.shape == power.shape
        assert (coloured > 0).all()
        assert len(wet) == 80
        assert (np.diff(wet[50:].sum(axis=1)) < 0).all()  # the tail decays


def test_masks_fill_bands_and_a_span():
    log_mel = np.random.default_rng(0).normal(-40, 10, (1024, 64)).astype(np.float32)
    before = log_mel.copy()
    mask_bands(np.random.default_rng(3), log_mel)
    changed = log_mel != before
    assert 0 < changed.mean() < 0.35
    assert np.ptp(log_mel[changed]) == 0
