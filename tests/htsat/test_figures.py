import numpy as np
import torch

from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.figures import Outputs, apply, held_scenes, room_tone
from htsat_edge.htsat.network import NetworkOutput
from htsat_edge.htsat.scenes import Sound
from htsat_edge.runtime.dsp.log_mel import FrontEnd


class KnowsBands(torch.nn.Module):
    """Stands for a perfect model of sounds that fill one mel band each: band 10 k + 5 for class k."""

    def forward(self, log_mel):
        bands = log_mel[..., [5, 15]] - log_mel.mean(-1, keepdim=True)
        framewise = (bands.unflatten(1, (32, 32)).mean(2) / 10).sigmoid()
        return NetworkOutput(framewise, framewise, framewise.mean(1), framewise, framewise)


def sound(label, band):
    power = np.full((400, 64), 1e-12, np.float32)
    power[:, band] = 1
    return Sound(Recording(path=None, label=label, group=label, split="val"), (power,))


def test_a_perfect_model_has_perfect_figures():
    sounds = [sound("a", 5), sound("b", 15)]
    scenes = held_scenes(sounds, ["a", "b", "c"], FrontEnd(), 20)
    outputs = apply(KnowsBands(), sounds, scenes, ["a", "b"])
    assert outputs.framewise.shape == (20, 32, 2)
    np.testing.assert_array_equal(outputs.confusion(), [[1, 0], [0, 1]])
    assert outputs.summary()["accuracy"] == outputs.summary()["clip_map"] == 1
    assert outputs.summary()["frame_map"] > 0.9


def test_room_tone_is_stationary_and_most_of_it_has_a_background_where_there_are_some():
    """The background is a tone in band 5."""
    alone, over = (room_tone(FrontEnd(), 20, 1, backgrounds) for backgrounds in ((), [sound(BACKGROUND, 5)]))
    assert not any(scene.events for scene in alone + over)

    def tones(scenes):
        return sum(scene.log_mel[:, 5].mean() > scene.log_mel[:, [4, 6]].mean() + 10 for scene in scenes)

    assert tones(alone) == 0
    assert 10 <= tones(over) < 20


def test_a_class_of_which_nothing_is_held_is_left_out_of_the_means():
    sounds = [sound("a", 5)]
    outputs = apply(KnowsBands(), sounds, held_scenes(sounds, ["a", "b"], FrontEnd(), 5), ["a", "b"])
    assert np.isnan(outputs.accuracy()[1])
    assert outputs.summary()["accuracy"] == 1


def test_confusion_of_a_worked_example():
    clipwise = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.4]], np.float32)
    outputs = Outputs(clipwise, np.array([0, 0, 1, 1]), np.zeros((1, 32, 2)), np.zeros((1, 32, 2), bool))
    np.testing.assert_array_equal(outputs.confusion(), [[1, 1], [1, 1]])
    np.testing.assert_array_equal(outputs.accuracy(), [0.5, 0.5])
