"""What a sound is learned from: events, false alarms and background, cut out of clips."""

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.cuttings import cut_backgrounds, cut_events, cut_false_alarms
from htsat_edge.runtime.store.records import Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts

RATE = 8000


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cut"
    folder.mkdir()
    return folder


@pytest.fixture
def heard(filler, clips):
    """Adds an event with a clip, whose samples count the tenths of a second since the source began."""

    def add(label, onset, offset, begin, end, wrong=False, **more):
        key = filler.event(label, onset, offset, **more)
        filler.clip(key, f"{key}.flac", begin, end, **more)
        samples = np.arange(round(begin * RATE), round(end * RATE)) * 10 // RATE
        soundfile.write(clips / f"{key}.flac", samples.astype(np.int16), RATE)
        if wrong:
            put_verdicts(filler.path, [Verdict(event=key, decision="wrong")])
        return key

    return add


def span(path):
    """The first and the last tenth of a second in a file."""
    samples, _ = soundfile.read(path, dtype="int16")
    return samples[0] / 10, samples[-1] / 10


def test_events_are_cut_with_a_margin_as_far_as_their_clips_have_it(heard, reader, clips, folder):
    whole, early, endless = (
        heard("Dog", 12, 14, 10, 20),
        heard("Dog", 30.2, 31, 30, 31.2),
        heard("Dog", 50, None, 48, 53),
    )
    cut = cut_events(reader, [endless, whole, early, whole], clips, folder)
    assert [path.name for path in cut] == [f"{endless}.flac", f"{whole}.flac", f"{early}.flac"]
    assert [span(path) for path in cut] == [(49.5, 52.9), (11.5, 14.4), (30.0, 31.1)]
    (plain,) = cut_events(reader, [whole], clips, folder, margin_s=0)
    assert span(plain) == (12, 13.9)


def test_events_that_cannot_be_cut_are_one_line(heard, filler, reader, clips, folder):
    gone, damaged, foreign = (heard("Dog", 10 * k, 10 * k + 1, 10 * k - 2, 10 * k + 3) for k in (1, 2, 3))
    (clips / f"{gone}.flac").unlink()
    (clips / f"{damaged}.flac").write_bytes(b"fLaC")
    (clips / f"{foreign}.flac").unlink()
    (clips / f"{foreign}.flac").symlink_to("/etc/passwd")
    bare = filler.event("Dog", 90, 91)
    for key, reason in (
        (gone, "is gone"),
        (damaged, "damaged"),
        (foreign, "is gone"),
        (bare, "no clip"),
        (99, "exist"),
    ):
        with pytest.raises(HtsatEdgeError, match=f"^event {key}: .*{reason}"):
            cut_events(reader, [key], clips, folder)
    assert cut_backgrounds(reader, clips, folder) == []
    assert [*folder.iterdir()] == []


def test_false_alarms_are_the_events_of_a_class_that_are_called_wrong(heard, reader, clips, folder):
    heard("Dog", 10, 11, 8, 13)
    heard("Bird", 20, 21, 18, 23, wrong=True)
    wrong, gone = heard("Dog", 30, 31, 28, 33, wrong=True), heard("Dog", 40, 41, 38, 43, wrong=True)
    (clips / f"{gone}.flac").unlink()
    assert [(path.name, span(path)) for path in cut_false_alarms(reader, "Dog", clips, folder)] == [
        (f"wrong_{wrong}.flac", (29.5, 31.4))
    ]


def test_background_is_the_longest_part_of_a_clip_without_an_event(heard, filler, reader, clips, folder):
    heard("Dog", 12, 14, 10, 20)
    filler.event("Bird", 18, 25)
    heard("Dog", 33, 34, 30, 35)
    heard("Dog", 42, 44, 41, 46)  # nothing of it is long enough
    heard("Dog", 55, None, 50, 60)
    heard("Dog", 71, 72, 70, 80, uid="two")
    filler.event("Bird", 31, 32, uid="two")  # of another run, in which these seconds are others
    mine = heard("Dog", 93, 94, 90, 100)
    filler.event("Bird", 96, 97)
    cut = cut_backgrounds(reader, clips, folder, without=[mine])
    assert sorted(map(span, cut)) == [(14.5, 17.4), (30.0, 32.4), (50.0, 54.4), (72.5, 79.9)]
    assert len(cut_backgrounds(reader, clips, folder, most=2)) == 2
    assert span(cut_backgrounds(reader, clips, folder, most=1)[0]) == (97.5, 99.9)
