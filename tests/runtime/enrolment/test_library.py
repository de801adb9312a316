"""The folder of enrolled sounds: nothing is ever half done, and nothing foreign is touched."""

import json
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.sounds import read_sounds

WEIGHTS = np.arange(4, dtype=np.float32)
AFTER_JSON = 12
"""Changes of files until the json of a sound of three recordings has its place."""


@pytest.fixture
def library(tmp_path, tiny_bundle):
    return Library(tmp_path / "sounds", load_bundle(tiny_bundle))


def entries(folder):
    """All files below a folder but the lock."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def test_a_sound_is_a_json_its_weights_and_its_recordings(library, put_sound):
    sound = put_sound(library, "Our  doorbell", WEIGHTS, bias=0.25, threshold=0.4)
    (read,) = library.sounds().usable
    assert (read.name, read.info) == ("our-doorbell", sound.info)
    assert (read.info.label, read.info.threshold, read.bias) == ("Our doorbell", 0.4, 0.25)
    assert read.weight.tobytes() == WEIGHTS.tobytes()
    positives = [f"our-doorbell/{one.file}" for one in sound.info.recordings]
    assert entries(library.folder) == sorted([*positives, "our-doorbell.json", "our-doorbell.npz"])
    assert [path.name for path in library.recordings_of("our-doorbell", "positive")] == [
        one.file for one in sound.info.recordings
    ]
    assert library.recordings_of("our-doorbell", "background") == []


@pytest.mark.parametrize(
    ("label", "name"),
    [("Küche, Tür", "kuche-tur"), ("門鈴", "sound"), ("../../etc", "etc"), ("Z" * 100, "z" * 40), ("CON", "con")],
)
def test_names_are_plain_whatever_the_label(label, name, library, put_sound):
    assert put_sound(library, label).name == name
    assert library.sounds().labels == [label]


def test_labels_that_look_alike_have_files_of_their_own(library, put_sound):
    names = [put_sound(library, label, seed=k).name for k, label in enumerate(["Tür", "Tur!", "TUR?"])]
    assert names == ["tur", "tur-2", "tur-3"]


@pytest.mark.parametrize("foreign", ["tur.npz", "tur.new.npz", "tur/notes.txt"])
def test_nothing_foreign_is_touched(foreign, library, put_sound):
    path = library.folder / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert put_sound(library, "Tur").name == "tur-2"
    library.remove("Tur")
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("class 3", "the model has a class of this name"),
        ("OUR DOORBELL", "is enrolled already; give the sound another"),
        ("Background", "is the name of recordings of no sound; give the sound another"),
        ("false  ALARM", "is the name of recordings of no sound"),
        ("Animals", "is the name of something else"),
        (" ", "want a name that can be printed"),
        ("a\x07", "want a name that can be printed"),
        ("x" * 101, "of at most 100 letters"),
    ],
)
def test_labels_that_are_taken_or_no_names_are_refused(label, text, library, put_sound):
    put_sound(library, "Our doorbell")
    with pytest.raises(HtsatEdgeError, match=text):
        library.check_label(label, taken=["ANIMALS"])
    assert library.check_label("our doorbell", own="our-doorbell") == "our doorbell"


class Crash(BaseException):
    """The power fails."""


@pytest.fixture
def crash_at(monkeypatch):
    """Return what lets the power fail at the nth change of a file from then on; after it, nothing more happens."""

    def arrange(step):
        left = [step]

        def failing(change):
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    raise Crash
                return change(*arguments, **options)

            return call

        def begin():
            for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (shutil, "copyfile")):
                monkeypatch.setattr(owner, name, failing(getattr(owner, name)))

        return begin

    return arrange


def test_a_crash_at_any_moment_leaves_the_old_sound_or_the_new_one(library, put_sound, crash_at, monkeypatch):
    put_sound(library, "Our doorbell", WEIGHTS, seed=1)
    outcomes, step = [], 0
    while True:
        try:
            head = WEIGHTS + 1 + step
            put_sound(library, "Our doorbell", head, seed=2 + step, replace="our-doorbell", prepared=crash_at(step))
            done = True
        except Crash:
            done = False
        monkeypatch.undo()
        (sound,) = library.sounds().usable
        assert library.sounds().problems == []
        assert len(library.taken("our-doorbell")) == 3
        outcomes.append(bool(sound.weight[0] == 1 + step))
        if done:
            break
        step += 1
    assert outcomes == [False] * AFTER_JSON + [True] * (len(outcomes) - AFTER_JSON)
    assert len(outcomes) > AFTER_JSON + 1
    kept = [f"our-doorbell/{one.file}" for one in sound.info.recordings]
    assert entries(library.folder) == sorted(["our-doorbell.json", "our-doorbell.npz", *kept])


def test_a_second_crash_soon_after_the_first_leaves_one_of_the_sounds(library, put_sound, crash_at, monkeypatch):
    """The first comes when the json is new and the weights are still beside their place, the second before a json."""
    put_sound(library, "Our doorbell", WEIGHTS, seed=1)
    for second in range(AFTER_JSON - 3, AFTER_JSON + 1):
        for seed, step in ((2 * second, AFTER_JSON), (2 * second + 1, second)):  # each of other recordings
            crash = crash_at(step)
            with pytest.raises(Crash):
                put_sound(library, "Our doorbell", WEIGHTS + seed, seed=seed, replace="our-doorbell", prepared=crash)
            monkeypatch.undo()
            assert [one.name for one in library.sounds().usable] == ["our-doorbell"]
            assert library.sounds().problems == []


def test_a_crash_before_a_sound_is_there_leaves_nothing_that_counts(library, put_sound, crash_at, monkeypatch):
    with pytest.raises(Crash):
        put_sound(library, "Our doorbell", prepared=crash_at(5))
    monkeypatch.undo()
    assert entries(library.folder) != []
    assert library.sounds().known == library.sounds().problems == []
    assert put_sound(library, "Our doorbell").name == "our-doorbell"


def test_of_two_that_enrol_one_label_at_once_one_is_told_so(library, put_sound):
    """Each has a library of its own, as two programs have."""
    results, start = [], threading.Barrier(4)

    def enrol(seed):
        start.wait()
        try:
            put_sound(Library(library.folder, library.bundle), "Our doorbell", seed=seed)
            results.append("added")
        except HtsatEdgeError as error:
            results.append(str(error))

    threads = [threading.Thread(target=enrol, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["added"] + 3 * ["label 'Our doorbell': is enrolled already; give the sound another"]
    assert library.sounds().labels == ["Our doorbell"]


def test_a_sound_is_renamed_and_keeps_its_files(library, put_sound):
    put_sound(library, "Our doorbell")
    put_sound(library, "Gate", seed=1)
    before = entries(library.folder)
    library.rename("our DOORBELL", "Front  door")
    assert library.sounds().labels == ["Gate", "Front door"]
    assert entries(library.folder) == before
    with pytest.raises(HtsatEdgeError, match="is enrolled already"):
        library.rename("Front door", "gate")
    assert put_sound(library, "Our doorbell", seed=2).name == "our-doorbell-2"
    assert library.find("Our doorbell")[0] == "our-doorbell-2"


def test_a_sound_is_removed_with_all_that_is_its_own(library, put_sound):
    put_sound(library, "Our doorbell")
    put_sound(library, "Gate", seed=1)
    library.remove("gate")
    assert library.sounds().labels == ["Our doorbell"]
    (library.folder / "our-doorbell.json").write_text("{")
    library.remove("our-doorbell")
    assert entries(library.folder) == []
    with pytest.raises(HtsatEdgeError, match=r"there is no sound 'Gate' in .*; there: none"):
        library.remove("Gate")


def test_a_sound_goes_to_another_device_and_back(library, put_sound, tmp_path):
    sound = put_sound(library, "Our doorbell", WEIGHTS, bias=1.5)
    library.export("our doorbell", tmp_path / "out")
    with pytest.raises(HtsatEdgeError, match="is there, and not an empty folder"):
        library.export("our doorbell", tmp_path / "out")
    there = Library(tmp_path / "there", library.bundle)
    (added,) = there.add_from(tmp_path / "out")
    assert added.info == sound.info
    assert added.weight.tobytes() == WEIGHTS.tobytes()
    assert entries(there.folder) == entries(library.folder)
    with pytest.raises(HtsatEdgeError, match="is enrolled already"):
        there.add_from(tmp_path / "out")


def name_a_long_file(out):
    path = out / "our-doorbell.json"
    content = json.loads(path.read_text())
    content["recordings"][0]["file"] = "x" * 300
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda out: next(out.glob("*/*.flac")).unlink(), "is missing or damaged; copy it again"),
        (lambda out: next(out.glob("*/*.flac")).write_bytes(b"fLaC"), "cannot be read"),
        (lambda out: shutil.copy(*sorted(out.glob("*/*.flac"))[:2]), "is missing or damaged; copy it again"),
        (lambda out: (out / "our-doorbell.npz").unlink(), "is missing or damaged"),
        (lambda out: (out / "our-doorbell.json").unlink(), "holds no sound"),
        (name_a_long_file, "out: cannot be read: File name too long"),
    ],
)
def test_a_damaged_folder_is_not_imported(damage, text, library, put_sound, tmp_path):
    put_sound(library, "Our doorbell")
    library.export("Our doorbell", tmp_path / "out")
    damage(tmp_path / "out")
    there = Library(tmp_path / "there", library.bundle)
    with pytest.raises(HtsatEdgeError, match=text) as raised:
        there.add_from(tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not there.folder.exists()


def test_what_is_not_there_makes_no_folder(library):
    for change in (lambda: library.rename("Gate", "Door"), lambda: library.remove("Gate")):
        with pytest.raises(HtsatEdgeError, match="there is no sound 'Gate'"):
            change()
    # From 3.13 on Python's glob finds nothing where the system refuses the name.
    said = "cannot be read: File name too long" if sys.version_info < (3, 13) else "holds no sound"
    with pytest.raises(HtsatEdgeError, match=said):
        library.add_from(library.folder.parent / ("x" * 300))
    assert not library.folder.exists()


def test_a_folder_that_cannot_be_written_to_is_one_line_with_what_to_do(library):
    for folder in (Path("/proc/sounds"), Path(__file__) / "sounds"):
        with pytest.raises(HtsatEdgeError, match=r"want a folder that can be written to: `model\.sounds` in"):
            Library(folder, library.bundle).check_writable()


def test_sounds_survive_an_upgrade_of_their_bundle(put_sound, tiny_checkpoint, tiny_files, tmp_path):
    """The same weights give the same graph, so the sound is heard at once; others make it stale, and it is kept."""
    torch = pytest.importorskip("torch")
    from htsat_edge.export.to_onnx import main

    out = tmp_path / "bundle"
    fixed = ["--network", tiny_files / "tiny.yaml", "--labels", tiny_files / "tiny.csv", "--out", out]
    assert main([str(x) for x in (tiny_checkpoint, *fixed)]) == 0
    library = Library(out / "sounds", load_bundle(out))
    sound = put_sound(library, "Our doorbell", WEIGHTS)
    before = {name: (library.folder / name).read_bytes() for name in entries(library.folder)}

    assert main([str(x) for x in (tiny_checkpoint, *fixed)]) == 0
    assert read_sounds(library.folder, load_bundle(out)).usable[0].info == sound.info

    weights = torch.load(tiny_checkpoint)["state_dict"]
    torch.save({"state_dict": {k: v * 1.01 for k, v in weights.items()}}, tmp_path / "newer.ckpt")
    assert main([str(x) for x in (tmp_path / "newer.ckpt", *fixed)]) == 0
    assert [name for name, _ in read_sounds(library.folder, load_bundle(out)).stale] == ["our-doorbell"]
    assert {name: (library.folder / name).read_bytes() for name in entries(library.folder)} == before
