"""`htsat-edge detect`: the events of recordings."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from htsat_edge.runtime.commands.report import print_events, print_top
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import require_matplotlib
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import DECIMALS, Detector, Event, Settings, make_grid, make_rule
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.backends import Backend, open_backend
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo, read_bundle
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

BLOCK_S = 1.0


@dataclass(frozen=True)
class Heard:
    """What was found in one recording."""

    path: Path
    duration_s: float
    events: list[Event]
    trace: Trace | None
    """What it looked like, where somebody wants to know."""


def detect(args: argparse.Namespace) -> int:
    """Run the command; 2 where a recording could not be read, with the others done all the same."""
    pictures = plan_pictures(args.files, args.plot)
    bundle = read_bundle(args.bundle or BUNDLED)
    info = bundle.info
    labels = info.labels if args.labels is None else pick_labels(args.labels, info.labels)
    settings = Settings(hop_s=args.hop_s, threshold=args.threshold)
    make_grid(info, settings)  # refuses what cannot be once, not for each file
    thresholds = make_rule(info, settings).threshold
    backend = open_backend(bundle, args.precision, args.backend, threads=args.threads)
    status = 0
    for path, picture in zip(args.files, pictures, strict=True):
        try:
            heard = listen_to(path, info, backend, settings, Trace() if picture or args.top else None)
            heard = replace(heard, events=[event for event in heard.events if event.label in labels])
            if picture is not None:
                from htsat_edge.runtime.commands.plot import draw

                draw(picture, heard, info, labels)
            tell(heard, info, labels, thresholds, args)
        except HtsatEdgeError as error:
            print(f"htsat-edge: {error}", file=sys.stderr)
            status = 2
    backend.close()
    return status


def listen_to(path: Path, info: ModelInfo, backend: Backend, settings: Settings, trace: Trace | None = None) -> Heard:
    """Stream a recording through the detector, with a progress bar on a terminal."""
    file = AudioFile(path)
    detector = Detector(info, backend, file.sample_rate, settings, trace)
    events: list[Event] = []
    samples = 0
    for block in _progress(file):
        events += detector.push(block)
        samples += len(block)
    try:
        events += detector.close()
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{path}: {error}") from None
    return Heard(path, samples / file.sample_rate, events, trace)


def tell(
    heard: Heard, info: ModelInfo, labels: Sequence[str], thresholds: FloatArray, args: argparse.Namespace
) -> None:
    """Print what was found."""
    best = heard.trace.top(len(info.labels)) if heard.trace is not None and args.top else []
    top = [
        (info.labels[k], score, float(thresholds[k]), step * info.step_s)
        for k, score, step in best
        if info.labels[k] in labels
    ][: args.top]
    source = os.fsencode(heard.path).decode(errors="replace")
    if not args.json:
        console = Console()
        print_events(console, source, heard.duration_s, heard.events)
        if top:
            print_top(console, top)
        return
    for event in heard.events:
        print(json.dumps(event.line(source, args.start)))
    if top:
        rows = [
            {
                "label": label,
                "score": round(score, DECIMALS),
                "threshold": round(threshold, DECIMALS),
                "at": round(at, DECIMALS),
            }
            for label, score, threshold, at in top
        ]
        print(json.dumps({"type": "status", "source": source, "top": rows}))


def pick_labels(text: str, known: Sequence[str]) -> list[str]:
    """Split at commas, of which some are within labels: "Gunshot, gunfire,Dog" are two."""
    by_name = {label.casefold(): label for label in known}
    parts, picked = text.split(","), []
    while parts:
        for length in range(len(parts), 0, -1):
            name = ",".join(parts[:length]).strip()
            if name.casefold() in by_name:
                picked.append(by_name[name.casefold()])
                parts = parts[length:]
                break
        else:
            name = parts[0].strip()
            raise HtsatEdgeError(f"--labels: '{name}' is no class of this model, {near(name, known)}")
    return picked


def near(label: str, known: Sequence[str]) -> str:
    """What somebody may have meant who wrote a label that the model does not know."""
    by_name = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(label.casefold(), by_name, n=1)
    return f"meant {by_name[found[0]]}?" if found else f"the model knows {'; '.join(known[:30])}"


def plan_pictures(files: Sequence[Path], plot: Path | None) -> list[Path | None]:
    """Where to draw each recording; what cannot be is said before any work is done."""
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


def _progress(file: AudioFile) -> Iterator[FloatArray]:
    """The recording's blocks, with a bar on a terminal."""
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
