"""Scenes as audio files, with labels that are true."""

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.datasets.manifests import read_labelled
from htsat_edge.htsat.corpus import read_corpora
from htsat_edge.htsat.render_scenes import Mixer, main


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


def test_no_class_of_the_list_is_held(corpus, tmp_path, capsys):
    (tmp_path / "other.csv").write_text("label\nPiano\n")
    assert render(corpus, tmp_path / "other.csv", tmp_path / "scenes") == 2
    assert "holds back no recording of the classes in" in capsys.readouterr().err
