import json
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.archive.hearing import SpanHearer
from htsat_edge.runtime.archive.records import HearingSettings
from htsat_edge.runtime.archive.spans import unpack
from htsat_edge.runtime.commands.detect_config import Hearing
from htsat_edge.runtime.commands.detect_session import Player
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings

RATE = 32_000
RULES = {
    "suppress": {"class 3": {"while": ["class 1", "class 2"], "within_s": 1.0}},
    "cooldown_s": {"class 4": 4.0},
}


class Sensitive:
    """Stands for a model: its scores depend on every frame of a window and on where in the window it lies."""

    def __init__(self, info):
        self._steps, self._classes = info.steps, len(info.labels)
        self.windows = 0

    def infer(self, log_mel):
        self.windows += len(log_mel)
        means = np.array([part.mean(axis=1) for part in np.array_split(log_mel, self._steps, axis=1)])
        means = means.transpose(1, 0, 2)[..., : self._classes]
        whole = log_mel.mean(axis=(1, 2))[:, None, None]
        place = np.arange(self._steps, dtype=np.float32)[:, None] / 7
        framewise = 0.5 + 0.5 * np.sin(means / 4 + whole / 3 + place)
        return Scores(framewise.astype(np.float32), framewise.mean(axis=1), np.zeros((len(log_mel), 1), np.float32))

    def close(self):
        pass


@pytest.fixture(scope="module")
def bundle(tiny_bundle, tmp_path_factory):
    """A bundle without a graph, whose classes have median filters."""
    folder = tmp_path_factory.mktemp("medians")
    content = json.loads((tiny_bundle / "model.json").read_text())
    content |= {"median_steps": {"class 0": 3, "class 5": 7}, "quantization": None}
    (folder / "model.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def info(bundle):
    return load_bundle(bundle).info


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Write noise that swells, so many samples of so many channels; return the path."""
    folder = tmp_path_factory.mktemp("noisy")

    def make(samples, channels=1, rate=RATE, name="x.wav", subtype="PCM_16"):
        rng = np.random.default_rng(samples)
        at = np.arange(samples)[:, None] / rate
        swell = 0.1 + 0.09 * np.sin(at * (0.7 + np.arange(channels)))
        path = folder / name
        soundfile.write(path, rng.normal(0, 1, (samples, channels)) * swell, rate, subtype)
        return path

    return make


def hearing(bundle, detection, info, **changed):
    shown = tuple(detection.reported(info))
    return HearingSettings(bundle, replace(detection, early_margin=None), shown, **changed)


def hear(hearer, path):
    spans = hearer.plan(path)
    return [hearer.hear(span) for span in spans]


def found_by_detect(path, how, info):
    """The events that `detect` finds without early starts, channel by channel; and what is wrong with the recording."""
    config = DaemonConfig(rules=how.rules)
    player = Player(info, Scorer(Sensitive(info), info.front_end, how.gate_dbfs), config)
    played = player.play(
        AudioFile(path),
        Hearing(how.source, how.detection, how.detection.classes(info), how.shown),
        how.start,
        how.channel,
    )
    number = {"mix": 0, "loudest": 0, "first": 1}.get(how.channel, how.channel)
    return [
        (
            one.duration_s,
            [
                (channel if how.channel == "each" else number, event.label, event.onset, event.offset, event.score)
                for event in sorted(one.events, key=lambda event: (event.onset, event.label))
                if event.type == "end"
            ],
            one.failure,
        )
        for channel, one in enumerate(played, 1)
    ]


def all_scores(heard, index=0, classes=10):
    return np.concatenate([block.scores for one in heard for block in unpack(one.packed[index], classes)])


detections = st.builds(
    Settings,
    hop_s=st.sampled_from([0.08, 0.32, 0.5, 1.28, 10.24]),
    look_ahead_s=st.sampled_from([None, 0.0, 1.0]),
    mirror_s=st.sampled_from([None, 0.0]),
    threshold=st.sampled_from([0.6, 0.9]),
    merge_gap_s=st.sampled_from([0.0, 0.7]),
    groups=st.sampled_from([{}, {"both": ("class 6", "class 7")}]),
    labels=st.sampled_from([None, ("class 1", "class 3", "class 4", "class 5")]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    detections,
    st.one_of(st.integers(600, 70 * RATE), st.integers(0, 140).map(lambda n: n * RATE // 2 + 513)),
    st.sampled_from([2.0, 4.0, 6.0, 14.0, 30.0]),
    st.sampled_from(["mix", "first", "each"]),
    st.booleans(),
)
def test_spans_make_what_detect_makes_of_the_whole_to_the_bit(
    bundle, info, noisy, detection, samples, span_s, channel, with_rules
):
    rules = RulesConfig.model_validate(RULES if with_rules and detection.labels else {})
    detection = replace(detection, early_margin=None)
    how = hearing(bundle, detection, info, channel=channel, span_s=span_s, rules=rules, scores=True)
    path = noisy(samples, 2 if channel == "each" else 1)
    wanted = found_by_detect(path, how, info)
    hearer = SpanHearer(how, backend=Sensitive(info))
    heard = hear(hearer, path)
    assert len(heard) == (round(samples / RATE / span_s) if samples > 1.5 * span_s * RATE else 1)
    found = hearer.finish(path, heard)
    assert [tuple(event) for event in found.events] == [event for one in wanted for event in one[1]]
    assert found.duration_s == wanted[0][0]
    whole = hear(SpanHearer(replace(how, span_s=1e6), backend=Sensitive(info)), path)
    for index in range(len(heard[0].packed)):
        np.testing.assert_array_equal(all_scores(heard, index), all_scores(whole, index))
    assert found.quality == hearer.finish(path, whole).quality


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_resampler_that_begins_anew_differs_by_rounding_only(rate, bundle, info, noisy):
    how = hearing(bundle, Settings(threshold=0.6), info, span_s=14.0, scores=True)
    path = noisy(50 * rate, rate=rate)
    hearers = [SpanHearer(each, backend=Sensitive(info)) for each in (how, replace(how, span_s=1e6))]
    cut, whole = (hear(hearer, path) for hearer in hearers)
    assert len(cut) == 4
    scores, wanted = all_scores(cut), all_scores(whole)
    kept = wanted > hearers[0].rule.release + 1e-3
    assert 0.1 < kept.mean() < 0.9
    np.testing.assert_allclose(scores[kept], wanted[kept], rtol=0, atol=1e-5)
    # Scores below the release are cut off at 11 binary digits.
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-3)
    found, events = (hearer.finish(path, heard).events for hearer, heard in zip(hearers, (cut, whole), strict=True))
    assert [event[:4] for event in found] == [event[:4] for event in events]
    assert len(events) > 10
    np.testing.assert_allclose([one.score for one in found], [one.score for one in events], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_a_copy_that_broke_off_has_the_events_up_to_there(suffix, bundle, info, noisy):
    how = hearing(bundle, Settings(threshold=0.6), info, span_s=6.0)
    path = noisy(40 * RATE, name=f"x.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    ((duration_s, events, failure),) = found_by_detect(path, how, info)
    hearer = SpanHearer(how, backend=Sensitive(info))
    found = hearer.finish(path, hear(hearer, path))
    assert (found.duration_s, [tuple(event) for event in found.events]) == (duration_s, events)
    assert 20 < duration_s < 26
    if failure is None:  # `detect` warns
        assert found.failure.startswith("its header claims 2560000 bytes of samples (40.000 s), but ")
    else:
        assert found.failure == str(failure).removeprefix(f"{path}: ")


def test_what_is_too_short_or_no_recording_says_so_without_its_name(bundle, info, noisy, tmp_path):
    hearer = SpanHearer(hearing(bundle, Settings(), info), backend=Sensitive(info))
    with pytest.raises(HtsatEdgeError, match=r"^15\.6 ms are too short for the model$"):
        hear(hearer, noisy(500))
    (tmp_path / "x.wav").write_text("no recording")
    with pytest.raises(HtsatEdgeError, match=r"^is no recording that can be read"):
        hearer.plan(tmp_path / "x.wav")


def test_a_mix_of_channels_is_heard_as_a_whole(bundle, info, noisy):
    path = noisy(40 * RATE, 2)
    for channel, count in (("mix", 1), ("loudest", 1), ("first", 4), (2, 4), ("each", 4)):
        how = hearing(bundle, Settings(), info, span_s=10.0, channel=channel)
        assert len(SpanHearer(how, backend=Sensitive(info)).plan(path)) == count


def test_progress_is_what_was_heard(bundle, info, noisy):
    hearer = SpanHearer(hearing(bundle, Settings(), info, span_s=14.0), backend=Sensitive(info))
    path, reported = noisy(50 * RATE), []
    heard = [hearer.hear(span, reported.append) for span in hearer.plan(path)]
    assert sum(reported) == pytest.approx(50)
    assert [one.duration_s for one in heard] == [14, 14, 14, 8]


@pytest.mark.parametrize("seconds", [5, 50])
def test_a_model_that_fails_is_no_end_of_a_recording(seconds, bundle, info, noisy):
    class Failing(Sensitive):
        def infer(self, log_mel):
            if self.windows + len(log_mel) > last:
                raise HtsatEdgeError("the GPU is gone")
            return super().infer(log_mel)

    path, how = noisy(seconds * RATE + 4000), hearing(bundle, Settings(), info)
    backend = Sensitive(info)
    hear(SpanHearer(how, backend=backend), path)
    last = backend.windows - 1
    with pytest.raises(HtsatEdgeError, match=r"^the GPU is gone$"):
        hear(SpanHearer(how, backend=Failing(info)), path)


def test_a_recording_that_has_become_a_pipe_is_not_waited_for(bundle, info, tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    with pytest.raises(HtsatEdgeError, match=r"^is no file any more$"):
        SpanHearer(hearing(bundle, Settings(), info), backend=Sensitive(info)).plan(tmp_path / "x.wav")
