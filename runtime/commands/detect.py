"""`htsat-edge detect`: the events of recordings."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from htsat_edge.runtime.commands.report import Detections, print_events, print_top
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import print_error, require_matplotlib
from htsat_edge.runtime.common.config import printable
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.daemon.messages import TopScore, TopScores
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.channels import Channel
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.dsp.formats.pipe import STDIN
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo
from htsat_edge.runtime.models.classes import Classes
from htsat_edge.runtime.models.groups import read_groups
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.settings import Settings

BLOCK_S = 1.0


def run(args: argparse.Namespace) -> int:
    """Run the command; return 2 where a recording could not be read, with the others done all the same."""
    pictures = plan_pictures(args.files, args.plot)
    if args.start is not None and len(args.files) > 1:
        raise HtsatEdgeError(f"--start: {len(args.files)} recordings did not begin at one time; give them one by one")
    model = load_model(args.bundle or BUNDLED, args.sounds)
    info = model.info
    settings = Settings(hop_s=args.hop_s, threshold=args.threshold)
    if args.groups is not None:
        settings = replace(settings, groups=read_groups(args.groups, info))
    if args.labels is not None:
        settings = replace(settings, labels=tuple(split_labels(args.labels, info, settings.reported(info))))
    settings.validate(info)
    backend = model.open(args.precision, args.backend, threads=args.threads)
    status = 0
    for path, picture in zip(args.files, pictures, strict=True):
        try:
            file = AudioFile(path)
            drawn = [] if picture is None else name_pictures(picture, args, file)
            traced = picture is not None or args.top is not None
            found = detect(file, info, backend, settings, args.start, args.channel, traced)
            if drawn:
                draw_all(drawn, path.name, found, info, settings.classes(info))
            for one in found:
                report(one, top_scores(one, info, settings, args.top) if args.top else [], args.json)
            if found[0].failure is not None:
                raise found[0].failure
        except HtsatEdgeError as error:
            print_error("htsat-edge", error)
            status = 2
    backend.close()
    return status


def detect(
    file: AudioFile,
    info: ModelInfo,
    backend: Backend,
    settings: Settings,
    start: datetime | None = None,
    channel: Channel | Literal["each"] = "mix",
    traced: bool = False,
) -> list[Detections]:
    """Stream a recording, which began at `start`, through the detector, with a progress bar on a terminal.

    Return what was found in the channel, or in each of them, which are then named as those of a microphone: up to where
    the recording is damaged. Raise an HtsatEdgeError where nothing of it can be heard.
    """
    name = "stdin" if file.path == STDIN else printable(file.path)
    channels: dict[str, Channel] = {name: channel} if channel != "each" else {}
    if channel == "each":
        channels = {f"{name}/{number}": number for number in range(1, file.channels + 1)}

    def time_of(position_s: float) -> datetime | None:
        return None if start is None else start + timedelta(seconds=position_s)

    traces = [Trace() if traced else None for _ in channels]
    detectors = [
        Detector(info, backend, file.sample_rate, settings, trace, source, time_of)
        for source, trace in zip(channels, traces, strict=True)
    ]
    events: list[list[Event]] = [[] for _ in channels]
    failure: HtsatEdgeError | None = None
    try:
        for blocks in _with_progress(file, list(channels.values())):
            for found, detector, samples in zip(events, detectors, blocks, strict=True):
                found += detector.push(samples)
    except HtsatEdgeError as error:
        if detectors[0].duration_s == 0:
            raise
        failure = error
    try:
        for found, detector in zip(events, detectors, strict=True):
            found += detector.flush()
    except HtsatEdgeError as error:
        raise failure or HtsatEdgeError(f"{file.path}: {error}") from None
    return [
        Detections(source, detector.duration_s, found, trace, failure)
        for source, detector, found, trace in zip(channels, detectors, events, traces, strict=True)
    ]


def name_pictures(picture: Path, args: argparse.Namespace, file: AudioFile) -> list[Path]:
    """Return where to draw a recording: where channels have their own events, one for each, with a number in its name.

    Raise an HtsatEdgeError where a file that is not ours has a name that the user did not write.
    """
    from htsat_edge.runtime.commands.plot import has_mark

    places = [picture]
    if args.channel == "each" and file.channels > 1:
        places = [picture.with_name(f"{picture.stem}-{number}.png") for number in range(1, file.channels + 1)]
    for place in places:
        if place != args.plot:
            refuse_foreign("--plot", place, has_mark)
    return places


def draw_all(
    places: Sequence[Path], title: str, found: Sequence[Detections], info: ModelInfo, classes: Classes
) -> None:
    """Draw what was found in each channel at its place."""
    from htsat_edge.runtime.commands.plot import draw

    for number, (place, one) in enumerate(zip(places, found, strict=True), start=1):
        draw(place, title if len(found) == 1 else f"{title}, channel {number}", one, info, classes)


def top_scores(found: Detections, info: ModelInfo, settings: Settings, count: int) -> list[TopScore]:
    """Return the classes that scored highest, of those that are reported; best first."""
    assert found.trace is not None
    classes = settings.classes(info)
    ranked = found.trace.top(len(classes.labels))
    best = ((k, score, step) for k, score, step in ranked if np.isfinite(classes.thresholds[k]))
    return [
        TopScore(
            label=classes.labels[k],
            score=round(score, DECIMALS),
            threshold=round(float(classes.thresholds[k]), DECIMALS),
            at=round(step * info.step_s, DECIMALS),
        )
        for k, score, step in itertools.islice(best, count)
    ]


def report(found: Detections, top: Sequence[TopScore], as_json: bool) -> None:
    """Print what was found, as a table or as JSON Lines."""
    if not as_json:
        console = Console()
        print_events(console, found)
        if top:
            print_top(console, top)
        return
    for event in found.events:
        print(event.encoded)
    if top:
        print(TopScores(source=found.source, time=None, top=list(top)).encoded)


def split_labels(text: str, info: ModelInfo, known: Sequence[str]) -> list[str]:
    """Split names of classes at commas, of which some are within names: "Gunshot, gunfire,Dog" are two."""
    by_name = {name.casefold(): name for name in known}
    parts, picked, unknown = text.split(","), [], []
    while parts:
        for length in range(len(parts), 0, -1):
            name = ",".join(parts[:length]).strip()
            if name.casefold() in by_name:
                picked.append(by_name[name.casefold()])
                parts = parts[length:]
                break
        else:
            unknown.append(parts.pop(0).strip())
    info.check_labels("--labels", unknown, known)
    return picked


def plan_pictures(files: Sequence[Path], plot: Path | None) -> list[Path | None]:
    """Return where to draw each recording; raise before any work is done where that cannot be."""
    if plot is None:
        return [None] * len(files)
    require_matplotlib()
    if os.path.isdir(plot):  # noqa: PTH112  Path.is_dir fails for a name that is too long
        pictures = _name_pictures(files, plot)
        return [pictures[file] for file in files]
    if len(files) > 1:
        raise HtsatEdgeError(f"--plot {plot}: is no folder, and {len(files)} recordings need a picture each")
    if plot.suffix.lower() != ".png":
        raise HtsatEdgeError(f"--plot {plot}: want the name of a .png file, or a folder that exists")
    if not os.path.isdir(plot.parent):  # noqa: PTH112
        raise HtsatEdgeError(f"--plot {plot}: there is no folder {plot.parent}")
    return [plot]


def _name_pictures(files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the pictures in a folder by recording; raise where two would have one name."""
    pictures: dict[Path, Path] = {}
    recordings: dict[Path, Path] = {}
    for file in files:
        pictures[file] = folder / f"{'stdin' if file == STDIN else file.name}.png"
        first = recordings.setdefault(pictures[file], file)
        if first != file:
            raise HtsatEdgeError(
                f"--plot {folder}: {first} and {file} would both be drawn as {pictures[file].name}; "
                "give them one by one, with a folder for each"
            )
    return pictures


def _with_progress(file: AudioFile, channels: Sequence[Channel]) -> Iterator[list[FloatArray]]:
    """Yield the recording's blocks, of these channels side by side, with a bar on a terminal."""
    block = max(1, round(BLOCK_S * file.sample_rate))
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from file.split(block, channels)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(escape(visible(file.path.name)), total=file.samples)
        for blocks in file.split(block, channels):
            yield blocks
            progress.advance(task, len(blocks[0]))
