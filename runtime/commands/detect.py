"""`htsat-edge detect`: the events of recordings."""

from __future__ import annotations

import argparse
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np
from rich.console import Console

from htsat_edge.runtime.commands.detect_config import Hearing, Hearings, read_config
from htsat_edge.runtime.commands.detect_formats import plan_output
from htsat_edge.runtime.commands.detect_origin import option_zone, origin_of
from htsat_edge.runtime.commands.detect_session import Player
from htsat_edge.runtime.commands.report import Detections, print_events, print_summary, print_top
from htsat_edge.runtime.commands.truth import TrueSound, read_truth, tell_of_late
from htsat_edge.runtime.common.command import print_error, require_matplotlib
from htsat_edge.runtime.common.errors import HtsatEdgeError, ServerError
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.common.progress import waiting
from htsat_edge.runtime.daemon.messages import TopScore, TopScores
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats.pipe import STDIN
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo
from htsat_edge.runtime.models.classes import Classes
from htsat_edge.runtime.models.model import load_model


def run(args: argparse.Namespace) -> int:
    """Run the command; return 2 where a recording could not be read, with the others done all the same."""
    pictures, output = plan_pictures(args.files, args.plot), plan_output(args)
    option_zone(args)
    if args.start is not None and len(args.files) > 1:
        raise HtsatEdgeError(f"--start: {len(args.files)} recordings did not begin at one time; give them one by one")
    truth = read_truth(args.truth, args.plot, args.files)
    config = read_config(args)
    missing = refuse_missing(args.files)
    if missing.issuperset(args.files):
        return 2
    with waiting("loading the model …"):
        model = load_model(config.model.bundle or BUNDLED, config.model.sounds)
        hearings = Hearings(args, config, model.info)
        heard = [hearings.of(path) for path in args.files]
        wanted = config.model
        opened = model.open(wanted.precision, wanted.backend, threads=wanted.threads, server=wanted.server)
    if output is not None:  # what is kept has no use of early starts, as in `scan`
        heard = [replace(one, settings=replace(one.settings, early_margin=None)) for one in heard]
    with closing(opened) as backend:
        scorer = Scorer(backend, model.info.front_end, config.detection.gate_dbfs)
        player = Player(model.info, scorer, config)
        planned = zip(args.files, heard, pictures, strict=True)
        results = PlayedRecordings([one for one in planned if one[0] not in missing], player, truth, args)
        if output is not None:
            output.write((file, found) for file, _, found in results)
        else:
            found = [(file.path, report_all(each, hearing, player.info, args)) for file, hearing, each in results]
            if len(found) > 1 and not args.json:
                print_summary(Console(), found)
    return 2 if missing or results.failed else 0


class PlayedRecordings:
    """What is found in recordings, one after the other; what cannot be read is said, and the others done."""

    def __init__(
        self,
        planned: Sequence[tuple[Path, Hearing, Path | None]],
        player: Player,
        truth: Sequence[TrueSound],
        args: argparse.Namespace,
    ) -> None:
        """Plan to play recordings, each with how it is heard and where it is drawn."""
        self._planned, self._player, self._truth, self._args = planned, player, truth, args
        self.failed = False
        """Whether one could not be read, or not to its end."""

    def __iter__(self) -> Iterator[tuple[AudioFile, Hearing, list[Detections]]]:
        """Play them; yield what was found in each, or in each of its channels."""
        for path, hearing, picture in self._planned:
            try:
                file = AudioFile(path)
                found = detect(file, hearing, picture, self._player, self._truth, self._args)
                yield file, hearing, found
                if found[0].failure is not None:
                    raise found[0].failure
            except ServerError:  # it is the same for all others
                raise
            except HtsatEdgeError as error:
                print_error("htsat-edge", error)
                self.failed = True


def refuse_missing(files: Sequence[Path]) -> set[Path]:
    """Return what is no file at all; say so of each, before anybody waits for a model."""
    reasons = {path: reason for path in files if (reason := _why_missing(path))}
    for path, reason in reasons.items():
        print_error("htsat-edge", f"{path}: {reason}")
    return {*reasons}


def _why_missing(path: Path) -> str:
    try:
        is_folder = path != STDIN and stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return "no such file"
    except OSError:  # said where the file is read
        return ""
    return f"is a folder; all that is in it: htsat-edge scan {quote(str(path))} --out RESULTS" if is_folder else ""


def detect(
    file: AudioFile,
    hearing: Hearing,
    picture: Path | None,
    player: Player,
    truth: Sequence[TrueSound],
    args: argparse.Namespace,
) -> list[Detections]:
    """Play a recording, draw what was found in it, or in each of its channels, and return that."""
    drawn = [] if picture is None else name_pictures(picture, args, file)
    traced = picture is not None or args.top is not None
    found = player.play(file, hearing, origin_of(file.path, args).start, args.channel, traced)
    if drawn:
        tell_of_late(truth, args.truth, found[0].duration_s)
        draw_all(drawn, file.path.name, found, player.info, hearing.classes, truth)
    return found


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
    places: Sequence[Path],
    title: str,
    found: Sequence[Detections],
    info: ModelInfo,
    classes: Classes,
    truth: Sequence[TrueSound],
) -> None:
    """Draw what was found in each channel at its place, and what does sound in all of them.

    Events of the sound level are left out: no scores of the model belong to them.
    """
    from htsat_edge.runtime.commands.plot import draw

    for number, (place, one) in enumerate(zip(places, found, strict=True), start=1):
        named = title if len(found) == 1 else f"{title}, channel {number}"
        events = [event for event in one.events if event.label in classes.labels]
        draw(place, named, replace(one, events=events), info, classes, truth)


def top_scores(found: Detections, info: ModelInfo, classes: Classes, count: int) -> list[TopScore]:
    """Return the classes that scored highest, of those that are shown; best first."""
    assert found.trace is not None
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


def report_all(found: Sequence[Detections], hearing: Hearing, info: ModelInfo, args: argparse.Namespace) -> set[str]:
    """Print what was found in the channels of a recording; return the sounds that have an event."""
    for one in found:
        report(one, hearing.classes, top_scores(one, info, hearing.classes, args.top) if args.top else [], args.json)
    return {event.label for one in found for event in one.events}


def report(found: Detections, classes: Classes, top: Sequence[TopScore], as_json: bool) -> None:
    """Print what was found, as a table or as JSON Lines."""
    if not as_json:
        console = Console()
        thresholds = dict(zip(classes.labels, classes.thresholds.tolist(), strict=True))
        print_events(console, found, thresholds, advised=not top)
        if top:
            print_top(console, top)
        return
    has_zone = found.start is None or found.start.tzinfo is not None
    for event in found.events:  # the time of day of a message is known with its zone, or not at all
        print((event if has_zone else event.model_copy(update={"time": None})).encoded)
    if top:
        print(TopScores(source=found.source, time=None, top=list(top)).encoded)


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
