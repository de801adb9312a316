"""Label Studio's exports: JSON, JSON-MIN and CSV, of regions and of choices."""

import csv
import json

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError

DOG = {"start": 0.1, "end": 0.3, "channel": 0, "labels": ["Dog"]}
TAIL = {
    "annotator": 1,
    "annotation_id": 7,
    "created_at": "2026-05-01T10:00:00Z",
    "updated_at": "2026-05-01",
    "lead_time": 2.5,
}


def export(folder, entries, name="export.json"):
    path = folder / name
    if path.suffix == ".json":
        path.write_text(json.dumps(entries))
        return path
    keys = dict.fromkeys(key for entry in entries for key in entry)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(
            {k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in e.items()} for e in entries
        )
    return path


def task(address, *annotations):
    return {"id": 1, "annotations": list(annotations), "data": {"audio": address}}


def annotation(*values, **more):
    return {"id": 1, "result": [{"type": "labels", "value": value} for value in values], "was_cancelled": False, **more}


def test_regions(layouts, tmp_path):
    found = read_dataset([layouts.label_studio(tmp_path)])
    assert (found.name, found.missing) == ("label-studio", 0)
    assert found.left_out == {"skipped by the annotator": 1, "no label": 1}
    dog, cat = Occurrence(0.0, 0.2, "Dog"), Occurrence(0.1, 0.5, "Cat")
    assert found.recordings == [
        Labelled(tmp_path / "dog.wav", frozenset(["Dog"]), (Occurrence(0.1, 0.3, "Dog"),)),
        Labelled(tmp_path / "two dogs.wav", frozenset(["Dog", "Cat"]), (dog, cat)),
        Labelled(tmp_path / "quiet.wav", frozenset(), ()),
    ]
    (table,) = tmp_path.glob("*.json")
    assert read_dataset([table]).recordings == found.recordings


ADDRESSES = [
    "/data/upload/3/1a2b3c4d-barn_dog.wav",
    "/data/local-files/?d=field/barn%20dog.wav",
    "s3://bucket/field/barn%20dog.wav",
    "https://host:8080/audio/barn%20dog.wav?token=abc",
    "barn dog.wav",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses(layouts, tmp_path, address):
    layouts.record(tmp_path / "field" / "barn dog.wav")
    export(tmp_path, [task(address, annotation(DOG))])
    assert [r.path for r in read_dataset([tmp_path]).recordings] == [tmp_path / "field" / "barn dog.wav"]


@pytest.mark.parametrize("name", ["min.json", "min.csv", "sorted.csv"])
def test_short_forms(layouts, tmp_path, name):
    layouts.record(tmp_path / "a.wav")
    layouts.record(tmp_path / "b.wav")
    entries = [
        {"audio": "/data/upload/1/1a2b3c4d-a.wav", "site": "barn", "id": 1, "label": [DOG], **TAIL},
        {"audio": "/data/upload/1/1a2b3c4d-b.wav", "site": "barn", "id": 2, **TAIL},
    ]
    export(tmp_path, [dict(sorted(e.items())) for e in entries] if name.startswith("sorted") else entries, name)
    found = read_dataset([tmp_path])
    assert found.name == "label-studio"
    assert [(r.labels, r.events) for r in found.recordings] == [
        (frozenset(["Dog"]), (Occurrence(0.1, 0.3, "Dog"),)),
        (frozenset(), ()),
    ]


@pytest.mark.parametrize("name", ["min.json", "min.csv"])
def test_choices(layouts, tmp_path, name):
    for recording in ("a.wav", "b.wav"):
        layouts.record(tmp_path / recording)
    both = {"choices": ["Dog", "Cat"]}
    entries = [
        {"audio": "a.wav", "site": "barn", "id": 1, "sound": "Dog", **TAIL},
        {"audio": "b.wav", "id": 2, "sound": both, **TAIL},
    ]
    export(tmp_path, entries, name)
    found = read_dataset([tmp_path])
    assert [(r.labels, r.events) for r in found.recordings] == [({"Dog"}, None), ({"Dog", "Cat"}, None)]


def test_choices_beside_regions_say_more_of_them(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    quality = {"choices": ["noisy"]}
    of_region = {"start": 0.1, "end": 0.3, "choices": ["near"]}
    export(tmp_path, [task("a.wav", annotation(DOG, of_region, quality, {"text": ["a dog"]}))])
    (found,) = read_dataset([tmp_path]).recordings
    assert (found.labels, found.events) == ({"Dog"}, (Occurrence(0.1, 0.3, "Dog"),))


def test_choices_alone_are_no_background_where_others_have_regions(layouts, tmp_path):
    for name in ("a.wav", "b.wav", "c.wav"):
        layouts.record(tmp_path / name)
    export(
        tmp_path,
        [task("a.wav", annotation(DOG)), task("b.wav", annotation({"choices": ["Cat"]})), task("c.wav", annotation())],
    )
    found = [(r.labels, r.events) for r in read_dataset([tmp_path]).recordings]
    assert found == [({"Dog"}, (Occurrence(0.1, 0.3, "Dog"),)), ({"Cat"}, None), (frozenset(), ())]


def test_choices_about_a_region_are_no_classes(layouts, tmp_path):
    """Label Studio has them as a result of their own, with the region's times."""
    layouts.record(tmp_path / "a.wav")
    loud = {"start": 0.1, "end": 0.3, "choices": ["loud"]}
    export(tmp_path, [task("a.wav", annotation(DOG, loud, {**DOG, "labels": ["Cat"], "choices": ["loud"]}))])
    (found,) = read_dataset([tmp_path]).recordings
    assert found.labels == {"Dog", "Cat"}
    layouts.record(tmp_path / "b.wav")
    nothing = {**DOG, "labels": ["background"]}
    of_quiet = annotation(nothing, {**loud, "choices": ["humming"]}, {"choices": ["noisy"]})
    export(tmp_path, [task("a.wav", annotation(DOG)), task("b.wav", of_quiet)])
    assert [(r.labels, r.events) for r in read_dataset([tmp_path]).recordings][1] == (frozenset(), ())
    export(tmp_path, [task("b.wav", annotation({**DOG, "labels": ["Dog"]}, {**loud, "choices": ["humming"]}))])
    assert read_dataset([tmp_path]).labels == ["Dog"]


def test_an_earlier_annotation_does_not_hide_what_has_none(layouts, tmp_path):
    """The count of the one was taken from that of the other."""
    for name in ("a.wav", "b.wav"):
        layouts.record(tmp_path / name)
    export(tmp_path, [task("a.wav", annotation(DOG)), task("a.wav", annotation(DOG))])
    assert read_dataset([tmp_path]).left_out == {"with an earlier annotation": 1, "no label": 1}


def test_choices_of_regions_without_labels_are_their_classes(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    export(
        tmp_path, [task("a.wav", annotation({"start": 0.1, "end": 0.3, "choices": ["Dog"]}, {"choices": ["noisy"]}))]
    )
    (found,) = read_dataset([tmp_path]).recordings
    assert (found.labels, found.events) == ({"Dog"}, (Occurrence(0.1, 0.3, "Dog"),))


def test_several_answers(layouts, tmp_path):
    """The ground truth counts, else the last; JSON-MIN has an entry for each."""
    layouts.record(tmp_path / "a.wav")
    early, late = ({**DOG, "labels": [name]} for name in ("Early", "Late"))
    first, last = annotation(early, updated_at="2026-05-01"), annotation(late, updated_at="2026-05-02")
    table = export(tmp_path, [task("a.wav", last, first)])
    assert read_dataset([tmp_path]).labels == ["Late"]
    export(tmp_path, [task("a.wav", {**first, "ground_truth": True}, last)])
    assert read_dataset([tmp_path]).labels == ["Early"]
    table.unlink()
    export(tmp_path, [{"audio": "a.wav", "id": 1, "label": [value], **TAIL} for value in (early, late)], "min.json")
    found = read_dataset([tmp_path])
    assert (found.labels, found.left_out) == (["Late"], {"with an earlier annotation": 1})


def test_recordings_that_are_not_there(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    layouts.record(tmp_path / "untouched.wav")
    export(tmp_path, [task("a.wav", annotation(DOG)), task("gone.wav", annotation(DOG))])
    found = read_dataset([tmp_path])
    assert (len(found.recordings), found.missing, found.left_out) == (1, 1, {"no label": 1})
    export(tmp_path, [task("gone.wav", annotation(DOG))])
    with pytest.raises(
        HtsatEdgeError, match=r"export.json: none of its 1 recordings is in .*, which holds 2 of other names"
    ):
        read_dataset([tmp_path])


BAD = {
    "no JSON": ('[{"annotations": ', "export.json: is not JSON"),
    "no object": ('["annotations", "annotation_id", 3]', "task 1 is no object, want an export of Label Studio"),
    "no data": ('[{"annotations": []}]', "task 1 has no data or annotations"),
    "an image": (
        '[{"annotations": [], "data": {"image": "a.png"}}]',
        "task 1 names no recording in its data, which has image",
    ),
    "backwards": (
        json.dumps([task("a.wav", annotation({**DOG, "end": 0.05}))]),
        "task 1 has onset '0.1' and offset '0.05'",
    ),
    "no times": (json.dumps([task("a.wav", annotation({"labels": ["Dog"]}))]), "task 1 has onset '' and offset ''"),
    "two texts": (
        json.dumps([{"audio": "a.wav", "id": 1, "sound": "Dog", "note": "near", **TAIL}]),
        "task 1 has several texts that may be the class, sound, note; export JSON instead",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_exports(layouts, tmp_path, text, message):
    layouts.record(tmp_path / "a.wav")
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(HtsatEdgeError, match=message):
        read_dataset([tmp_path], "label-studio")
