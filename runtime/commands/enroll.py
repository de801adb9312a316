"""`htsat-edge enroll`: teach the model a sound, and look after the sounds that it was taught."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from htsat_edge.runtime.commands.enroll_report import print_report, print_sounds
from htsat_edge.runtime.common.command import print_error
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import listed, shown
from htsat_edge.runtime.daemon.config import DaemonConfig, MicrophoneConfig
from htsat_edge.runtime.daemon.config.mentions import find_mentions, taken_names
from htsat_edge.runtime.daemon.sources.takes import record_takes
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.enrolment.recordings import check_count
from htsat_edge.runtime.enrolment.teaching import has_news, refresh, teach
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.model import sounds_folder
from htsat_edge.runtime.store.cuttings import cut_backgrounds, cut_events, cut_false_alarms
from htsat_edge.runtime.store.problems import StoreError
from htsat_edge.runtime.store.reader import StoreReader

PROGRAM = "htsat-edge"


@dataclass(frozen=True)
class Workplace:
    """What an enrolment works with, as the command line and the configuration have it."""

    library: Library
    config: DaemonConfig
    config_file: Path | None
    database: Path | None
    clips: Path | None
    console: Console = field(default_factory=Console)

    @property
    def taken(self) -> list[str]:
        """Names that a sound must not have, beside those of classes."""
        return taken_names(self.config, self.library.bundle.info)

    @contextmanager
    def backend(self) -> Iterator[Backend]:
        """Run the model, without any sounds, and show that something goes on."""
        model, screen = self.config.model, Console(stderr=True)
        with (
            closing(
                open_backend(self.library.bundle, model.precision, model.local_backend, threads=model.threads)
            ) as backend,
            screen.status("learning …"),
        ):
            yield backend

    @contextmanager
    def store(self) -> Iterator[tuple[StoreReader, Path]]:
        """Open the store, with the folder of its clips; raise an HtsatEdgeError where it is not said where they are."""
        if self.database is None:
            raise HtsatEdgeError(
                "where is the store? --config FILE, with outputs.store, or --database PATH --clips FOLDER"
            )
        if self.clips is None:
            raise HtsatEdgeError("where are the clips? --config FILE, with outputs.clips, or --clips FOLDER")
        with StoreReader(self.database) as reader:
            yield reader, self.clips


def run(args: argparse.Namespace) -> int:
    """Run the command; return 1 where a sound is refused."""
    place = find_workplace(args)
    library, console = place.library, place.console
    if args.list:
        print_sounds(console, library.sounds())
    elif args.rename is not None:
        rename(place, *args.rename)
    elif args.remove is not None:
        remove(place, args.remove)
    elif args.export is not None:
        written = library.export(args.export[0], Path(args.export[1]))
        console.print(
            Text(f"{written}: on another device: htsat-edge enroll --import {args.export[1]}"), soft_wrap=True
        )
    elif args.import_ is not None:
        for sound in library.add_from(args.import_, place.taken):
            console.print(Text(f"{sound.info.label}: is in {library.folder / sound.name}.json"), soft_wrap=True)
    elif args.refresh is not None:
        return refresh_all(place, args.refresh or None, args.background)
    else:
        return learn(place, args)
    return 0


def find_workplace(args: argparse.Namespace) -> Workplace:
    """Return what the arguments mean, with a configuration where one is given."""
    config = read_yaml(args.config, DaemonConfig) if args.config is not None else DaemonConfig()
    bundle = load_bundle(args.bundle or config.model.bundle or BUNDLED)
    folder = sounds_folder(bundle, args.sounds or (config.model.sounds if args.bundle is None else None))
    store, clips = config.outputs.store, config.outputs.clips
    return Workplace(
        Library(folder, bundle),
        config,
        args.config,
        args.database or (None if store is None else store.path),
        args.clips or (None if clips is None else clips.folder),
    )


def learn(place: Workplace, args: argparse.Namespace) -> int:
    """Learn a sound from files, from events or from the microphone; return 1 where it is refused."""
    if args.label is None:
        raise HtsatEdgeError('want what the sound is called, and recordings of it: "Our doorbell" a.wav b.wav c.wav')
    if sum((bool(args.files), args.events is not None, args.record is not None)) != 1:
        raise HtsatEdgeError("want recordings of the sound: 3 or more files, or --events ID …, or --record N")
    library = place.library
    library.check_can_learn()
    if Path(args.label).is_file():
        raise HtsatEdgeError(f"{args.label}: is a file; what is the sound called? htsat-edge enroll LABEL FILE …")
    own = library.name_of(args.label)
    if own is not None and not args.replace:
        raise HtsatEdgeError(f"label {args.label!r}: is enrolled already; --replace learns it anew")
    library.check_label(args.label, own, place.taken)
    library.check_writable()
    with tempfile.TemporaryDirectory() as folder:
        recordings = list(args.files)
        if args.events is not None:
            with place.store() as (reader, clips):
                recordings = cut_events(reader, args.events, clips, Path(folder))
        elif args.record is not None:
            check_count(args.record)
            microphone = choose_microphone(place.config, args.device)
            recordings = record_takes(microphone, args.record, Path(folder), lambda line: print(line, file=sys.stderr))
        backgrounds = [*args.background, *find_backgrounds(place, Path(folder), args.events or ())]
        with place.backend() as backend:
            sound, report = teach(
                library,
                backend,
                args.label,
                recordings,
                backgrounds=backgrounds,
                replace=args.replace,
                taken=place.taken,
            )
    print_report(place.console, args.label, report, None if sound is None else library.folder / f"{sound.name}.json")
    return 0 if sound is not None else 1


def find_backgrounds(place: Workplace, folder: Path, without: Sequence[int]) -> list[Path]:
    """Cut what else is heard there out of the store's clips, where there are some."""
    if place.database is None or place.clips is None or not place.database.exists():
        return []
    try:
        with place.store() as (reader, clips):
            return cut_backgrounds(reader, clips, folder, without)
    except StoreError as error:
        print_error(PROGRAM, f"the store's clips are not used as background: {error}")
        return []


def choose_microphone(config: DaemonConfig, device: str | None) -> MicrophoneConfig:
    """Return the microphone that is meant: by its name, else the configuration's first, else the default one."""
    if device is not None:
        return MicrophoneConfig(device=int(device) if device.isdecimal() else device)
    return next((one.microphone for one in config.sources if one.microphone is not None), MicrophoneConfig())


def refresh_all(place: Workplace, name: str | None, backgrounds: Sequence[Path]) -> int:
    """Learn a sound again, or all that the graph or new false alarms call for; return 1 where one is refused."""
    library = place.library
    library.check_can_learn()
    sounds = [library.find(name)] if name is not None else library.readable()
    status, done = 0, 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        backend: Backend | None = None
        for number, (key, info) in enumerate(sounds):
            cuttings = Path(folder) / str(number)
            cuttings.mkdir()
            try:
                alarms = find_false_alarms(place, info.label, cuttings)
                if name is None and not backgrounds and not has_news(library, key, alarms):
                    continue
                backend = backend or opened.enter_context(place.backend())
                sound, report = refresh(library, backend, info.label, backgrounds=backgrounds, false_alarms=alarms)
            except HtsatEdgeError as error:
                if name is not None:
                    raise
                print_error(PROGRAM, error)
                status = 2
                continue
            done += 1
            where = None if sound is None else library.folder / f"{sound.name}.json"
            print_report(place.console, info.label, report, where)
            status = max(status, int(sound is None))
    if not done and not status:
        place.console.print(
            Text(f"{library.folder}: nothing to refresh: no new false alarm, and the graph is the same")
        )
    return status


def find_false_alarms(place: Workplace, label: str, folder: Path) -> list[Path]:
    """Cut the events of a sound that people have called wrong out of the store's clips, where there are some."""
    if place.database is None or place.clips is None or not place.database.exists():
        return []
    with place.store() as (reader, clips):
        return cut_false_alarms(reader, label, clips, folder)


def rename(place: Workplace, name: str, label: str) -> None:
    """Give a sound another label."""
    key, info = place.library.find(name)
    refuse_mentioned(place, info.label)
    place.library.check_label(label, key, place.taken)
    renamed = place.library.rename(info.label, label)
    place.console.print(Text(f"{shown(info.label)} is called {shown(renamed.label)} from now on"))


def remove(place: Workplace, name: str) -> None:
    """Delete a sound."""
    if name not in dict(place.library.sounds().broken):
        refuse_mentioned(place, place.library.find(name)[1].label)
    info = place.library.remove(name)
    place.console.print(Text(f"{shown(name if info is None else info.label)} is no longer there"))


def refuse_mentioned(place: Workplace, label: str) -> None:
    """Raise an HtsatEdgeError where the configuration names a sound that it would not know any more."""
    if mentions := find_mentions(place.config, label):
        raise HtsatEdgeError(
            f"{place.config_file}: names {label!r} in {listed(mentions)}: take it out first, or `listen` fails to start"
        )
