"""`htsat-edge detect`: the events of recordings."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from htsat_edge.runtime.commands.report import Detections, print_events, print_top
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import require_matplotlib
from htsat_edge.runtime.common.config import printable
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.daemon.messages import TopScore, TopScores
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

BLOCK_S = 1.0


def run(args: argparse.Namespace) -> int:
    """Run the command; return 2 where a recording could not be read, with the others done all the same."""
    pictures = plan_pictures(args.files, args.plot)
    bundle = load_bundle(args.bundle or BUNDLED)
    info = bundle.info
    labels = None if args.labels is None else tuple(split_labels(args.labels, info))
    settings = Settings(hop_s=args.hop_s, threshold=args.threshold, labels=labels)
    settings.validate(info)
    backend = open_backend(bundle, args.precision, args.backend, threads=args.threads)
    status = 0
    for path, picture in zip(args.files, pictures, strict=True):
        try:
            found = detect(path, info, backend, settings, args.start, Trace() if picture or args.top else None)
            if picture is not None:
                from htsat_edge.runtime.commands.plot import draw

                draw(picture, found, info, labels or info.labels)
            report(found, top_scores(found, info, settings, args.top) if args.top else [], args.json)
        except HtsatEdgeError as error:
            print(f"htsat-edge: {error}", file=sys.stderr)
            status = 2
    backend.close()
    return status


def detect(
    path: Path,
    info: ModelInfo,
    backend: Backend,
    settings: Settings,
    start: datetime | None = None,
    trace: Trace | None = None,
) -> Detections:
    """Stream a recording, which began at `start`, through the detector, with a progress bar on a terminal."""
    file = AudioFile(path)

    def time_of(position_s: float) -> str | None:
        return None if start is None else (start + timedelta(seconds=position_s)).isoformat()

    detector = Detector(info, backend, file.sample_rate, settings, trace, printable(path), time_of)
    events: list[Event] = []
    for block in _with_progress(file):
        events += detector.push(block)
    try:
        events += detector.flush()
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{path}: {error}") from None
    return Detections(path, detector.duration_s, events, trace)


def top_scores(found: Detections, info: ModelInfo, settings: Settings, count: int) -> list[TopScore]:
    """Return the classes that scored highest, of those that are reported; best first."""
    assert found.trace is not None
    thresholds = settings.rule(info).threshold
    reported = settings.labels or info.labels
    best = ((k, score, step) for k, score, step in found.trace.top(len(info.labels)) if info.labels[k] in reported)
    return [
        TopScore(
            label=info.labels[k],
            score=round(score, DECIMALS),
            threshold=round(float(thresholds[k]), DECIMALS),
            at=round(step * info.step_s, DECIMALS),
        )
        for k, score, step in itertools.islice(best, count)
    ]


def report(found: Detections, top: Sequence[TopScore], as_json: bool) -> None:
    """Print what was found, as a table or as JSON Lines."""
    source = printable(found.path)
    if not as_json:
        console = Console()
        print_events(console, source, found)
        if top:
            print_top(console, top)
        return
    for event in found.events:
        print(event.encoded)
    if top:
        print(TopScores(source=source, time=None, top=list(top)).encoded)


def split_labels(text: str, info: ModelInfo) -> list[str]:
    """Split at commas, of which some are within labels: "Gunshot, gunfire,Dog" are two."""
    by_name = {label.casefold(): label for label in info.labels}
    parts, picked = text.split(","), []
    while parts:
        for length in range(len(parts), 0, -1):
            name = ",".join(parts[:length]).strip()
            if name.casefold() in by_name:
                picked.append(by_name[name.casefold()])
                parts = parts[length:]
                break
        else:
            info.check_labels("--labels", [parts[0].strip()])
    return picked


def plan_pictures(files: Sequence[Path], plot: Path | None) -> list[Path | None]:
    """Return where to draw each recording; raise before any work is done where that cannot be."""
    if plot is None:
        return [None] * len(files)
    require_matplotlib()
    if os.path.isdir(plot):  # noqa: PTH112  Path.is_dir fails for a name that is too long
        pictures: list[Path | None] = [plot / f"{file.name}.png" for file in files]
        if len(set(pictures)) < len(pictures):
            raise HtsatEdgeError(f"--plot {plot}: two recordings have the same name, and their pictures would too")
        return pictures
    if len(files) > 1:
        raise HtsatEdgeError(f"--plot {plot}: is no folder, and {len(files)} recordings need a picture each")
    if plot.suffix.lower() != ".png":
        raise HtsatEdgeError(f"--plot {plot}: want the name of a .png file, or a folder that exists")
    if not os.path.isdir(plot.parent):  # noqa: PTH112
        raise HtsatEdgeError(f"--plot {plot}: there is no folder {plot.parent}")
    return [plot]


def _with_progress(file: AudioFile) -> Iterator[FloatArray]:
    """Yield the recording's blocks, with a bar on a terminal."""
    block = max(1, round(BLOCK_S * file.sample_rate))
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from file.blocks(block)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(escape(file.path.name), total=file.samples)
        for samples in file.blocks(block):
            yield samples
            progress.advance(task, len(samples))
