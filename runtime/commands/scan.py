"""`htsat-edge scan`: the events of whole archives."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, tzinfo
from itertools import chain, islice
from pathlib import Path

from htsat_edge.runtime.archive.cluster.parts import take_left
from htsat_edge.runtime.archive.formats import FORMATS
from htsat_edge.runtime.archive.journal import Journal, JournalTotals, KeptRecording, key_of
from htsat_edge.runtime.archive.journal.database import JOURNAL_FILE
from htsat_edge.runtime.archive.recorded import parse_zone
from htsat_edge.runtime.archive.records import ArchiveFile, HearingSettings
from htsat_edge.runtime.archive.scan import scan
from htsat_edge.runtime.archive.scan_progress import ScanProgress
from htsat_edge.runtime.archive.summary.page import SummaryHeading, write_summary
from htsat_edge.runtime.archive.tables import FAILED_FILE, WrittenTables, write_tables
from htsat_edge.runtime.archive.walk import Unreadable, common_folder, folders_of, walk
from htsat_edge.runtime.archive.workers import Workers
from htsat_edge.runtime.commands.detect_config import Hearings, read_config
from htsat_edge.runtime.commands.detect_origin import option_zone
from htsat_edge.runtime.common.command import print_error
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.interrupt import INTERRUPTED
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.common.progress import waiting
from htsat_edge.runtime.common.text import listed, plural
from htsat_edge.runtime.common.urls import is_url
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.models.backends.remote import RemoteBackend
from htsat_edge.runtime.models.backends.trt import TrtBackend
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo
from htsat_edge.runtime.models.model import Model, load_model
from htsat_edge.runtime.models.sounds import SoundsBackend

SUMMARY_FILE = "summary.html"
NO_CLIP = Path()
"""A name that names no source."""


def run(args: argparse.Namespace) -> int:
    """Run the command; return 2 where something could not be heard, with all else done, and 130 after Ctrl-C."""
    option_zone(args)
    refuse_names(args)
    for name in args.format:
        FORMATS[name].require()
    if args.ray is not None:
        from htsat_edge.runtime.archive.cluster.nodes import require_ray

        require_ray()
    refuse(args, [*islice(find(args), 2)])
    config = read_config(args)
    with waiting("loading the model …"):
        model = load_model(config.model.bundle or BUNDLED, config.model.sounds)
        settings = settings_of(args, config, model)
        key = key_of(settings)
    with Journal.open(args.out.absolute(), key, base_of(args)) as journal:
        with waiting("looking for recordings …"):
            journal.add_found(find(args))
        take_left(journal)
        totals = journal.totals()
        is_stopped, speed = hear_all(args, journal, settings, totals) if totals.files_todo else (False, 0.0)
        try:
            with waiting("writing the tables …"):
                events = write(args, journal, model.info, settings)
        except HtsatEdgeError as error:
            if not is_stopped:
                raise
            print_error("htsat-edge", error)  # after Ctrl-C, nobody else would say so
            return INTERRUPTED
        return tell(args.out, journal.totals(), events, speed, is_stopped)


def find(args: argparse.Namespace) -> Iterator[ArchiveFile | Unreadable]:
    """Return an iterator over the recordings; raise an HtsatEdgeError where a folder is not there."""
    urls = [root for root in args.folders if is_url(root)]
    if urls and args.ray is None:
        raise HtsatEdgeError(f"{urls[0]}: is a URL: hear it on a cluster (--ray), or copy the recordings to a disk")
    paths = local_roots(args)
    walks = [walk(paths, args.include, args.exclude, skip=[args.out])] if paths else []
    if urls:
        from htsat_edge.runtime.archive.cluster.storage import walk_urls

        walks += [walk_urls(url, args.include, args.exclude) for url in urls]
    return chain.from_iterable(walks)


def base_of(args: argparse.Namespace) -> Path:
    """Return the folder that all recordings lie in."""
    paths = local_roots(args)
    return common_folder(paths) if paths else Path()


def local_roots(args: argparse.Namespace) -> list[Path]:
    """Return what is walked, but URLs."""
    return [Path(root) for root in args.folders if not is_url(root)]


def zone_of(args: argparse.Namespace) -> tzinfo | None:
    """Return the zone of times that name none; a --start that names none is local time."""
    zone = option_zone(args)
    return parse_zone("local") if zone is None and args.start is not None else zone


def refuse_names(args: argparse.Namespace) -> None:
    """Raise an HtsatEdgeError where a name is empty, as a variable that is not set, or names recordings and RESULTS."""
    if "" in args.folders:
        raise HtsatEdgeError("FOLDER: an empty name; for the current folder, give .")
    if args.out.exists() and any(root.exists() and root.samefile(args.out) for root in local_roots(args)):
        raise HtsatEdgeError(f"--out {args.out}: is a folder of recordings; give another one for the results")


def refuse(args: argparse.Namespace, found: Sequence[ArchiveFile | Unreadable]) -> None:
    """Raise an HtsatEdgeError where there is nothing, neither here nor in RESULTS, or one start for several."""
    if not found and not (args.out / JOURNAL_FILE).exists():
        raise HtsatEdgeError(f"{' '.join(args.folders)}: no recordings are there, by the ends of their names")
    if args.start is not None and len(found) > 1:
        raise HtsatEdgeError("--start: these are several recordings, which did not begin at one time; scan one by one")


def settings_of(args: argparse.Namespace, config: DaemonConfig, model: Model) -> HearingSettings:
    """Return how recordings are heard; raise an HtsatEdgeError where the model does not fit, or cannot be loaded.

    The model is opened to see what runs it here: results depend on that, and must not change from run to run.
    """
    wanted = config.model
    hearing = Hearings(args, config, model.info).of(NO_CLIP)
    with closing(model.open(wanted.precision, wanted.backend, threads=1, server=wanted.server)) as opened:
        inner = opened.inner if isinstance(opened, SoundsBackend) else opened
        engine = inner.manifest if isinstance(inner, TrtBackend) else None
        served = inner.precision if isinstance(inner, RemoteBackend) else None
    precision = engine.recipe.precision if engine else wanted.precision or model.bundle.recommended()
    on_server = wanted.backend == "remote"  # which has the bundle with this fp32.onnx
    return HearingSettings(
        bundle=model.bundle.path.absolute(),
        detection=replace(hearing.settings, early_margin=None, hop_s=hearing.settings.hop_s or model.info.step_s),
        shown=tuple(hearing.shown),
        sounds=wanted.sounds and wanted.sounds.absolute(),
        precision="fp32" if on_server else precision,
        backend="remote" if on_server else "tensorrt" if engine else "onnxruntime",
        server=wanted.server,
        served=served,
        channel=args.channel,
        gate_dbfs=config.detection.gate_dbfs,
        rules=config.rules,
        source=hearing.source,
        start=args.start,
        scores=args.scores,
    )


def hear_all(
    args: argparse.Namespace, journal: Journal, settings: HearingSettings, totals: JournalTotals
) -> tuple[bool, float]:
    """Hear what is to be heard; return whether Ctrl-C has ended it, and how many times faster than real time it was."""
    is_stopped = False
    with ScanProgress(totals) as progress:
        try:
            if args.ray is None:
                # An engine takes memory of the GPU in each process, and one keeps the GPU busy.
                most = 1 if settings.backend == "tensorrt" else cores()
                with Workers(settings, args.processes or most) as workers:
                    scan(journal, settings, workers, progress, args.newest_first)
            else:
                from htsat_edge.runtime.archive.cluster.scan import hear_on_ray

                folders = folders_of(local_roots(args))
                hear_on_ray(journal, settings, args.ray or None, progress, args.newest_first, folders, args.gpus)
        except KeyboardInterrupt:
            is_stopped = True
        return is_stopped, progress.speed


def write(
    args: argparse.Namespace, journal: Journal, info: ModelInfo, settings: HearingSettings
) -> tuple[WrittenTables, int]:
    """Write the tables and the page of what was found so far; return where they are, and how many events are there."""
    zone, events = zone_of(args), 0
    tables = write_tables(journal, args.format, args.continuous, zone)
    detection = settings.detection
    facts = [
        ("model", f"{info.name}, {settings.served or settings.precision} on {settings.backend}"),
        ("hop_s", f"{detection.hop_s:g}"),
        ("thresholds", detection.sensitivity if detection.threshold is None else f"{detection.threshold:g}"),
        ("written", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"),
    ]
    heading = SummaryHeading(args.folders, info.front_end, facts, journal.totals().files_todo)

    def counted() -> Iterator[KeptRecording]:
        nonlocal events
        for kept in journal.recordings(args.continuous, zone):
            events += len(kept.events)
            yield kept

    page = journal.folder / SUMMARY_FILE
    write_summary(page, heading, counted(), journal.failures())
    return tables._replace(written=[*tables.written, page]), events


def tell(out: Path, totals: JournalTotals, result: tuple[WrittenTables, int], speed: float, is_stopped: bool) -> int:
    """Say what was done, and what could not be; return the exit status."""
    tables, events = result
    fast = f", {speed:.0f} × real time" if speed else ""
    seconds = totals.seconds_done
    length = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    heard = f"{plural(totals.files_done, 'recording')}, {length}, {plural(events, 'event')}"
    named = [path.relative_to(out.absolute()) for path in tables.written]
    written = listed([name for name in dict.fromkeys(named) if str(name) != FAILED_FILE], 8)
    print(f"{heard}{fast}; in {out}: {written}", flush=True)
    if tables.kept_first is not None:
        first, others = tables.kept_first.relative_to(out.absolute()), tables.kept - 1
        names = f"{first} and {plural(others, 'other file')} were" if others else f"{first} was"
        kept = "changed since we wrote there, and left as is; move away what is to be written anew"
        print_error("htsat-edge", f"{names} {kept}")
    whole = totals.files_done + totals.failed + totals.files_todo
    parts = [f"{totals.failed} of {plural(whole, 'recording')} failed"] if totals.failed else []
    parts += [f"{plural(totals.damaged, 'recording')} could be read in part only"] if totals.damaged else []
    unreadable = "1 folder or link" if totals.unreadable == 1 else f"{totals.unreadable} folders or links"
    parts += [f"{unreadable} cannot be read"] if totals.unreadable else []
    if parts:
        print_error("htsat-edge", f"{', '.join(parts)}: {out / FAILED_FILE}")
    if is_stopped:
        print_error("htsat-edge", f"stopped; {plural(totals.files_todo, 'recording')} to go: the same command goes on")
        return INTERRUPTED
    return 2 if parts else 0
