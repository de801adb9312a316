"""Read what Label Studio exports: JSON, JSON-MIN and CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.lookup import Lookup
from htsat_edge.evaluation.datasets.rows import columns_of, read_rows
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence, join, parse_span
from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import SUFFIXES

UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)")
"""Label Studio puts this before the name of a file that was uploaded to it,"""
DROPPED = re.compile(r"[^-\w.]")
"""and takes these out of the name, after it wrote spaces as underscores."""
OWN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}
"""Keys of JSON-MIN and columns of CSV that are no answer of an annotator."""
MARK = "annotation_id"
SNIFFED = 1 << 14
SKIPPED, EARLIER = "skipped by the annotator", "with an earlier annotation"


class Task(NamedTuple):
    """A recording that was given to annotators, and one of their answers."""

    where: str
    recording: str
    """Its address in Label Studio."""
    answers: list[Any] | None
    """Regions and choices; None where there is no answer yet."""
    skipped: bool = False


class Answer(NamedTuple):
    """A class, and its region where it has one."""

    label: str
    span_s: tuple[float, float] | None


def tables(files: Files) -> list[Path]:
    """Return the exports; those that were named before those that lie in folders."""
    found = [path for path in files.tables if _is_export(path)]
    return files.prefer_given(found)


def read(files: Files) -> Dataset:
    """Read exports, and the recordings that lie in the same folders: those in Label Studio are not fetched.

    Regions say what sounds and when; where an export has none, choices say what sounds. Of several answers on a
    recording the one marked as ground truth counts, else the last.
    """
    found = tables(files)
    if not found:
        raise HtsatEdgeError(f"{files}: want an export of Label Studio as JSON, JSON-MIN or CSV")
    lookup = Lookup(files, beside=found[0].parent)
    tasks = [task for table in found for task in _read_export(table)]
    answers = [(task, [*_answers(task)]) for task in tasks]
    regions = any(answer.span_s for _, own in answers for answer in own)
    uploads = {DROPPED.sub("", path.name.strip().replace(" ", "_")): path.name for path in lookup.files.recordings}
    recordings: dict[Path, Labelled] = {}
    skipped: list[Path] = []
    missing = earlier = 0
    for task, own in answers:
        path = _find(lookup, task, uploads)
        if path is None:
            missing += 1
        elif task.skipped:
            skipped.append(path)
        elif task.answers is not None:
            earlier += path in recordings
            recordings[path] = _labelled(path, task, own, regions)
    if not recordings:
        raise lookup.none_of(", ".join(map(str, found)), len(tasks))
    dataset = Dataset(list(recordings.values()), missing).counting(EARLIER, earlier)
    return dataset.setting_aside(SKIPPED, [path for path in skipped if path not in recordings])


def _is_export(path: Path) -> bool:
    if path.suffix.lower() == ".csv":
        return {MARK, "annotator"} <= set(columns_of(path))
    if path.suffix.lower() != ".json":
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            begin = file.read(SNIFFED)
    except OSError:
        return False
    return begin.lstrip().startswith("[") and (f'"{MARK}"' in begin or '"annotations"' in begin)


def _read_export(table: Path) -> Iterator[Task]:
    if table.suffix.lower() == ".csv":
        for row in read_rows(table, [MARK]):
            yield _flat(row.where, {name: _parsed(value) for name, value in row.fields.items()})
        return
    try:
        content = json.loads(read_text(table))
    except (ValueError, RecursionError) as error:
        raise HtsatEdgeError(f"{table}: is not JSON: {error}") from None
    for number, entry in enumerate(content, 1):
        where = f"{table}: task {number}"
        if not isinstance(entry, dict):
            raise HtsatEdgeError(f"{where} is no object, want an export of Label Studio")
        if "annotations" in entry:
            yield _whole(where, entry)
        else:
            yield _flat(where, entry)


def _whole(where: str, entry: dict[str, Any]) -> Task:
    """Return a task of the JSON export."""
    data, annotations = entry.get("data"), entry["annotations"]
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise HtsatEdgeError(f"{where} has no data or annotations, want an export of Label Studio")
    recording = _recording(data) or str(entry.get("file_upload") or "")
    if not recording:
        raise HtsatEdgeError(f"{where} names no recording in its data, which has {', '.join(data) or 'nothing'}")
    given = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
    given.sort(key=lambda one: (bool(one.get("ground_truth")), str(one.get("updated_at") or "")))
    if not given:
        return Task(where, recording, None, skipped=bool(annotations))
    results = _listed(given[-1].get("result"))
    return Task(where, recording, [one.get("value") for one in results if isinstance(one, dict)])


def _flat(where: str, entry: dict[str, Any]) -> Task:
    """Return a task of JSON-MIN or a row of CSV: answers stand beside the data, under the names of their controls."""
    recording = _recording(entry)
    if not recording:
        raise HtsatEdgeError(f"{where} names no recording, it has {', '.join(map(str, entry))}")
    names = [str(name) for name in entry]
    first, last = (names.index(name) if name in names else 0 for name in ("id", "annotator"))
    if (
        first < last
    ):  # the controls stand between them, and what was imported before; newer CSV is in alphabetical order
        names = names[first:last]
    own = {name: entry[name] for name in names if name not in OWN and entry[name] not in (recording, "", None)}
    answers = [one for value in own.values() if not isinstance(value, str) for one in _listed(value)]
    texts = [name for name, value in own.items() if isinstance(value, str)]
    if len(texts) > 1 and not answers:
        raise HtsatEdgeError(
            f"{where} has several texts that may be the class, {', '.join(texts)}; export JSON instead"
        )
    return Task(where, recording, answers or [own[name] for name in texts])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _parsed(cell: str) -> Any:
    """Return what a cell of CSV holds: JSON, or plain text where there is one choice."""
    if cell[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _recording(data: dict[str, Any]) -> str:
    """Return the address of a recording among the data of a task; empty where there is none."""
    texts = [value for value in data.values() if isinstance(value, str)]
    return next((text for text in texts if Path(_name(text)).suffix.lower() in SUFFIXES), "")


def _name(address: str) -> str:
    """Return the path of a recording within an address, such as /data/local-files/?d=dogs/a.wav or s3://bucket/a.wav."""
    parts = urlsplit(address)
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0]


def _find(lookup: Lookup, task: Task, uploads: Mapping[str, str]) -> Path | None:
    """Return the recording of a task, also under the name that it had before it was uploaded."""
    *folders, name = _name(task.recording).split("/")
    uploaded = UPLOADED.fullmatch(name)
    names = [name, uploads.get(uploaded["name"], uploaded["name"])] if uploaded else [name]
    return next((path for own in names if (path := lookup.find(task.where, own, near=folders))), None)


def _answers(task: Task) -> Iterator[Answer]:
    """Return the classes that an annotator gave; text, ratings and the like are none."""
    values = [value for value in task.answers or () if isinstance(value, dict)]
    labelled = [_ends(value) for value in values if _texts(value.get("labels"))]
    yield from (Answer(value, None) for value in task.answers or () if isinstance(value, str))  # one choice
    for value in values:
        labels, choices, ends = _texts(value.get("labels")), _texts(value.get("choices")), _ends(value)
        if labels or ("start" in value and ends not in labelled):
            yield from (Answer(label, parse_span(task.where, *ends)) for label in labels or choices)
        elif "start" not in value:  # else the choices say more of a region, not what it is
            yield from (Answer(choice, None) for choice in choices)


def _ends(value: dict[str, Any]) -> tuple[str, str]:
    return str(value.get("start", "")), str(value.get("end", ""))


def _texts(value: Any) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _labelled(path: Path, task: Task, answers: Sequence[Answer], regions: bool) -> Labelled:
    found = [one for one in answers if one.label != BACKGROUND and (one.span_s is not None) == regions]
    if regions and not any(
        one.span_s for one in answers
    ):  # texts of short forms may be of any column: they count where no recording has regions
        values = [value for value in task.answers or () if isinstance(value, dict)]
        choices = {choice for value in values for choice in _texts(value.get("choices"))}
        found = [one for one in answers if one.label != BACKGROUND and one.label in choices]
    labels = frozenset(one.label for one in found)
    if not regions or any(one.span_s is None for one in found):
        return Labelled(path, labels, None if labels else (), where=task.where)
    events = join(Occurrence(*one.span_s, one.label) for one in found if one.span_s)
    return Labelled(path, labels, tuple(events), where=task.where)
