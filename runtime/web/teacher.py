"""What the page does with the sounds of this device: look after them, and learn one at a time."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from fastapi import HTTPException

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import listed, shown
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.mentions import find_mentions, taken_names
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.enrolment.teaching import refresh, teach
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.model import sounds_folder
from htsat_edge.runtime.models.sounds import EnrolledSound, SoundInfo, SoundReport
from htsat_edge.runtime.store.cuttings import cut_backgrounds, cut_events, cut_false_alarms
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.web.schemas import EnrolIn, EnrolOut, SoundOut, SoundsOut
from htsat_edge.runtime.web.settings import PageSettings
from htsat_edge.runtime.web.sound_zip import pack, unpack
from htsat_edge.runtime.web.uploads import Upload, Uploads

THREADS = 2
"""Of onnxruntime; the daemon goes on meanwhile."""
UNKNOWN = (
    "the page does not know with which model the daemon listens: start it with the daemon, or by "
    "`htsat-edge web --config FILE`"
)


class Teacher:
    """Teaches the model of the daemon sounds of this device."""

    def __init__(self, settings: PageSettings, uploads: Uploads) -> None:
        """Learn from the store of a page, and from its uploads."""
        self._settings, self._uploads = settings, uploads
        self._learning = threading.Lock()

    @property
    def library(self) -> Library:
        """The sounds; to get it raises where it is not known which, or the model cannot be read."""
        if self._settings.config is None:
            raise HTTPException(409, UNKNOWN)
        model = self._settings.config.model
        bundle = load_bundle(model.bundle or BUNDLED)
        return Library(sounds_folder(bundle, model.sounds), bundle)

    @property
    def config(self) -> DaemonConfig:
        """The configuration as its file has it now; to get it raises where that is not known."""
        if self._settings.config_file is not None:
            return read_yaml(self._settings.config_file, DaemonConfig)
        if self._settings.config is None:
            raise HTTPException(409, UNKNOWN)
        return self._settings.config

    def sounds(self) -> SoundsOut:
        """Return what is there, and whether more can be learned."""
        if self._settings.config is None:
            return SoundsOut(can_enroll=False, reason=UNKNOWN, sounds=[])
        library = self.library
        try:
            library.check_can_learn()
            library.check_writable()
            reason = ""
        except HtsatEdgeError as error:
            reason = shown(str(error))
        there = library.sounds()
        sounds = [
            *(describe(sound.name, sound.info) for sound in there.usable),
            *(describe(name, info, "stale") for name, info in there.stale),
            *(describe(name, None, shown(why)) for name, why in there.broken),
        ]
        return SoundsOut(can_enroll=not reason, reason=reason, sounds=sorted(sounds, key=lambda one: one.label))

    def learn(self, wanted: EnrolIn) -> EnrolOut:
        """Learn a sound from events and uploads, which are deleted where it is accepted."""
        uploads = self._uploads.find(wanted.uploads)
        config, library = self.config, self.library
        with self._alone(), tempfile.TemporaryDirectory() as name, named(uploads, folder := Path(name)):
            recordings = [*self._cut(wanted.events, folder), *(upload.path for upload in uploads)]
            backgrounds = self._cut_backgrounds(folder, wanted.events)
            with self._backend() as backend:
                sound, report = teach(
                    library,
                    backend,
                    wanted.label,
                    recordings,
                    backgrounds=backgrounds,
                    replace=wanted.replace,
                    taken=taken_names(config, library.bundle.info),
                )
        if sound is not None:
            self._uploads.remove(wanted.uploads)
        return answer_of(sound, report)

    def refresh(self, name: str) -> EnrolOut:
        """Learn a sound again, from its recordings and what people have called wrong since."""
        info = self._find(name)
        with self._alone(), tempfile.TemporaryDirectory() as folder:
            alarms = self._cut_false_alarms(info.label, Path(folder))
            with self._backend() as backend:
                return answer_of(*refresh(self.library, backend, info.label, false_alarms=alarms))

    def rename(self, name: str, label: str) -> SoundOut:
        """Give a sound another label."""
        info = self._find(name)
        self._refuse_mentioned(info.label)
        self.library.check_label(label, name, taken_names(self.config, self.library.bundle.info))
        self.library.rename(info.label, label)
        return next(sound for sound in self.sounds().sounds if sound.name == name)

    def remove(self, name: str) -> None:
        """Delete a sound; one that cannot be read, too."""
        if name in dict(self.library.sounds().broken):
            self.library.remove(name)
        else:
            info = self._find(name)
            self._refuse_mentioned(info.label)
            self.library.remove(info.label)

    def export(self, name: str) -> IO[bytes]:
        """Return a sound as a ZIP, a file without a name."""
        return pack(self.library, self._find(name).label)

    def add_from(self, archive: IO[bytes]) -> SoundOut:
        """Add a sound of a ZIP of `export`."""
        library = self.library
        with tempfile.TemporaryDirectory() as name, named([], folder := Path(name)):
            unpack(archive, folder)
            (sound,) = library.add_from(folder, taken_names(self.config, library.bundle.info))
        return describe(sound.name, sound.info)

    def _find(self, name: str) -> SoundInfo:
        """Return the sound whose files have this name; raise where there is none."""
        info = dict(self.library.sounds().known).get(name)
        if info is None:
            raise HTTPException(404, f"sound {shown(name)} does not exist, or cannot be read")
        return info

    def _refuse_mentioned(self, label: str) -> None:
        if mentions := find_mentions(self.config, label):
            raise HTTPException(
                409, f"the configuration names {shown(label)} in {listed(mentions)}: take it out there first"
            )

    def _cut(self, keys: Sequence[int], folder: Path) -> list[Path]:
        if not keys:
            return []
        if self._settings.clips is None:
            raise HtsatEdgeError("events: there are no clips: say in `outputs.clips` where they are to be kept")
        with StoreReader(self._settings.store) as reader:
            return cut_events(reader, keys, self._settings.clips, folder)

    def _cut_backgrounds(self, folder: Path, without: Sequence[int]) -> list[Path]:
        if self._settings.clips is None:
            return []
        with StoreReader(self._settings.store) as reader:
            return cut_backgrounds(reader, self._settings.clips, folder, without)

    def _cut_false_alarms(self, label: str, folder: Path) -> list[Path]:
        if self._settings.clips is None:
            return []
        with StoreReader(self._settings.store) as reader:
            return cut_false_alarms(reader, label, self._settings.clips, folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse to learn while something else is learned."""
        if not self._learning.acquire(blocking=False):
            raise HTTPException(409, "another sound is being learned; wait for its end")
        try:
            yield
        finally:
            self._learning.release()

    @contextmanager
    def _backend(self) -> Iterator[Backend]:
        """Run the model, as the daemon does, without any sounds."""
        assert self._settings.config is not None
        model = self._settings.config.model
        with closing(
            open_backend(self.library.bundle, model.precision, model.local_backend, threads=THREADS)
        ) as backend:
            yield backend


def describe(name: str, info: SoundInfo | None, problem: str = "") -> SoundOut:
    """Return a sound; without its content one that cannot be used, and why."""
    if info is None:
        return SoundOut(
            name=name,
            label=name,
            threshold=None,
            enrolled_at=None,
            state="problem",
            problem=problem,
            recordings=0,
            report=None,
        )
    return SoundOut(
        name=name,
        label=info.label,
        threshold=info.threshold,
        enrolled_at=info.enrolled_at,
        state="stale" if problem else "in_use",
        problem="",
        recordings=sum(one.kind == "positive" for one in info.recordings),
        report=info.report,
    )


def answer_of(sound: EnrolledSound | None, report: SoundReport) -> EnrolOut:
    """Return what became of an enrolment."""
    return EnrolOut(sound=None if sound is None else describe(sound.name, sound.info), report=report)


@contextmanager
def named(uploads: Sequence[Upload], folder: Path) -> Iterator[None]:
    """Have errors name uploads as the browser does, and the files of a folder without it."""
    names: Mapping[str, str] = {**{str(upload.path): upload.name for upload in uploads}, f"{folder}/": ""}
    try:
        yield
    except HtsatEdgeError as error:
        text = str(error)
        for path, name in names.items():
            text = text.replace(path, name)
        raise type(error)(text) from None
