"""Exported verdicts are a data set that evaluation and training read."""

import io
import zipfile

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.export import ClipPart, Export, plan_export, write_folder, write_zip
from htsat_edge.runtime.store.records import Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts

CORRECT, WRONG = {"decision": "correct"}, {"decision": "wrong"}


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


@pytest.fixture
def heard(filler, clips):
    """Adds an event with what is said of it, and its clip where it has one."""

    def add(label, onset, offset, said=None, clip=None, there=True, **more):
        key = filler.event(label, onset, offset, **more)
        if clip is not None:
            filler.clip(key, clip[0], *clip[1:], **more)
            if there:
                samples = np.random.default_rng(key).normal(0, 0.1, round(32_000 * (clip[2] - clip[1])))
                soundfile.write(clips / clip[0], samples, 32_000)
        if said is not None:
            put_verdicts(filler.path, [Verdict(event=key, **said)])
        return key

    return add


@pytest.fixture
def plan(filler, reader, clips):
    return lambda: plan_export(reader, clips)


def rows(export, clip):
    return [tuple(row[1:4]) for row in export.rows if row.clip == clip]


def test_what_sounds_in_a_clip(heard, plan):
    """In seconds of the clip, cut to it; what overlaps and is the same is one; what is wrong is what it really is."""
    heard("Dog", 12.0, 14.0, CORRECT, ("dog.flac", 10.0, 16.0))
    heard("Dog", 13.5, 15.0, CORRECT)
    heard("Bird", 8.0, 11.0, {**WRONG, "label": "Dog"})
    heard("Animal", 14.0, 20.0, {**WRONG, "label": "Ente, quakend"})
    heard("Animal", 11.0, 15.5, WRONG)
    heard("Dog", 16.0, 17.0)
    heard("Bird", 9.0, 10.0)
    export = plan()
    assert rows(export, "dog.flac") == [(0.0, 1.0, "Dog"), (2.0, 5.0, "Dog"), (4.0, 6.0, "Ente, quakend")]
    assert export.left_out == {}


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Dog, barking", "Dog, barking"),
        ("dog,cat", "dog,cat"),
        ("a;b", "a;b"),
        ("a|b", "a|b"),
        ('x,y"z', 'x,y"z'),
        ("[1]", "[1]"),
        ("a\nb\r", "a b"),
        ("n\0ul", "n ul"),
        ("\u202eabc", "abc"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_whatever_a_person_calls_a_sound_is_one_class_again(said, label, heard, plan, tmp_path):
    heard("Animal", 12.0, 14.0, {**WRONG, "label": said}, ("a.flac", 10.0, 16.0))
    write_folder(plan(), tmp_path / "out")
    assert [recording.labels for recording in read_dataset([tmp_path / "out"]).recordings] == [{label}]


def test_a_label_of_which_nothing_can_be_printed_is_none():
    assert Verdict(event=1, decision="wrong", label=" \0\u200b").label is None


def test_a_clip_with_nothing_but_mistakes_is_background(heard, plan):
    heard("Dog", 1.0, 2.0, WRONG, ("dog.flac", 0.0, 3.0))
    assert plan().rows == [("dog.flac", None, None, "background", "dog")]


def test_what_is_not_known_is_left_out_and_counted(heard, filler, clips, plan):
    good = heard("Dog", 1.0, 2.0, CORRECT, ("good.flac", 0.0, 3.0))
    heard("Dog", 101.0, 102.0, CORRECT, ("half.flac", 100.0, 103.0))
    heard("Bird", 102.0, 104.0, {"note": "hm"})
    heard("Dog", 201.0, 202.0, CORRECT, ("gone.flac", 200.0, 203.0), there=False)
    heard("Dog", 901.0, None, CORRECT, ("open.flac", 900.0, 903.0))
    heard("Dog", 401.0, 402.0, CORRECT)
    heard("Dog", 501.0, 502.0, CORRECT, ("rule.flac", 500.0, 503.0))
    heard("Dog", 601.0, 602.0, None, ("not judged.flac", 600.0, 603.0))
    heard("Dog", 701.0, 702.0, CORRECT, ("link.flac", 700.0, 703.0), there=False)
    heard("Dog", 801.0, 802.0, CORRECT, ("../good.flac", 800.0, 803.0), there=False)
    (clips / "link.flac").symlink_to(clips / "good.flac")
    filler.left_out("Bird", 501.5, 501.7)
    export = plan()
    assert [row.clip for row in export.rows] == ["good.flac"]
    assert export.clips == [ClipPart("good.flac", clips / "good.flac")]
    assert good == 1
    assert export.left_out == {
        "clips with an event that has no verdict": 1,
        "clips that are gone": 3,
        "clips with an event whose end was not heard": 1,
        "clips with an event that a rule has left out": 1,
        "events in no clip": 1,
    }


def test_an_event_of_no_class_says_nothing_of_a_clip(heard, filler, plan):
    """As one of the sound level."""
    filler.setup()
    heard("Dog", 1.0, 2.0, CORRECT, ("dog.flac", 0.0, 3.0))
    heard("loud", 1.5, 2.5)
    heard("loud", 0.5, 1.0, CORRECT)
    assert rows(plan(), "dog.flac") == [(1.0, 2.0, "Dog")]


def test_no_two_clips_share_audio(heard, plan, tmp_path):
    """They are cut in the middle, or at an edge of an event; what is within another is left out."""
    for name, onset, offset, more in (
        ("a", 0.0, 3.0, {}),
        ("b", 2.0, 6.0, {}),
        ("c", 4.6, 7.6, {}),
        ("d", 4.8, 7.0, {}),
        ("e", 1.0, 4.0, {"source": "pond"}),
        ("f", 1.0, 4.0, {"uid": "two"}),
    ):
        heard("Dog", onset + 0.5, onset + 1.0, CORRECT, (f"{name}.flac", onset, offset), **more)
    export = plan()
    assert {part.name: part[2:] for part in export.clips} == {
        "a.flac": (0.0, 2.5),
        "b.flac": (0.5, pytest.approx(3.1)),
        "c.flac": (pytest.approx(0.5), None),
        "e.flac": (0.0, None),
        "f.flac": (0.0, None),
    }
    assert {row.clip: row.group for row in export.rows} == {part.name: part.name[0] for part in export.clips}
    assert rows(export, "b.flac") == [(0.0, 0.5, "Dog")]
    assert rows(export, "c.flac") == [(0.0, 0.7, "Dog")]  # the events at 5.1 and 5.3 s overlap: they are one
    assert export.left_out == {"clips that lie within another": 1}
    write_folder(export, tmp_path / "out")
    for part in export.clips:
        whole, _ = soundfile.read(part.path, dtype="int16")
        cut, _ = soundfile.read(tmp_path / "out" / "audio" / part.name, dtype="int16")
        end = None if part.end_s is None else round(32_000 * part.end_s)
        assert np.array_equal(cut, whole[round(32_000 * part.begin_s) : end])


def test_an_event_that_fills_what_two_clips_share_is_cut_in_the_middle(heard, plan):
    heard("Dog", 1.5, 4.5, CORRECT, ("a.flac", 0.0, 4.0))
    heard("Dog", 5.0, 6.0, CORRECT, ("b.flac", 2.0, 8.0))
    export = plan()
    assert rows(export, "a.flac") == [(1.5, 3.0, "Dog")]
    assert rows(export, "b.flac") == [(0.0, 1.5, "Dog"), (2.0, 3.0, "Dog")]


@pytest.mark.parametrize("onset", [3.0, 4.0])
def test_a_damaged_clip_is_left_out_and_counted(onset, heard, clips, plan, tmp_path):
    """To be cut or not; of a folder and of an archive."""
    heard("Dog", 1.0, 2.0, CORRECT, ("a.flac", 0.0, 4.0))
    heard("Dog", 5.0, 6.0, CORRECT, ("b.flac", onset, 8.0))
    (clips / "b.flac").write_text("no recording")
    export, stream = plan(), io.BytesIO()
    write_zip(export, stream)
    assert zipfile.ZipFile(stream).namelist() == ["audio/a.flac", "manifest.csv"]
    assert export.left_out == {"clips that are damaged": 1}
    assert write_folder(plan(), tmp_path / "out") == {"a.flac"}
    assert "b.flac" not in (tmp_path / "out" / "manifest.csv").read_text()


@pytest.mark.parametrize(
    ("onset", "offset", "exported"), [(0.0, 9.0, True), (0.0, 11.0, False), (0.0, None, False), (14.0, None, True)]
)
def test_what_a_rule_left_out_may_have_begun_before_the_clip(onset, offset, exported, filler, heard, plan):
    """One whose end is not known may go on."""
    heard("Dog", 11.0, 12.0, WRONG, ("dog.flac", 10.0, 13.0))
    heard("Dog", 1.0, 2.0, CORRECT, ("other.flac", 0.0, 3.0), source="pond")
    filler.left_out("Bird", onset, offset)
    assert ("dog.flac" in {row.clip for row in plan().rows}) == exported


@pytest.fixture
def export(heard, plan):
    heard("Dog", 1.0, 2.0, CORRECT, ("20260501T213000_yard_Dog.flac", 0.0, 3.0))
    heard("Bird", 2.5, 3.5, {**WRONG, "label": "Cattle, bovinae"})
    heard("Bird", 21.0, 22.0, WRONG, ("20260501T213020_yard_Bird.wav", 20.0, 23.0))
    return plan()


def test_the_data_set_is_read(export, tmp_path):
    write_folder(export, tmp_path / "out" / "today")
    assert sorted(path.name for path in (tmp_path / "out" / "today").iterdir()) == ["audio", "manifest.csv"]
    dataset = read_dataset([tmp_path / "out" / "today"])
    assert dataset.missing == 0
    dog, bird = sorted(dataset.recordings, key=lambda recording: recording.path.name)
    assert dog.events == (Occurrence(2.5, 3.0, "Cattle, bovinae"), Occurrence(1.0, 2.0, "Dog"))
    assert (bird.labels, bird.events, bird.group) == (frozenset(), (), "20260501T213020_yard_Bird")
    assert [soundfile.info(recording.path).duration for recording in (bird, dog)] == [3.0, 3.0]


def test_the_archive_holds_the_same(export, tmp_path):
    write_folder(export, tmp_path / "out")
    stream = io.BytesIO()
    write_zip(export, stream)
    with zipfile.ZipFile(stream) as archive:
        assert archive.testzip() is None
        content = {name: archive.read(name) for name in archive.namelist()}
    files = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert content == {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files}


def test_a_clip_that_goes_meanwhile_leaves_no_row(export, clips, tmp_path):
    (clips / "20260501T213000_yard_Dog.flac").unlink()
    write_folder(export, tmp_path / "out")
    stream = io.BytesIO()
    write_zip(export, stream)
    lines = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["file", "audio/20260501T213020_yard_Bird.wav"]
    assert zipfile.ZipFile(stream).namelist() == ["audio/20260501T213020_yard_Bird.wav", "manifest.csv"]


def test_an_empty_folder_is_filled(export, tmp_path):
    (tmp_path / "out").mkdir()
    write_folder(export, tmp_path / "out")
    assert (tmp_path / "out" / "manifest.csv").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_foreign_is_left_as_it_is(kind, export, tmp_path):
    out, own = tmp_path / "out", tmp_path / "own.txt"
    own.write_text("mine")
    if kind == "file":
        out.write_text("mine")
    elif kind == "folder":
        out.mkdir()
        (out / "manifest.csv").write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = sorted((path, path.is_symlink() or path.is_dir() or path.read_text()) for path in tmp_path.glob("o*/**"))
    with pytest.raises(HtsatEdgeError, match="out: is there, and not an empty folder; give another"):
        write_folder(export, out)
    after = sorted((path, path.is_symlink() or path.is_dir() or path.read_text()) for path in tmp_path.glob("o*/**"))
    assert after == before


def test_whole_or_not_at_all(export, tmp_path):
    """A clip that cannot be written is none that cannot be read."""
    (whole, *_) = export.clips
    broken = Export(export.rows, [*export.clips, ClipPart("folder/dog.flac", whole.path)], export.left_out)
    with pytest.raises(HtsatEdgeError, match="out: cannot be written"):
        write_folder(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_to_export(heard, plan):
    with pytest.raises(HtsatEdgeError, match="there is nothing to export: no event has a verdict; say of each event"):
        plan()
    heard("Dog", 1.0, 2.0, CORRECT)
    with pytest.raises(HtsatEdgeError, match="there is nothing to export: 1 events in no clip; say of each event"):
        plan()
