"""Write the page: totals, a clip of the best event of each class, and tables by class, time and folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.archive.formats import FORMATS, shown_path
from htsat_edge.runtime.archive.journal import KeptRecording
from htsat_edge.runtime.archive.summary.cards import CardWriter
from htsat_edge.runtime.archive.summary.counts import ArchiveCounts, FolderCounts, find_periods
from htsat_edge.runtime.archive.summary.parts import HtmlRow, count, hours, link, paragraph, section, table, text
from htsat_edge.runtime.archive.summary.style import STYLE
from htsat_edge.runtime.archive.tables import FAILED_FILE, LABELS_FOLDER
from htsat_edge.runtime.archive.walk import Unreadable
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.text import plural
from htsat_edge.runtime.dsp.log_mel import FrontEnd

MOST_FOLDERS = 200
MOST_FAILURES = 20
MOST_HEARD = 3
"""Classes that a folder is shown with."""
TABLES = sorted(
    {form.file_name for form in FORMATS.values() if not form.each}
    | {name for form in FORMATS.values() for name in (form.files_name, form.all_name) if name}
)
"""Of a scan; the page links to those that lie beside it."""
FAULTS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "damaged": ("damaged or broken off", lambda _: ""),
    "clipped": ("clipped: 0.1 % or more of the samples at full scale", lambda share: f"{100 * share:.1f} %"),
    "silent": ("without any signal for 1 s or more", lambda seconds: f"{seconds:.0f} s"),
    "dropouts": ("with drop-outs: signal lost for 10 ms to 1 s", lambda number: f"{number:.0f}"),
}
"""In words, and how bad the worst is."""


@dataclass(frozen=True)
class SummaryHeading:
    """What the page says of the scan itself."""

    folders: Sequence[str]
    """That were scanned, as the user named them."""
    front_end: FrontEnd
    """Of the model; spectrograms show what it hears."""
    settings: Sequence[tuple[str, str]] = ()
    """Names and values: model, hop, version."""
    waiting: int = 0
    """Recordings that are still to be heard."""


def write_summary(
    path: Path, heading: SummaryHeading, recordings: Iterable[KeptRecording], failures: Iterable[Unreadable]
) -> None:
    """Write the page of a scan, in one file that needs no network.

    Parameters
    ----------
    path
        The page, in the folder of the other results; one that is there is replaced.
    heading
        What was scanned, and how.
    recordings
        Those that were heard, in any order; they are gone through once.
    failures
        What could not be read. A recording of which a part was heard may be among them; it counts as damaged.

    Raises
    ------
    HtsatEdgeError
        The page cannot be written.
    """
    counts, damaged = ArchiveCounts(), set()
    for recording in recordings:
        counts.add(recording)
        if recording.found.failure:
            damaged.add(recording.path)
    for failure in failures:
        if failure.path not in damaged:
            counts.add_failed(failure.path, failure.reason, MOST_FAILURES)
    base = path.parent.resolve()
    body = "\n".join(_body(heading, counts, base))
    with replacing(path) as part:
        part.write_text(PAGE.replace("STYLE", STYLE).replace("BODY", body), encoding="utf-8")


def _body(heading: SummaryHeading, counts: ArchiveCounts, base: Path) -> Iterator[str]:
    """Yield the parts of the page."""
    yield _head(heading, counts, base)
    if counts.labels:
        yield section("The best of each class", "best", CardWriter(base, heading.front_end).write(counts))
        yield section("By class and hour of the day", "hours", _by_hour(counts))
        yield section("By class and day", "days", _by_day(counts))
    if counts.recorded:
        yield section("When recordings were made", "coverage", _coverage(counts))
    if counts.folders:
        yield section("By folder", "folders", _by_folder(counts))
    if counts.faults:
        yield section("Input faults and damage", "faults", _faults(counts, base))
    if counts.failures:
        yield section("Not heard", "failed", _failures(counts, base))


def _head(heading: SummaryHeading, counts: ArchiveCounts, base: Path) -> str:
    whole = counts.whole
    figures = [
        ("recordings", count(whole.recordings), ""),
        ("hours", hours(whole.seconds) or "0", ""),
        ("events", count(counts.events), ""),
        ("classes", count(len(counts.labels)), ""),
        ("recordings with faults", count(whole.faulty), "warn" if whole.faulty else ""),
        ("not heard", count(whole.failed), "bad" if whole.failed else ""),
    ]
    stats = "".join(f'<div class="stat {kind}"><dt>{name}</dt><dd>{value}</dd></div>' for name, value, kind in figures)
    settings = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in heading.settings)
    names = [name for name in (*TABLES, FAILED_FILE) if (base / name).is_file()]
    names += [LABELS_FOLDER] if (base / LABELS_FOLDER).is_dir() else []
    tables = " ".join(f'<a href="{name}">{name}</a>' for name in names)
    notes = []
    if heading.waiting:
        waiting = plural(heading.waiting, "recording")
        notes.append(paragraph(f"Not finished: {waiting} still to be heard. Run the same command again.", "bad"))
    if counts.undated:
        notes.append(paragraph(f"{_undated(counts)} The tables by hour and day are without them.", "warn"))
    if not counts.labels:
        notes.append(paragraph("Nothing was heard: no class came to its threshold in any recording."))
    return "\n".join(
        [
            "<header><h1>What was heard</h1>",
            paragraph(f"In {', '.join(map(text, heading.folders))}", "soft"),
            f'<dl class="settings">{settings}</dl>' if settings else "",
            f'<dl class="stats">{stats}</dl>',
            *notes,
            f'<nav aria-label="Tables">{tables}</nav>' if tables else "",
            "</header>",
        ]
    )


def _undated(counts: ArchiveCounts) -> str:
    """Return how many recordings have no start, as a sentence."""
    if counts.undated == counts.whole.recordings:
        return "No recording says when it began; give <code>--start</code> or names with date and time."
    return f"{count(counts.undated)} of {count(counts.whole.recordings)} recordings do not say when they began."


def _by_hour(counts: ArchiveCounts) -> Iterator[str]:
    if not any(label.by_hour for label in counts.labels.values()):
        yield paragraph("No event has a time of day.")
        return
    effort = [0.0] * 24
    for (_, hour), seconds in counts.recorded.items():
        effort[hour] += seconds
    rows = [_effort(effort)]
    for name, label in counts.by_frequency():
        rows.append(_heat(name, [label.by_hour[hour] for hour in range(24)], label.events, effort))
    yield table(
        "hours-table",
        "Events that begin in each hour, on the recorder's own clock. Each row has its own shades, up to its highest "
        "number; the first says how many hours were recorded. Grey: nothing was recorded.",
        ["", *(f"{hour:02}" for hour in range(24)), "all"],
        rows,
        "heat",
    )


def _by_day(counts: ArchiveCounts) -> Iterator[str]:
    periods = find_periods(counts)
    if not periods.names:
        yield paragraph("No event has a date.")
        return
    effort = dict.fromkeys(periods.names, 0.0)
    for (day, _), seconds in counts.recorded.items():
        effort[periods.name(day)] += seconds
    rows = [_effort([*effort.values()])]
    for name, label in counts.by_frequency():
        numbers = dict.fromkeys(periods.names, 0)
        for day, number in label.by_day.items():
            numbers[periods.name(day)] = numbers.get(periods.name(day), 0) + number
        rows.append(_heat(name, [*numbers.values()], label.events, [*effort.values()]))
    unit = periods.unit
    yield table(
        "days-table",
        f"Events that begin in each {unit}. A {unit} without recordings has no column.",
        ["", *_short(periods.names), "all"],
        rows,
        "heat",
    )


def _short(names: Sequence[str]) -> Iterator[str]:
    """Yield the names of periods for the heads of columns: the year only where it is a new one."""
    last = ""
    for name in names:
        year, rest = name[:4], name[5:]
        yield f"{year}<br>{rest}" if rest and year != last else rest or year
        last = year


def _effort(seconds: Sequence[float]) -> HtmlRow:
    return HtmlRow("hours recorded", [*map(hours, seconds), hours(sum(seconds))], kind="effort")


def _heat(name: str, numbers: Sequence[int], events: int, effort: Sequence[float]) -> HtmlRow:
    highest = max([*numbers, 1])
    cells = [count(number) if number else "" for number in numbers]
    shades = [number / highest if seconds else None for number, seconds in zip(numbers, effort, strict=True)]
    return HtmlRow(text(name), [*cells, count(events)], shades)


def _coverage(counts: ArchiveCounts) -> Iterator[str]:
    periods = find_periods(counts)
    seconds = {name: [0.0] * 24 for name in periods.names}
    for (day, hour), recorded in counts.recorded.items():
        seconds[periods.name(day)][hour] += recorded
    highest = max(max(row) for row in seconds.values())
    yield table(
        "coverage-table",
        f"Hours of audio of each {periods.unit} and hour of the day, of all recorders together.",
        ["", *(f"{hour:02}" for hour in range(24)), "all"],
        [
            HtmlRow(name, [*map(hours, row), hours(sum(row))], [part / highest for part in row])
            for name, row in seconds.items()
        ],
        "heat",
    )


def _by_folder(counts: ArchiveCounts) -> Iterator[str]:
    by_events = sorted(counts.folders, key=lambda name: (-counts.folders[name].labels.total(), name))
    rest = FolderCounts()
    for name in by_events[MOST_FOLDERS:]:
        rest.add(counts.folders[name])
    common = _common_folder(by_events)
    rows = [
        _folder(text(shown_path(Path(os.path.relpath(name, common) if common else name))), counts.folders[name])
        for name in sorted(by_events[:MOST_FOLDERS])
    ]
    if len(by_events) > MOST_FOLDERS:
        rows.append(_folder(f"{count(len(by_events) - MOST_FOLDERS)} more", rest, "rest"))
    header = ["folder", "recordings", "hours", "events", "an hour", "with faults", "not heard", "heard most"]
    caption = "Each with the recordings that lie in the folder itself."
    if common:
        caption = f"Below {text(shown_path(Path(common)))}. {caption}"
    yield table("folders-table", caption, header, rows, "mixed")


def _common_folder(folders: Sequence[str]) -> str:
    """Return the folder that all lie below, if there is one; names without it fit on a narrow screen."""
    if len(folders) == 1:
        return str(Path(folders[0]).parent)
    try:
        return os.path.commonpath(folders)
    except ValueError:  # some are in a store
        return ""


def _folder(name: str, folder: FolderCounts, kind: str = "") -> HtmlRow:
    events = folder.labels.total()
    rate = f"{3600 * events / folder.seconds:.1f}" if folder.seconds else ""
    most = sorted(folder.labels.items(), key=lambda item: (-item[1], item[0]))[:MOST_HEARD]
    cells = [count(folder.recordings), hours(folder.seconds), count(events), rate]
    cells += [count(folder.faulty), count(folder.failed)]
    return HtmlRow(name, [*cells, "; ".join(f"{text(label)} {count(number)}" for label, number in most)], kind=kind)


def _faults(counts: ArchiveCounts, base: Path) -> Iterator[str]:
    rows = []
    for name, (title, degree) in FAULTS.items():
        if (fault := counts.faults.get(name)) is not None:
            rows.append(HtmlRow(title, [count(fault.recordings), link(fault.worst, base), degree(fault.degree)]))
    caption = "A recording may have several; the table of files has them all."
    yield table("faults-table", caption, ["fault", "recordings", "worst", ""], rows, "words")


def _failures(counts: ArchiveCounts, base: Path) -> Iterator[str]:
    rows = [HtmlRow(link(path, base), [text(reason)]) for path, reason in counts.failures]
    more = counts.whole.failed - len(rows)
    caption = f"The first {len(rows)}; {count(more)} more are in {FAILED_FILE}." if more else "Each with the reason."
    yield table("failed-table", caption, ["recording", "reason"], rows, "words")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<title>What was heard</title>
<style>STYLE</style>
</head>
<body>
<main>
BODY
</main>
</body>
</html>
"""
