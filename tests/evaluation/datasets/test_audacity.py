"""Audacity's label tracks beside recordings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence, join
from htsat_edge.runtime.common.errors import HtsatEdgeError


def test_label_tracks(layouts, tmp_path):
    found = read_dataset([layouts.audacity(tmp_path)])
    assert (found.name, found.left_out) == ("audacity", {"no label": 1})
    assert found.recordings == [
        Labelled(
            tmp_path / "a.wav", frozenset(["Dog", "Cat"]), (Occurrence(0.1, 0.25, "Dog"), Occurrence(0.2, 0.4, "Cat"))
        ),
        Labelled(tmp_path / "b.wav", frozenset(["Dog"]), (Occurrence(0.05, 0.3, "Dog"),)),
        Labelled(tmp_path / "field" / "c.wav", frozenset(), ()),
    ]


def read_track(layouts, folder, text):
    layouts.record(folder / "a.wav")
    layouts.write(folder / "a.txt", text)
    (found,) = read_dataset([folder], "audacity").recordings
    return found


@given(
    spans=st.lists(st.tuples(st.integers(0, 9999), st.integers(1, 500), st.sampled_from("AB")), max_size=5),
    point=st.sampled_from(".,"),
)
def test_what_audacity_writes_is_read(layouts, tmp_path_factory, spans, point):
    events = [Occurrence(onset / 1000, (onset + length) / 1000, label) for onset, length, label in spans]
    lines = [
        f"{event.onset_s:.6f}\t{event.offset_s:.6f}".replace(".", point) + f"\t{event.label}\n" for event in events
    ]
    assert read_track(layouts, tmp_path_factory.mktemp("track"), "".join(lines)).events == tuple(join(events))


def test_moments_say_what_but_not_when(layouts, tmp_path):
    found = read_track(layouts, tmp_path, "0.1\t0.1\tDog\n0.3\t0.3\tCat\n")
    assert (found.labels, found.events) == ({"Dog", "Cat"}, None)
    with pytest.raises(HtsatEdgeError, match=r"a.txt: line 2 marks one moment, but other labels of the recording have"):
        read_track(layouts, tmp_path, "0.1\t0.2\tDog\n0.3\t0.3\tCat\n")


def test_background_and_overlaps(layouts, tmp_path):
    found = read_track(layouts, tmp_path, "0.0\t0.5\tbackground\n0.1\t0.3\tDog\n0.2\t0.4\tDog\n")
    assert (found.labels, found.events) == ({"Dog"}, (Occurrence(0.1, 0.4, "Dog"),))


def test_bad_lines(layouts, tmp_path):
    for text, message in [
        ("0.1\t0.2\tDog\nsome words\n", r"a.txt: line 2 is no label of Audacity, want onset, offset and class"),
        ("0.1\t0.2\t\n", "line 1 has no class"),
        ("0.1\t0.2\n", "line 1 has no class"),
        ("0.2\t0.1\tDog\n", "line 1 has onset '0.2' and offset '0.1'"),
    ]:
        with pytest.raises(HtsatEdgeError, match=message):
            read_track(layouts, tmp_path, text)


def test_other_texts_are_no_label_tracks(layouts, tmp_path):
    layouts.record(tmp_path / "Dog" / "a.wav")
    layouts.write(tmp_path / "Dog" / "a.txt", "A dog in the yard\n")
    assert read_dataset([tmp_path]).name == "folders"
    (tmp_path / "Dog" / "a.txt").unlink()
    with pytest.raises(HtsatEdgeError, match=r"want label tracks of Audacity beside the recordings, such as dog.txt"):
        read_dataset([tmp_path], "audacity")


def test_tracks_in_a_folder_of_their_own(layouts, tmp_path):
    """A track is that of the recording whose folders have the most names of its own."""
    for name in ("north/a.wav", "south/a.wav", "south/a.flac", "b.wav", "c.wav", "d.wav"):
        layouts.record(tmp_path / "recordings" / name)
    for name, label in [("south/a.wav.txt", "Dog"), ("south/a.flac.txt", "Cat"), ("b.txt", "Rain"), ("far.txt", "Owl")]:
        layouts.write(tmp_path / "labels" / name, f"0.1\t0.3\t{label}\n")
    layouts.write(tmp_path / "labels" / "c.txt", "")
    layouts.write(tmp_path / "labels" / "d.txt", "What somebody wrote of it\n")
    found = read_dataset([tmp_path / "labels", tmp_path / "recordings"])
    assert found.name == "audacity"
    assert {str(r.path.relative_to(tmp_path / "recordings")): sorted(r.labels) for r in found.recordings} == {
        "b.wav": ["Rain"],
        "c.wav": [],
        "south/a.flac": ["Cat"],
        "south/a.wav": ["Dog"],
    }
    assert found.left_out == {"no label": 2}
    layouts.write(tmp_path / "labels" / "b.wav.txt", "0.1\t0.3\tRain\n")
    with pytest.raises(HtsatEdgeError, match=r"b\.wav\.txt has labels of .*b\.wav, and so has .*b\.txt; leave one of"):
        read_dataset([tmp_path / "labels", tmp_path / "recordings"])
    layouts.write(tmp_path / "labels" / "a.txt", "0.1\t0.3\tRain\n")
    with pytest.raises(HtsatEdgeError, match=r"labels/a\.txt names a, which is both "):
        read_dataset([tmp_path / "labels", tmp_path / "recordings"])


def test_a_track_with_the_whole_name_is_that_of_one_format(layouts, tmp_path):
    for name in ("a.wav", "a.flac"):
        layouts.record(tmp_path / name)
        layouts.write(tmp_path / f"{name}.txt", f"0.1\t0.3\t{name}\n")
    assert {r.path.name: r.labels for r in read_dataset([tmp_path]).recordings} == {
        "a.flac": {"a.flac"},
        "a.wav": {"a.wav"},
    }
    layouts.write(tmp_path / "a.flac.txt", "What somebody wrote of it\n")
    with pytest.raises(HtsatEdgeError, match=r"a\.flac\.txt: line 1 is no label of Audacity"):
        read_dataset([tmp_path])
