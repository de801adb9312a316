"""How soon sounds are reported, with a model that is always right."""

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.latency import Outcome, Report, listen, match, scorer
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info.model_copy(update={"median_steps": {}, "thresholds": {}})
DOG, CAT = INFO.labels[:2]
RATE = 16_000
POINTS = [
    Settings(hop_s=hop_s, look_ahead_s=ahead_s, early_margin=margin)
    for hop_s in (0.32, 0.64)
    for ahead_s, margin in ((0.0, None), (1.28, None), (1.28, 1.0))
]


class Loud:
    """Gives the first class a score of 0.9 in the steps that are loud, and counts the windows."""

    def __init__(self):
        self.windows = []

    def infer(self, log_mel):
        self.windows += [window.tobytes() for window in log_mel]
        framewise = np.zeros((len(log_mel), INFO.steps, len(INFO.labels)), np.float32)
        levels = log_mel.reshape(len(log_mel), INFO.steps, -1).mean(axis=2)
        framewise[..., 0] = np.where(levels > -50, 0.9, 0.0)
        return Scores(framewise, framewise.max(axis=1), np.zeros((len(log_mel), 1), np.float32))

    def close(self):
        pass


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Write 25 s that are loud in three places."""
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 1e-4, 25 * RATE)
    for begin_s, end_s in ((3.0, 4.5), (14.1, 15.0), (20.0, 22.0)):
        samples[round(begin_s * RATE) : round(end_s * RATE)] *= 1000
    path = tmp_path_factory.mktemp("latency") / "loud.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def slowly(path, settings, begin_s=0.0):
    """The starts and ends that a detector gives in turn, with what was heard by then."""
    file = AudioFile(path)
    (samples,) = file.blocks(file.samples)
    samples = samples[round(begin_s * RATE) :]
    detector = Detector(INFO, Loud(), RATE, settings)
    starts, ends = {}, {}
    for at in range(0, len(samples) + 320, 320):
        events = detector.push(samples[at : at + 320]) if at < len(samples) else detector.flush()
        for event in events:
            if event.type == "start":
                starts[event.id] = (event.onset + begin_s, detector.duration_s + begin_s)
            else:
                ends[event.id] = Occurrence(event.onset + begin_s, event.offset + begin_s, event.label)
    return [Report(DOG, *starts[number], ends[number]) for number in ends]


def flat(reports):
    return [number for r in reports for number in (r.start_s, r.heard_s, r.event.onset_s, r.event.offset_s)]


def test_it_reports_what_a_detector_would_and_when(recording):
    found = listen(recording, INFO, POINTS, scorer(Loud()))
    assert (found.duration_s, found.gap_s) == (25, 12.5)
    for settings, whole, after_gap in zip(POINTS, found.whole, found.after_gap, strict=True):
        assert [report.label for report in whole + after_gap] == [DOG] * 5
        assert flat(whole) == pytest.approx(flat(slowly(recording, settings)))
        assert flat(after_gap) == pytest.approx(flat(slowly(recording, settings, 12.5)))


def test_a_larger_look_ahead_or_hop_reports_later_unless_starts_are_early(recording):
    """The sound at 14.1 s begins in the step from 14.08 s on; its event ends with the step that ends at 15.04 s."""
    found = listen(recording, INFO, POINTS, scorer(Loud()))
    assert {own[1].event for own in found.whole} == {Occurrence(14.08, 15.04, DOG)}
    (at_once, late, early), (at_once_2, _, _) = np.array([own[1].heard_s for own in found.whole]).reshape(2, 3)
    assert 14.4 < early <= at_once < 14.4 + 0.32 + 0.1  # a step, a hop, half a frame and a block of frames
    assert late == pytest.approx(at_once + 1.28, abs=0.2)  # windows lie on quarters of a step
    assert at_once_2 <= at_once + 0.32 + 0.1


@pytest.mark.parametrize("block_s", [0.013, 0.5, 30.0])
def test_it_does_not_depend_on_how_the_recording_is_read(recording, block_s):
    points = POINTS[1:3]
    assert listen(recording, INFO, points, scorer(Loud()), block_s) == listen(recording, INFO, points, scorer(Loud()))


def test_each_window_is_scored_once(recording):
    alone, together = Loud(), Loud()
    listen(recording, INFO, POINTS[:1], scorer(alone))
    listen(recording, INFO, POINTS, scorer(together))
    assert set(alone.windows) <= set(together.windows)
    assert len(together.windows) == len(set(together.windows))


def test_a_recording_that_is_too_short_has_no_second_half_or_nothing(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.full(15 * RATE, 0.001), RATE)
    found = listen(tmp_path / "short.wav", INFO, POINTS[:1], scorer(Loud()))
    assert (found.gap_s, found.after_gap) == (None, [[]])
    soundfile.write(tmp_path / "none.wav", np.zeros(100), RATE)
    with pytest.raises(HtsatEdgeError, match=r"none\.wav: 6\.2 ms are too short"):
        listen(tmp_path / "none.wav", INFO, POINTS[:1], scorer(Loud()))


def report(start_s, heard_s, offset_s=None, label=DOG):
    return Report(label, start_s, heard_s, Occurrence(start_s, start_s + 1 if offset_s is None else offset_s, label))


BARK, SECOND = Occurrence(10.0, 12.0, DOG), Occurrence(13.0, 14.0, DOG)


@pytest.mark.parametrize(
    ("reports", "outcomes", "alarms"),
    [
        ([], [Outcome(BARK, False, None), Outcome(SECOND, False, None)], 0),
        ([report(10.24, 11.5)], [Outcome(BARK, True, 1.5), Outcome(SECOND, False, None)], 0),
        ([report(9.0, 9.5)], [Outcome(BARK, True, -0.5), Outcome(SECOND, False, None)], 0),
        ([report(8.9, 10.5)], [Outcome(BARK, False, None), Outcome(SECOND, False, None)], 1),
        # However late it comes, its onset says where it belongs.
        ([report(10.0, 19.0)], [Outcome(BARK, True, 9.0), Outcome(SECOND, False, None)], 0),
        # Between two sounds, to the nearest.
        ([report(12.75, 14.0, 13.5)], [Outcome(BARK, False, None), Outcome(SECOND, True, 1.0)], 0),
        # One event for both: one alert.
        ([report(10.0, 11.0, 13.5)], [Outcome(BARK, True, 1.0), Outcome(SECOND, True, None)], 0),
        # The first of several counts, and the others are not false.
        ([report(11.5, 12.5), report(10.0, 11.0)], [Outcome(BARK, True, 1.0), Outcome(SECOND, False, None)], 0),
        # A false alarm that goes on into a sound has not found it.
        ([report(5.0, 6.0, 13.5)], [Outcome(BARK, False, None), Outcome(SECOND, False, None)], 1),
        ([report(10.0, 11.0, 13.5, CAT)], [Outcome(BARK, False, None), Outcome(SECOND, False, None)], 1),
    ],
)
def test_a_start_belongs_to_the_nearest_sound_of_its_class(reports, outcomes, alarms):
    assert match([BARK, SECOND], reports) == (outcomes, alarms)
