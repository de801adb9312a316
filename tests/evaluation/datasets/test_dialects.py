"""Manifests in the forms in which people have them: whatever the dialect, the set is the same."""

import csv
import io
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.columns import NAMES
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError


def write(folder, text, *names, table="list.csv"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = folder / table
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def seen(path, *more):
    """The recordings of a manifest: name, classes, events."""
    found = read_dataset([path, *more])
    assert found.name == "manifest"
    return [(r.path.name, "+".join(sorted(r.labels)), r.events) for r in found.recordings]


DOG = [("a.wav", "Dog", None), ("b.wav", "Rain", None)]


@pytest.mark.parametrize(
    "text",
    [
        "file;class\na.wav;Dog\nb.wav;Rain\n",
        "file\tclass\na.wav\tDog\nb.wav\tRain\n",
        "file|class\na.wav|Dog\nb.wav|Rain\n",
        "FileName,Category\na.wav,Dog\nb.wav,Rain\n",
        "FILE , Display Name\na.wav , Dog \nb.wav , Rain\n",
        "\ufefffname,label\r\na.wav,Dog\r\nb.wav,Rain\r\n",
        "sep=;\nfile;labels\na.wav;Dog\nb.wav;Rain\n",
        "a.wav,Dog\nb.wav,Rain\n",
        "Dog;a.wav\nRain;b.wav\n",
        '"a.wav"\t"Dog"\n"b.wav"\t"Rain"\n',
        "path,class\na,Dog\nb,Rain\n",
        "a,Dog\nb,Rain\n",
        "audio_path,tags,length,sample rate\n./a.wav,Dog,3,8000\n.\\b.wav,Rain,2,8000\n",
        "file,target,category\na.wav,3,Dog\nb.wav,7,Rain\n",
        "file,label,display_name\na.wav,/m/0bt9lr,Dog\nb.wav,/m/06mb1,Rain\n",
        "index,file,class\n0,a.wav,Dog\n1,b.wav,Rain\n",
        "file,class,category\na.wav,Dog,Dog\nb.wav,Rain,Rain\n",
        "file,class\n\na.wav,Dog\n,\nb.wav,Rain\n\n",
    ],
)
def test_two_recordings_in_every_dialect(text, tmp_path):
    assert seen(write(tmp_path, text, "a.wav", "b.wav")) == DOG


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_programs_write(encoding, tmp_path):
    path = write(tmp_path, "", "Käse.wav")
    path.write_text("file,class\nKäse.wav,Säge\n", encoding=encoding)
    assert seen(path) == [("Käse.wav", "Säge", None)]
    path.write_text("file,class\nKäse.wav,Säge\n", encoding="latin-1")
    with pytest.raises(HtsatEdgeError, match=r"list\.csv: cannot be read: 'utf-8' codec"):
        read_dataset([path])


@pytest.mark.parametrize(
    ("column", "cell", "classes"),
    [
        ("class", "Dog;Rain", "Dog+Rain"),
        ("class", "Dog|Rain", "Dog+Rain"),
        ("class", '"Dog,Rain"', "Dog+Rain"),
        ("class", '"Domestic animals, pets"', "Domestic animals, pets"),
        ("class", '"Knock, door"', "Knock, door"),
        ("labels", '"Dog, Rain"', "Dog+Rain"),
        ("labels", '"Domestic animals, pets, Dog"', "Dog+Domestic animals, pets"),
        ("labels", '"Dishes, pots, and pans,Dog"', "Dishes, pots, and pans+Dog"),
        ("tags", "Dog; Rain ;", "Dog+Rain"),
        ("class", "Dog;background", "Dog"),
        ("class", "background", ""),
    ],
)
def test_several_classes_in_a_cell(column, cell, classes, tmp_path):
    (found,) = seen(write(tmp_path, f"file,{column}\na.wav,{cell}\n", "a.wav"))
    assert found[:2] == ("a.wav", classes)


@pytest.mark.parametrize(
    "text",
    [
        "file,class,onset,offset\na.wav,Dog,1.5,2\n",
        "file,start,end,class\na.wav,1.5,2,Dog\n",
        "file;class;Begin Time (s);End Time (s)\na.wav;Dog;1,5;2,0\n",
        "file,class,start_time_seconds,end_time_seconds\na.wav,Dog,1.5,2\n",
        "file,class,onset,duration\na.wav,Dog,1.5,0.5\n",
        "a.wav,1.5,2,Dog\n",
    ],
)
def test_times_in_every_dialect(text, tmp_path):
    assert seen(write(tmp_path, text, "a.wav")) == [("a.wav", "Dog", (Occurrence(1.5, 2, "Dog"),))]


def test_background_has_times_too(tmp_path):
    path = write(tmp_path, "file,class,onset,offset\na.wav,Dog,1,2\na.wav,background,3,9\n", "a.wav")
    (found,) = read_dataset([path]).recordings
    assert (found.events, found.backgrounds_s) == ((Occurrence(1, 2, "Dog"),), ((3.0, 9.0),))


@pytest.mark.parametrize(
    ("table", "cell", "file"),
    [
        ("list.csv", "x/a.wav", "x/a.wav"),
        ("list.csv", "x\\a.wav", "x/a.wav"),
        ("list.csv", "a.wav", "audio/a.wav"),
        ("list.csv", "a", "audio/a.flac"),
        ("meta/list.csv", "a.wav", "audio/a.wav"),
        ("list.csv", "1.5 m.wav", "1.5 m.wav"),
        ("meta/list.csv", "../x/a.wav", "x/a.wav"),
        ("list.csv", "1.5 m", "1.5 m.wav"),
        ("list.csv", "{tmp}/a.wav", "a.wav"),
    ],
)
def test_where_recordings_are_named(table, cell, file, tmp_path):
    path = write(tmp_path, f"file,class\n{cell.format(tmp=tmp_path)},Dog\n", file, table=table)
    (found,) = read_dataset([path]).recordings
    assert found.path == tmp_path / file
    assert found.path.is_file()


def test_names_may_be_relative_to_a_folder_that_is_named_too(tmp_path):
    path = write(tmp_path / "tables", "file,class\na.wav,Dog\n")
    write(tmp_path, "", "elsewhere/a.wav")
    assert seen(path, tmp_path / "elsewhere") == DOG[:1]
    write(tmp_path / "elsewhere", "file,class\na.wav,Cat\n", table="manifest.csv")
    with pytest.raises(HtsatEdgeError, match=r"elsewhere/manifest\.csv is a manifest, too; name folders, or manifests"):
        read_dataset([path, tmp_path / "elsewhere"])


def test_a_folder_with_a_manifest(tmp_path):
    write(tmp_path, "file,class\na.wav,Dog\nb.wav,Rain\n", "a.wav", "b.wav", "Cat/c.wav", table="metadata.csv")
    assert seen(tmp_path) == DOG
    assert read_dataset([tmp_path]).left_out == {"no label": 1}
    (tmp_path / "metadata.csv").rename(tmp_path / "numbers.csv")  # folders say more than a table of some name
    assert read_dataset([tmp_path]).labels == ["Cat"]
    (tmp_path / "Cat" / "c.wav").unlink()
    (tmp_path / "Cat").rmdir()
    assert seen(tmp_path) == DOG


@pytest.mark.parametrize("form", ["train.csv test.csv", "train/metadata.csv test/metadata.csv"])
def test_several_manifests_are_named_like_splits(form, tmp_path):
    for i, table in enumerate(form.split()):
        write(tmp_path, f"file_name,label\n{i}.wav,Dog\n", str(Path(table).parent / f"{i}.wav"), table=table)
    found = read_dataset([tmp_path])
    assert sorted((r.path.name, r.split) for r in found.recordings) == [("0.wav", "train"), ("1.wav", "test")]


@pytest.mark.parametrize(
    ("text", "splits"),
    [
        ("file,class,split\na.wav,Dog,TRAIN\nb.wav,Dog,Validation\nc.wav,Dog,eval\n", "train val test"),
        ("file,class,subset\na.wav,Dog,dev\nb.wav,Dog,dev\nc.wav,Dog,eval\n", "train train test"),
        ("file,class\ntrain/a.wav,Dog\nval/b.wav,Dog\ntest/c.wav,Dog\n", "train val test"),
        ("file,class\ntrain/a.wav,Dog\nb.wav,Dog\ntest/c.wav,Dog\n", "- - -"),
    ],
)
def test_splits_by_column_or_folder(text, splits, tmp_path):
    names = [line.split(",")[0] for line in text.splitlines()[1:]]
    found = read_dataset([write(tmp_path, text, *names)])
    assert [r.split or "-" for r in found.recordings] == splits.split()


def test_folds_and_groups(tmp_path):
    text = "file,class,fold,speaker\na.wav,Dog,fold1,x\nb.wav,Dog,02,y\nc.wav,Dog,1.0,x\n"
    path = write(tmp_path, text, "a.wav", "b.wav", "c.wav")
    assert [(r.fold, r.group, r.split) for r in read_dataset([path]).recordings] == [
        ("1", "x", ""),
        ("2", "y", ""),
        ("1", "x", ""),
    ]
    assert [r.split for r in read_dataset([path], fold=2).recordings] == ["train", "val", "train"]
    with pytest.raises(HtsatEdgeError, match=r"--fold: .*list\.csv has no fold 3, only 1, 2"):
        read_dataset([path], fold=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "clip_nr,species_de\n1,Hund\n",
            "has no header that is known; its columns are clip_nr, species_de; known are file: file, path, filename, ",
        ),
        ("file,Art\na.wav,Dog\n", "has no column of classes; its columns are file, Art; known are file: file, path"),
        ("name,label\na.wav,Dog\n", "has no column of files; its columns are name, label; known are"),
        ("a.wav,Dog,Rain\n", "has no header that is known; its columns are a.wav, Dog, Rain"),
        ("file,class\na.wav,Dog,Rain\n", "row 1 has 3 cells, but there are 2 columns; put a cell that holds ',' in"),
        ("file,class,start_ms,end_ms\na.wav,Dog,1,2\n", "has the column 'start_ms'; want times in seconds"),
        ("file,class\n,Dog\n", "row 1 has no file"),
        ("file,class\nc,Dog\n", "row 1 names c, which is both c.flac and c.wav; give the suffix"),
        ("", "is empty"),
        ("f\0i\0l\0e\0", "holds NUL characters: is no table, or UTF-16 without its mark; save it as UTF-8"),
        (f"file,class\n{'x' * 300}.wav,Dog\n", "1 of 1 recordings are missing, first"),
        # what contradicts itself
        (
            "file,target,category\na.wav,1,Dog\nb.wav,1,Cat\n",
            "row 2 has target 1 with category Cat, but .*row 1 with Dog",
        ),
        ("file,class_id,class\na.wav,1,Dog\nb.wav,2,Dog\n", "row 2 has class Dog with class_id 2, but .*row 1 with 1"),
        ("file,mid,label\na.wav,/m/1,Dog\nb.wav,/m/1,Cat\n", "row 2 has mid /m/1 with label Cat, but .*row 1 with Dog"),
        (
            "file,class,category\na.wav,Dog,Dog\nb.wav,Cat,Animal\n",
            "row 2 has class 'Cat' and category 'Animal', both names of classes; leave one of the columns out",
        ),
        ("file,class,split\ntrain/a.wav,Dog,test\n", "row 1 has split 'test', but its file lies in train: train/a.wav"),
        ("file,class,fold\na.wav,Dog,1\nb.wav,Dog,\n", "row 2 has no fold, but others have; give all or none"),
        ("file,class,fold,group\na.wav,Dog,1,x\nb.wav,Dog,2,x\n", "group 'x' is in the folds '1' and '2'"),
        ("file,class,group\na.wav,Dog,x\na.wav,Cat,y\n", r"recording .*a\.wav has the groups x and y; give it one"),
        ("file,class\na.wav,Dog\nb.wav,dog\n", "classes 'Dog' .*row 1.* and 'dog' .*row 2.* are nearly equal"),
    ],
)
def test_what_is_refused_and_why(text, message, tmp_path):
    path = write(tmp_path, text, "a.wav", "b.wav", "c.wav", "c.flac", "train/a.wav")
    with pytest.raises(HtsatEdgeError, match=message) as caught:
        read_dataset([path])
    assert "\n" not in str(caught.value)
    assert "list.csv" in str(caught.value)


def test_a_few_missing_recordings_are_counted_and_many_are_refused(tmp_path):
    names = [f"{i}.wav" for i in range(10)]
    path = write(tmp_path, "\n".join(["file,class", *(f"{name},Dog" for name in names)]), *names[:9])
    found = read_dataset([path])
    assert (len(found.recordings), found.missing) == (9, 1)
    assert found.summary() == "9 recordings, 1 class (Dog); no splits; left out: 1 missing"
    (tmp_path / "0.wav").unlink()
    with pytest.raises(HtsatEdgeError, match=r"list\.csv: 2 of 10 recordings are missing, first .*0\.wav"):
        read_dataset([path])


def test_a_split_may_be_missing_as_a_whole(tmp_path):
    """What is learned from need not be where a model is measured."""
    path = write(tmp_path, "file,class,split\na.wav,Dog,train\nb.wav,Dog,val\n", "b.wav")
    found = read_dataset([path])
    assert ([r.path.name for r in found.recordings], found.missing) == (["b.wav"], 1)


WORDS = (
    st.text(st.sampled_from("abcXYZäé019 ',;.#"), min_size=1, max_size=6)
    .map(str.strip)
    .filter(lambda word: word[:1] not in ("", "."))
)
LABELS = ["Dog", "Säge", "Domestic animals, pets", "Ding-dong", "it's"]


@st.composite
def written(draw):
    """Draw recordings, and a table of them in some dialect."""
    count = draw(st.integers(1, 5))
    timed, splits, several = (draw(st.booleans()) for _ in range(3))
    stems = [f"{draw(WORDS)}{i}" for i in range(count)]
    delimiter = draw(st.sampled_from(",;\t|"))
    columns = {kind: draw(st.sampled_from(NAMES[kind])) for kind in ("file", "onset", "offset", "split")}
    columns["class"] = draw(st.sampled_from(NAMES["class"]))
    suffix, slash = draw(st.sampled_from(["", ".wav"])), draw(st.sampled_from("/\\"))
    rows, recordings = [], []
    for stem in stems:
        labels = draw(st.lists(st.sampled_from(LABELS), max_size=3, unique=True))
        split = draw(st.sampled_from(["train", "val", "test"])) if splits else ""
        spans = [sorted(draw(st.lists(st.integers(0, 99), min_size=2, max_size=2, unique=True))) for _ in labels]
        name = f"deep{slash}{stem}{suffix}"
        common = {"file": name, "split": draw(st.sampled_from([split, split.upper(), split.title()]))}
        if timed or not several or not labels:
            for label, span in zip(labels or ["background"], spans or [("", "")], strict=True):
                times = {"onset": span[0], "offset": span[1]} if timed else {}
                rows.append({**common, "class": label, **times})
        else:
            rows.append({**common, "class": ";".join(labels)})
        events = tuple(Occurrence(*span, label) for label, span in zip(labels, spans, strict=True))
        recordings.append(
            Labelled(
                Path("deep") / f"{stem}.wav", frozenset(labels), events if timed or not labels else None, split, name
            )
        )
    kinds = draw(st.permutations(["file", "class", *["onset", "offset"] * timed, *["split"] * splits]))
    header = [draw(st.sampled_from([columns[k], columns[k].upper(), columns[k].replace("_", " ")])) for k in kinds]
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    table.writerows([header, *([row[kind] for kind in kinds] for row in rows)])
    return recordings, text.getvalue(), draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))


@settings(max_examples=150, deadline=None)
@given(written())
def test_any_manifest_in_any_dialect_is_the_same_set(case):
    recordings, text, encoding = case
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "deep").mkdir()
        for recording in recordings:
            (folder / recording.path).touch()
        (folder / "list.csv").write_bytes(text.encode(encoding))
        found = read_dataset([folder / "list.csv"])
        assert found.missing == 0
        for got, want in itertools.zip_longest(found.recordings, recordings):
            assert got.path == folder / want.path
            assert (got.labels, got.events, got.split, got.group) == (want.labels, want.events, want.split, want.group)


WORDS_OF_TABLES = [
    "file",
    "class",
    "onset",
    "offset",
    "split",
    "fold",
    "target",
    "a.wav",
    "b",
    "Dog",
    "dog",
    "train",
    "1",
]
MARKS = [*",;\t|\"'\n\r\x00\\/.- ", "\ufeff", "ä", "sep=", "1e999", "nan", "..", "/m/1"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*WORDS_OF_TABLES, *MARKS]), max_size=40).map("".join))
def test_any_text_is_a_set_or_is_refused(text):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "a.wav").touch()
        (folder / "list.csv").write_text(text, encoding="utf-8", newline="")
        try:
            found = read_dataset([folder / "list.csv"])
        except HtsatEdgeError:
            return
        assert {r.path for r in found.recordings} == {folder / "a.wav"}
