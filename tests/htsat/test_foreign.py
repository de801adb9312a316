"""What fires falsely is counted as the runtime would report it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.foreign import (
    HIGHEST,
    HeardSound,
    count_foreign,
    hear,
    model_of,
    raise_over_foreign,
    raise_over_kinds,
)
from htsat_edge.htsat.network import HTSAT
from htsat_edge.htsat.scenes import load_sound
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.backends.backend import Scores

LABELS = ["a", "b"]
MODEL = model_of(FrontEnd(), LABELS)


def heard(kind, group, a, b):
    """A recording of a window's length in which two classes score so high throughout."""
    window = Window(0, np.zeros((0, 64), np.float32), 1024, heard_s=10.24)
    framewise = np.tile(np.array([a, b], np.float32), (32, 1))
    return HeardSound(Recording(Path("x"), kind, group, "test"), ((window, framewise),))


def at(a, b):
    return MODEL.model_copy(update={"thresholds": {"a": a, "b": b}})


@pytest.mark.parametrize("onset_s", [0, 0.5, 12])
def test_it_is_what_a_detector_reports(farmyard, tmp_path, onset_s):
    """Also of recordings that are shorter or longer than a window."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    soundfile.write(tmp_path / "x.wav", samples[int(onset_s * rate) : 15 * rate], rate)
    torch.manual_seed(0)
    small = NetworkConfig(embed_dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), classes=2, frequency_bias=True)
    network = HTSAT(small).eval()

    class Torch:
        def infer(self, log_mel):
            with torch.no_grad():
                output = network(torch.from_numpy(log_mel))
            return Scores(output.framewise.numpy(), output.clipwise.numpy(), None, None)

    sound = load_sound(Recording(tmp_path / "x.wav", "background", "x", "test"), MODEL.front_end, speeds=(1.0,))
    (one,) = hear(network, [sound], MODEL, "hearing")
    samples, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
    found = []
    for threshold in np.quantile([framewise for _, framewise in one.scores], [0.5, 0.9, 0.99, 1.0]):
        model = at(float(threshold), float(threshold))
        detector = Detector(model, Torch(), rate)
        events = [*detector.push(samples), *detector.flush()]
        found.append({event.label for event in events if isinstance(event, EventStart)})
        assert one.reported(model) == found[-1]
    assert found[0] != found[-1]


def test_thresholds_rise_alike_until_few_fire():
    others = [heard("Owl", str(i), score, 0.1) for i, score in enumerate([0.2, 0.6, 0.7, 0.9])]
    raised = raise_over_foreign(at(0.5, 0.3), others, most=0.25)
    assert 0.7 < raised.threshold_of("a") < 0.75
    logits = [np.log(t / (1 - t)) for t in (0.5, raised.threshold_of("a"), 0.3, raised.threshold_of("b"))]
    assert logits[1] - logits[0] == pytest.approx(logits[3] - logits[2], abs=0.06)
    assert raise_over_foreign(at(0.95, 0.3), others, most=0).thresholds == {"a": 0.95, "b": 0.3}
    assert raise_over_foreign(at(0.5, 0.3), [heard("Owl", "x", 1, 1)], most=0).thresholds == {"a": HIGHEST, "b": 0.98}


def test_a_common_kind_is_not_taken_for_one_class():
    """Of 40 recordings of speech two may fire; owls are too few to say anything, and class b is left as it is."""
    speech = [heard("Speech", str(i), 0.5 + i / 100, 0.1) for i in range(40)]
    owls = [heard("Owl", str(i), 0.99, 0.99) for i in range(19)]
    raised = raise_over_kinds(at(0.5, 0.3), [*speech, *owls])
    assert 0.87 < raised.threshold_of("a") <= 0.88
    assert raised.threshold_of("b") == 0.3


def test_foreign_sounds_are_counted_by_kind_and_by_what_they_are_taken_for():
    others = [heard("Owl", "x", 0.9, 0.9), heard("Owl", "x", 0.1, 0.1), heard("Saw", "y", 0.1, 0.9)]
    figures = count_foreign(others, at(0.5, 0.5))
    assert (figures.recordings, figures.groups, figures.fired) == (3, 2, 2)
    assert figures.reported == {"a": 1, "b": 2}
    assert figures.kinds == {"Owl": (1, 2), "Saw": (1, 1)}
    assert (figures.share.low, figures.share.high) == (0.5, 1)  # groups are drawn whole
    assert figures.line() == "2 of 3 recordings of 2 other kinds of sound raise an event (66.7 %; 50–100 %)"
    assert figures.by_class() == "b 2; a 1"
    assert figures.by_kind() == "Saw 1 of 1; Owl 1 of 2"
