"""Which recordings a sound is learned from, and in which form they are kept."""

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.enrolment.recordings import MOST_OTHERS_S, take_more, take_recordings

RATE = 32_000


def test_any_format_and_rate_is_kept_as_flac_at_the_models_rate(tmp_path, write_takes):
    takes = write_takes(tmp_path / "in", count=2)
    stereo = tmp_path / "stereo.ogg"
    soundfile.write(stereo, np.random.default_rng(9).normal(0, 0.1, (44_100, 2)), 44_100)
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, 4 * np.sin(np.arange(RATE) / 5), RATE, "FLOAT")
    taken = take_recordings(RATE, tmp_path, [*takes, stereo, loud])
    assert [one.seconds for one in taken] == pytest.approx([0.5, 0.5, 1.0, 1.0], abs=0.01)
    for one in taken:
        with soundfile.SoundFile(one.path) as file:
            assert (file.format, file.subtype, file.samplerate, file.channels) == ("FLAC", "PCM_16", RATE, 1)
        assert one.path.name == f"positive-{one.sha256[:12]}.flac"
    samples, _ = soundfile.read(taken[-1].path)
    assert np.abs(samples).max() == pytest.approx(1, abs=1e-3)
    assert np.abs(samples).mean() == pytest.approx(2 / np.pi, abs=0.01)  # scaled, and not clipped

    again = take_recordings(RATE, tmp_path, [one.path for one in taken])
    assert again == taken  # what is kept is taken as it is


@pytest.mark.parametrize(
    ("seconds", "level", "text"),
    [
        (0.05, 0.1, "bad.wav: is 0.05 s long, want 0.1 s or more"),
        (31, 0.1, "bad.wav: is longer than 30 s"),
        (1, 0, "bad.wav: is silent: nothing in it is louder than -70 dBFS"),
        (1, 1e-4, "bad.wav: is silent"),
    ],
)
def test_recordings_that_are_of_no_use_are_refused_by_name(seconds, level, text, tmp_path, write_takes):
    bad = tmp_path / "bad.wav"
    soundfile.write(bad, np.random.default_rng(0).normal(0, level, round(seconds * RATE)), RATE, "FLOAT")
    with pytest.raises(HtsatEdgeError, match=text):
        take_recordings(RATE, tmp_path, [*write_takes(tmp_path), bad])


def test_unreadable_and_missing_ones_are_refused_by_name(tmp_path, write_takes):
    (tmp_path / "bad.mp3").write_bytes(b"no music")
    for name in ("bad.mp3", "missing.wav"):
        with pytest.raises(HtsatEdgeError, match=name):
            take_recordings(RATE, tmp_path, [*write_takes(tmp_path), tmp_path / name])


@pytest.mark.parametrize("count", [0, 1, 2, 51])
def test_few_or_many_are_refused(count, tmp_path, write_takes):
    with pytest.raises(HtsatEdgeError, match=f"^{count} recordings? of the sound: want 3 to 50"):
        take_recordings(RATE, tmp_path, write_takes(tmp_path / "in", count))


def test_the_same_recording_twice_is_refused_whatever_its_format(tmp_path, write_takes):
    takes = write_takes(tmp_path / "in", rate=RATE)
    samples, rate = soundfile.read(takes[0], dtype="int16")
    copy = tmp_path / "copy.flac"
    soundfile.write(copy, samples, rate)
    with pytest.raises(HtsatEdgeError, match=r"copy\.flac: is the same recording as .*take-0-0\.wav"):
        take_recordings(RATE, tmp_path, [*takes, copy])


def test_backgrounds_and_false_alarms_come_beside_them_each_once(tmp_path, write_takes):
    takes = write_takes(tmp_path / "in")
    write_takes(tmp_path / "room" / "night", 2, seed=1)
    alarms = write_takes(tmp_path / "alarms", 2, seed=2)
    taken = take_recordings(RATE, tmp_path, takes, [tmp_path / "room", takes[0]], alarms)
    kinds = [one.kind for one in taken]
    assert kinds == 3 * ["positive"] + 2 * ["background"] + 2 * ["false_alarm"]
    more = take_more(RATE, tmp_path, taken, false_alarms=[*alarms, *write_takes(tmp_path / "new", 1, seed=3)])
    assert more[:-1] == taken
    assert more[-1].kind == "false_alarm"
    (tmp_path / "empty").mkdir()
    with pytest.raises(HtsatEdgeError, match="there is no recording in this folder"):
        take_recordings(RATE, tmp_path, takes, [tmp_path / "empty"])


def test_no_more_than_half_an_hour_of_backgrounds_counts(tmp_path, write_takes):
    (one, *_), takes = write_takes(tmp_path / "b", 1, seed=5), write_takes(tmp_path / "in")
    there = [
        one._replace(kind="background", seconds=MOST_OTHERS_S - 0.6) for one in take_recordings(RATE, tmp_path, takes)
    ]
    more = take_more(RATE, tmp_path, there[:1], [one, *write_takes(tmp_path / "c", 1, seed=6)])
    assert len(more) == 2
