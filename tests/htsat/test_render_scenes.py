"""Scenes as audio files, with labels that are true."""

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.datasets.manifests import read_labelled
from htsat_edge.htsat.corpus import read_corpora
from htsat_edge.htsat.render_scenes import Mixer, main, read_backgrounds


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels.csv").write_text("label\nSpeech\nFowl\n")
    return tmp_path / "labels.csv"


def render(corpus, labels, out, *arguments):
    return main(["--data", str(corpus), "--labels", str(labels), "--out", str(out), "--count", "4", *arguments])


def test_it_writes_scenes_and_what_sounds_in_them(corpus, labels, tmp_path, capsys):
    assert render(corpus, labels, tmp_path / "scenes", "--seconds", "12") == 0
    assert "4 scenes of 12 s" in capsys.readouterr().out
    found = read_labelled(tmp_path / "scenes" / "manifest.csv")[0]
    assert len(found) == 4
    for recording in found:
        samples, rate = soundfile.read(recording.path)
        assert (len(samples), rate) == (12 * 32_000, 32_000)
        assert 0.02 < np.abs(samples).max() < 1
        assert all(event.offset_s <= 12 for event in recording.events)
    assert any(recording.events for recording in found)


def test_the_same_seed_gives_the_same_scenes_and_more_of_them_change_none(corpus, labels, tmp_path):
    for name, arguments in (("a", []), ("b", ["--count", "2"]), ("c", ["--seed", "1"])):
        assert render(corpus, labels, tmp_path / name, "--seconds", "3", *arguments) == 0
    first, second, other = ((tmp_path / name / "0001.flac").read_bytes() for name in "abc")
    assert first == second != other


def test_a_sound_is_where_its_label_says(corpus):
    """Where nothing is labelled there is the background alone, which is never louder than an event."""
    mixer = Mixer([r for r in read_corpora([corpus]) if r.held], ["Speech", "Fowl"])
    for seed in range(10):
        samples, events = mixer.scene(np.random.default_rng(seed), 20)
        inside = np.zeros(len(samples), bool)
        for event in events:
            inside[round(event.onset_s * 32_000) : round(event.offset_s * 32_000)] = True
        if inside.any() and not inside.all():
            assert np.square(samples[inside]).mean() > np.square(samples[~inside]).mean()


def test_sounds_may_have_one_level(corpus):
    """The same scene with sounds that nobody hears is its background."""
    recordings = [r for r in read_corpora([corpus]) if r.held]
    loud, silent = (Mixer(recordings, ["Fowl"], snr_db=(db, db)) for db in (20.0, -300.0))
    scenes = (
        (loud.scene(np.random.default_rng(seed), 20), silent.scene(np.random.default_rng(seed), 20)[0])
        for seed in range(200)
    )
    whole = (3.05, 3.15)  # seconds of the only Fowl: it sounds once, and is not cut
    (samples, (event,)), background = next(
        scene
        for scene in scenes
        if len(scene[0][1]) == 1 and whole[0] < scene[0][1][0].offset_s - scene[0][1][0].onset_s < whole[1]
    )
    inside = slice(round(event.onset_s * 32_000), round(event.offset_s * 32_000))
    outside = np.delete(samples, inside), np.delete(background, inside)
    gain = np.sqrt(np.square(outside[0]).mean() / np.square(outside[1]).mean())
    sound = samples[inside] / gain - background[inside]
    snr_db = 10 * np.log10(np.square(sound).mean() / np.square(background).mean())
    assert snr_db == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("levels", [["30", "20"], ["1", "2", "3"]])
def test_levels_that_are_none_are_refused(levels, corpus, labels, tmp_path, capsys):
    assert render(corpus, labels, tmp_path / "scenes", "--snr-db", *levels) == 2
    assert f"--snr-db {' '.join(levels)}: want one level, or LOW HIGH" in capsys.readouterr().err
    assert not (tmp_path / "scenes").exists()


def test_the_level_is_that_of_the_option(corpus, labels, tmp_path):
    for name, levels in {"default": [], "same": ["--snr-db", "0", "30"], "fixed": ["--snr-db", "20"]}.items():
        assert render(corpus, labels, tmp_path / name, "--seconds", "8", *levels) == 0
    scenes = {
        name: [(tmp_path / name / f"000{i}.flac").read_bytes() for i in range(4)]
        for name in ("default", "same", "fixed")
    }
    assert scenes["default"] == scenes["same"] != scenes["fixed"]


def test_no_class_of_the_list_is_held(corpus, tmp_path, capsys):
    (tmp_path / "other.csv").write_text("label\nPiano\n")
    assert render(corpus, tmp_path / "other.csv", tmp_path / "scenes") == 2
    assert "holds back no recording of the classes in" in capsys.readouterr().err


def test_quiet_scenes_are_of_backgrounds_alone(tmp_path, labels, capsys):
    """A background of a tone, shorter than the scene: it goes on without a click; other classes are left out."""
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(2 * 32_000) / 32_000)
    for name, samples in (("tone", tone), ("speech", np.random.default_rng(0).normal(0, 0.1, 32_000))):
        soundfile.write(tmp_path / f"{name}.wav", samples, 32_000)
    (tmp_path / "manifest.csv").write_text("file,class\ntone.wav,background\nspeech.wav,Speech\n")
    assert render(tmp_path, labels, tmp_path / "scenes", "--quiet", "--seconds", "5") == 0
    found = read_labelled(tmp_path / "scenes" / "manifest.csv")[0]
    assert len(found) == 4
    for recording in found:
        assert recording.labels == frozenset()
        samples, rate = soundfile.read(recording.path)
        assert len(samples) == 5 * rate
        power = np.square(np.abs(np.fft.rfft(samples)))
        near = slice(5 * 430, 5 * 450)
        assert power[near].sum() > 0.1 * power.sum()
    mixer = Mixer(read_backgrounds([tmp_path]), ["Speech"])
    bare = mixer.quiet(np.random.default_rng(3), 5.0)
    steps = np.abs(np.diff(bare))
    assert steps.max() < 8 * np.percentile(steps, 99)
    (tmp_path / "manifest.csv").write_text("file,class\nspeech.wav,Speech\n")
    capsys.readouterr()
    assert render(tmp_path, labels, tmp_path / "none", "--quiet") == 2
    assert "--data: has no recording of the class background" in capsys.readouterr().err


def test_quiet_scenes_are_mixed_of_the_splits_that_are_asked_for(tmp_path):
    for name in ("wind.wav", "hall.wav", "mill.wav"):
        soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, 32_000), 32_000)
    rows = "wind.wav,background,train\nhall.wav,background,val\nmill.wav,background,test\n"
    (tmp_path / "manifest.csv").write_text(f"file,class,split\n{rows}")
    for split, names in ((None, ["wind.wav", "hall.wav"]), ("val", ["hall.wav"]), ("test", ["mill.wav"])):
        assert [part.path.name for part in read_backgrounds([tmp_path], split)] == names


def test_a_split_is_of_quiet_scenes_alone(corpus, labels, tmp_path, capsys):
    assert render(corpus, labels, tmp_path / "scenes", "--split", "val") == 2
    assert "--split val: is for --quiet; " in capsys.readouterr().err
    assert not (tmp_path / "scenes").exists()
