"""Clips: cut from blocks and events that the test makes, written into a folder, and of a daemon on a recording."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.daemon.config import ClipsConfig
from htsat_edge.runtime.daemon.outputs.clips import FADE_S, MARGIN_S, SLACK_S, ClipRecorder, silence
from htsat_edge.runtime.detector import detect_file
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

RATE = 1000
LABELS = ["Dog", "Speech"]
LATE_S = 5.0


class Recording:
    """A recorder that hears samples which say their position in milliseconds, and what it wants written."""

    def __init__(self, **settings):
        self.clips = []
        config = ClipsConfig(folder="clips", **settings)
        writer = SimpleNamespace(settings=config, put=self.clips.append)
        self.recorder = ClipRecorder(writer, "the yard", [LABELS.index("Speech")], LATE_S)
        self.at_s = self.settled_s = 0.0
        self._ids = 0

    def play(self, seconds, speech=(), block_s=0.5):
        """Hear seconds of audio, whose scores are final at once; in some of the steps of 0.5 s there is speech."""
        for number in range(round(seconds / block_s)):
            first = round(self.at_s * RATE)
            samples = np.arange(first, first + round(block_s * RATE), dtype=np.float32)
            self.recorder.audio(AudioBlock(self.at_s, RATE, samples))
            scores = np.array([[0.0, 0.9 if number in speech else 0.0]], np.float32)
            self.recorder.scores(self.at_s, block_s, scores)
            self.at_s += block_s

    def start(self, onset, time=None, label="Dog"):
        """Start an event; return what ends it."""
        self._ids += 1
        event = {"source": "the yard", "id": self._ids, "label": label, "onset": onset, "time": time, "score": 0.9}
        self.recorder.event(EventStart(**event))
        return lambda offset: self.recorder.event(EventEnd(**event, offset=offset))

    @property
    def spans(self):
        """First and last position of each clip, in seconds."""
        return [(clip.samples[0] / RATE, (clip.samples[-1] + 1) / RATE) for clip in self.clips]


def test_a_clip_has_what_came_before_and_after():
    recording = Recording(pre_roll_s=2, post_roll_s=1)
    recording.play(12)
    end = recording.start(10.25)
    end(11.75)
    assert recording.clips == []
    recording.play(3)
    assert recording.spans == [(8.25, 12.75)]
    (clip,) = recording.clips
    np.testing.assert_array_equal(clip.samples, np.arange(8250, 12_750))
    assert clip.sample_rate == RATE


def test_a_clip_is_made_when_no_speech_can_come_into_it_any_more():
    recording = Recording(post_roll_s=1)
    recording.play(5)
    recording.start(4.0)(4.5)
    recording.play(0.5)
    assert recording.clips == []
    recording.play(0.5)
    assert recording.at_s == 4.5 + 1 + MARGIN_S
    assert len(recording.clips) == 1


def test_a_long_event_is_cut_off_and_a_longer_one_does_not_wait_for_its_end():
    recording = Recording(pre_roll_s=1, post_roll_s=0, most_s=3)
    recording.play(5)
    end = recording.start(4.0)
    recording.play(10)
    assert recording.spans == [(3, 7)]
    end(14.0)
    assert len(recording.clips) == 1
    recording.start(15.0)(15.25)
    recording.play(2)
    assert recording.spans[1] == (14, 15.25)


def test_two_events_at_once_have_a_clip_each():
    recording = Recording(pre_roll_s=1, post_roll_s=0)
    recording.play(6)
    dog, speech = recording.start(3.0), recording.start(4.0, label="Speech")
    speech(5.0)
    dog(6.0)
    recording.play(2)
    assert recording.spans == [(3, 5), (2, 6)] or recording.spans == [(2, 6), (3, 5)]
    assert {clip.name for clip in recording.clips} == {"0000003.00_the-yard_Dog", "0000004.00_the-yard_Speech"}


def test_an_event_at_the_beginning_or_the_end_has_what_there_is():
    recording = Recording(pre_roll_s=2, post_roll_s=1)
    recording.play(4)
    recording.start(0.5)(1.0)
    recording.start(3.0)(4.0)
    recording.recorder.interrupted(4.0)
    assert recording.spans == [(0, 2), (1, 4)]


@pytest.mark.parametrize("onset", [4.0, 4.5])
def test_an_event_of_which_nothing_was_kept_has_no_clip(onset):
    recording = Recording(pre_roll_s=0, post_roll_s=1)
    recording.play(4)
    recording.start(onset)(onset + 0.5)
    recording.recorder.interrupted(4.0)
    assert recording.clips == []


def test_nothing_from_before_a_gap_is_in_a_clip_from_after_it():
    recording = Recording(pre_roll_s=5)
    recording.play(10)
    recording.recorder.interrupted(10.0)
    recording.at_s = 20.0
    recording.play(2)
    recording.start(21.0)(21.5)
    recording.recorder.interrupted(22.0)
    assert recording.spans == [(20, 22)]


def test_what_no_clip_can_want_any_more_is_forgotten():
    recording = Recording(pre_roll_s=2, most_s=3, post_roll_s=1)
    keep_s = 2 + 3 + 1 + LATE_S + SLACK_S
    assert recording.recorder.kept_s == 0
    for _ in range(6):
        recording.play(100)
        assert keep_s <= recording.recorder.kept_s <= keep_s + 1
    recording.recorder.interrupted(600)
    assert recording.recorder.kept_s == 0


def test_the_latest_clip_that_can_be_wanted_is_whole():
    recording = Recording(pre_roll_s=2, most_s=3, post_roll_s=1)
    recording.play(100)
    recording.start(100 - LATE_S - 3)(100 - LATE_S)  # known late, and at its end
    recording.play(2)
    assert recording.spans == [(90, 96)]


def test_names_are_of_the_time_of_day_or_the_position(in_zone):
    in_zone("Europe/Berlin")
    recording = Recording()
    recording.play(3)
    recording.start(1.5, label="Cattle, bovinae")
    recording.start(2.0, time="2026-11-26T18:00:01.250+00:00")
    recording.recorder.interrupted(3.0)
    assert [clip.name for clip in recording.clips] == [
        "0000001.50_the-yard_Cattle-bovinae",
        "20261126T190001.250+0100_the-yard_Dog",
    ]


def test_a_clip_says_what_it_is_of_and_when_its_first_sample_was():
    recording = Recording(pre_roll_s=2)
    recording.play(10)
    recording.start(9.5, "2026-11-26T18:00:01.250+00:00")(10.0)
    recording.play(5)
    (clip,) = recording.clips
    assert (clip.source, clip.number, clip.onset) == ("the yard", 1, 7.5)
    assert clip.time == "2026-11-26T17:59:59.250+00:00"


def test_speech_and_a_margin_around_it_is_silenced():
    recording = Recording(privacy="no_speech", pre_roll_s=5, post_roll_s=0)
    recording.play(10, speech=[10])  # from 5.0 to 5.5 s
    recording.start(9.0)(10.0)
    recording.play(1)
    (clip,) = recording.clips  # from 4 s on
    silent = clip.samples[round((5 - MARGIN_S - 4) * RATE) : round((5.5 + MARGIN_S - 4) * RATE)]
    assert (silent == 0).all()
    fade = round(FADE_S * RATE)
    np.testing.assert_array_equal(clip.samples[: 500 - fade], np.arange(4000, 4500 - fade))
    np.testing.assert_array_equal(clip.samples[2000 + fade :], np.arange(6000 + fade, 10_000))


@pytest.mark.parametrize("settings", [{"privacy": "no_speech", "speech_score": 0.95}, {"privacy": "none"}])
def test_speech_that_scores_too_low_or_is_wanted_stays(settings):
    recording = Recording(**settings, pre_roll_s=5, post_roll_s=0)
    recording.play(10, speech=[10])
    recording.start(9.0)(10.0)
    recording.play(1)
    assert (recording.clips[0].samples > 0).all()


def test_speech_right_after_an_event_is_silenced_too():
    recording = Recording(privacy="no_speech", pre_roll_s=1, post_roll_s=0)
    recording.play(10)
    recording.start(9.0)(10.0)
    recording.play(1, speech=[0])
    (clip,) = recording.clips
    assert (clip.samples[round((2 - MARGIN_S) * RATE) :] == 0).all()
    assert (clip.samples[: round((2 - MARGIN_S - FADE_S) * RATE)] > 0).all()


def test_silence_has_fades_outside():
    gain = silence(np.ones(1000, np.float32), RATE, [(0.3, 0.5), (-1.0, 0.1), (0.95, 3.0)])
    assert (gain[:100] == 0).all()
    assert (gain[300:500] == 0).all()
    assert (gain[950:] == 0).all()
    np.testing.assert_allclose(gain[290:300], np.linspace(1, 0, 10), atol=1e-6)
    np.testing.assert_allclose(gain[500:510], np.linspace(0, 1, 10), atol=1e-6)
    assert (gain[110:290] == 1).all()
    assert (gain[510:940] == 1).all()


def test_a_fade_is_cut_where_the_clip_begins_or_ends():
    gain = silence(np.ones(1000, np.float32), RATE, [(0.004, 0.2), (0.8, 0.996)])
    np.testing.assert_allclose(gain[:4], np.linspace(1, 0, 10)[6:], atol=1e-6)
    np.testing.assert_allclose(gain[996:], np.linspace(0, 1, 10)[:4], atol=1e-6)


def test_no_memory_for_a_clip_is_no_end_of_detection(monkeypatch):
    lost = []
    recording = Recording(pre_roll_s=1, post_roll_s=0)
    recording.recorder._writer.lose = lambda count, reason: lost.append((count, reason))
    recording.play(5)
    recording.start(4.0)(4.5)
    with monkeypatch.context() as full:
        full.setattr(np, "concatenate", lambda _: (_ for _ in ()).throw(MemoryError))
        recording.play(3)
    recording.start(7.0)(7.5)
    recording.play(3)
    assert lost == [(1, "there is not enough memory for a clip; it is lost")]
    assert recording.spans == [(6, 7.5)]


# A daemon on a recording


@pytest.fixture
def record(start_daemon, samples, tmp_path):
    """Runs a daemon on the first seconds of the recording; returns its events, and the clips by label."""

    def run(seconds=27, **settings):
        folder = tmp_path / "clips"
        daemon = start_daemon(outputs={"clips": ClipsConfig(folder=folder, **settings)})
        daemon.feed.open(32_000)
        daemon.source.write(samples[: round(seconds * 32_000)])
        events = [message for message in daemon.end() if message["type"] in ("start", "end")]
        return events, sorted(folder.iterdir())

    return run


def test_a_clip_of_each_event_replays_to_it(record, samples):
    events, files = record(pre_roll_s=1, post_roll_s=0.5)
    starts = [event for event in events if event["type"] == "start"]
    offsets = {event["id"]: event["offset"] for event in events if event["type"] == "end"}
    assert {event["id"]: event["clip"] for event in starts} == {event["id"]: event["clip"] for event in events}
    assert sorted(event["clip"] for event in starts) == [file.name for file in files]
    for event in starts:
        clip, rate = soundfile.read(files[0].with_name(event["clip"]), dtype="float32")
        first, last = max(0, event["onset"] - 1), offsets[event["id"]] + 0.5
        assert rate == 32_000
        np.testing.assert_allclose(clip, samples[round(first * rate) : round(last * rate)], atol=1e-4)
    thunder = next(file for file in files if "Thunder" in file.name)
    assert "Thunder" in {event.label for event in detect_file(thunder)}


@pytest.mark.parametrize("seconds", [8, 16])
def test_an_event_in_which_the_recording_ends_has_its_clip_too(seconds, record):
    events, files = record(seconds)
    assert len(files) == sum(event["type"] == "start" for event in events) > 0


def test_speech_is_silent_in_clips(record):
    events, files = record(privacy="no_speech", pre_roll_s=5)
    speech, dog, thunder = (next(file for file in files if name in file.name) for name in ("Speech", "Dog", "Thunder"))
    assert np.abs(soundfile.read(speech)[0][round(1.2 * 32_000) : 5 * 32_000]).max() < 1e-4
    bark_s = next(event["onset"] for event in events if event["label"] == "Dog")
    clip = soundfile.read(dog)[0]  # a bark with speech in its pre-roll
    assert bark_s - 5 < 4.0
    assert np.abs(clip[: round((5.0 - (bark_s - 5)) * 32_000)]).max() < 1e-4
    assert np.abs(clip[-48_000:]).max() > 0.01
    assert soundfile.read(thunder)[0][-64_000:].std() > 0.01
