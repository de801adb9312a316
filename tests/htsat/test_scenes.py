import itertools

import numpy as np
import pytest

from htsat_edge.htsat.corpus import BACKGROUND, Recording
from htsat_edge.htsat.scenes import SceneMaker, Sound
from htsat_edge.htsat.settings import Mix
from htsat_edge.runtime.dsp.log_mel import FrontEnd


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


def test_a_share_of_the_backgrounds_is_another_sound_and_of_the_scenes_is_heard_through_a_microphone():
    sounds = [sound("Dog", 50, band=10), sound(BACKGROUND, 300, band=60), sound("Bell", 80)]
    maker = SceneMaker(sounds, ["Dog"], FrontEnd(), mix=Mix(others_as_background=0.3))
    rng = np.random.default_rng(0)
    bells = np.mean([maker._background(rng)[0, 20] == 1 for _ in range(400)])
    assert bells == pytest.approx(0.3, abs=0.08)

    power, active = np.ones((1024, 64), np.float32), np.zeros((1024, 1), bool)
    maker = SceneMaker(sounds, ["Dog"], FrontEnd(), mix=Mix(device_share=0.4))
    coloured = np.mean([np.ptp(maker._finish(rng, power, active).log_mel) > 1 for _ in range(200)])
    assert coloured == pytest.approx(0.4, abs=0.1)
    assert (power == 1).all()


def test_groups_are_drawn_as_the_random_generator_would():
    """The same training file gives the same scenes as before."""
    sounds = [sound("Dog", 50, group) for group in "aabccc"]
    maker = SceneMaker(sounds, ["Dog"], FrontEnd())
    weights = np.sqrt([2, 1, 3])
    ours, plain = np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(50):
        number = plain.choice(3, p=weights / weights.sum())
        assert maker._shares["Dog"].searchsorted(ours.random(), side="right") == number


def test_events_are_where_the_sound_is(maker):
    """A loud event raises its band in just the frames that its occurrences cover."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        power = np.full((1024, 64), 1e-6, np.float32)
        active = np.zeros((1024, 2), bool)
        event = sound("Bird", 400, band=40).power[0]
        maker._place(power, active, event, int(rng.integers(-200, 900)), 1)
        np.testing.assert_array_equal(power[:, 40] > 0.5, active[:, 1])
        ((label, begin, end),) = maker._runs(active)
        covered = np.zeros(1024, bool)
        covered[begin:end] = True
        np.testing.assert_array_equal(covered, active[:, 1])
        assert label == 1


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
    assert maker._runs(active) == [(0, 0, 30), (0, 45, 60), (0, 100, 1024)]


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
    loudest = [maker._ambience.draw(rng)[:, 30].argmax() for _ in range(60)]
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
    assert set(counts) == {0, 1, 2}  # none where the sound is of no label


def test_a_scene_without_labels_is_of_other_sounds(maker):
    rng = np.random.default_rng(0)
    scenes = [maker.mixture(rng, (1, 3), labelled=False) for _ in range(20)]
    assert not any(scene.target.any() or scene.events for scene in scenes)
    tones = [scene.log_mel[:, 20].max() - scene.log_mel[:, 15].max() for scene in scenes]
    assert np.median(tones) > 10  # the bell


@pytest.mark.parametrize(
    ("begin", "end", "steps"),
    [(0, 1024, (0, 32)), (10, 100, (0, 3)), (20, 80, (1, 2)), (40, 45, (1, 2)), (1020, 1024, (31, 32))],
)
def test_a_target_may_begin_and_end_at_the_nearest_steps(begin, end, steps):
    maker = SceneMaker([sound("Dog", 50)], ["Dog"], FrontEnd(), mix=Mix(nearest_steps=True))
    active = np.zeros((1024, 1), bool)
    active[begin:end] = True
    scene = maker._finish(np.random.default_rng(0), np.ones((1024, 64), np.float32), active)
    assert np.flatnonzero(scene.target[:, 0]).tolist() == list(range(*steps))
    (event,) = scene.events
    assert (event.onset_s, event.offset_s) == pytest.approx((begin / 100, end / 100))


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
