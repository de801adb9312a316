"""The folder of enrolled sounds: add, rename, remove, export and import them, with nothing ever half done.

A sound counts from the moment its json is there, in one move. What it names is written before, under names that nothing
else has, and what it no longer names is deleted after it, so that a crash at any moment leaves the old sound or the
new one.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import is_part, replacing, replacing_folder
from htsat_edge.runtime.common.folders import try_folder
from htsat_edge.runtime.common.text import is_name, listed
from htsat_edge.runtime.enrolment.enroll import Enrolment
from htsat_edge.runtime.enrolment.names import is_kept, new_name, tidy_label
from htsat_edge.runtime.enrolment.negatives import BACKGROUND, FALSE_ALARM
from htsat_edge.runtime.enrolment.recordings import TakenRecording, hash_recording
from htsat_edge.runtime.models.backends.backend import FRAME_EMBEDDING
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.models.external import output_names
from htsat_edge.runtime.models.sounds import (
    HEAD_SUFFIXES,
    LONGEST_LABEL,
    EnrolledSound,
    Kind,
    SoundInfo,
    SoundRecording,
    Sounds,
    find_head,
    kept_name,
    read_head,
    read_info,
    read_sounds,
)

WRITABLE = "want a folder that can be written to: `model.sounds` in the configuration says which"


class Library:
    """The sounds of a folder, which is made when the first is added; for a bundle, whose graph they are heard with."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder, self.bundle = folder, bundle

    def sounds(self) -> Sounds:
        """Return what is there."""
        return read_sounds(self.folder, self.bundle)

    def stale(self) -> list[tuple[str, SoundInfo]]:
        """Return the sounds that were made for another graph, by name."""
        return self.sounds().stale

    def find(self, name: str) -> tuple[str, SoundInfo]:
        """Return the sound of a label or a name, in any case; raise an HtsatEdgeError where there is none."""
        known = self._known()
        key = self.name_of(name) or name  # a sound that was renamed has the name of its first label
        if key in known:
            return key, known[key]
        there = listed((info.label for info in known.values()), most=10) or "none"
        raise HtsatEdgeError(f"there is no sound {name!r} in {self.folder}; there: {there}")

    def _find_any(self, name: str) -> tuple[str, SoundInfo | None]:
        """Return a sound as `find` does, or a damaged one by its name."""
        return (name, None) if name in dict(self.sounds().broken) else self.find(name)

    def name_of(self, label: str) -> str | None:
        """Return the name of the sound that has a label; None where none has."""
        wanted = tidy_label(label).casefold()
        return next((name for name, info in self._known().items() if info.label.casefold() == wanted), None)

    def check_label(self, label: str, own: str | None = None, taken: Collection[str] = ()) -> str:
        """Return a label as it is written; raise an HtsatEdgeError where it is no name, or another class has it.

        `own` names a sound that may have it; `taken` has what else is reported, such as groups of labels.
        """
        tidy = tidy_label(label)
        if not is_name(tidy) or len(tidy) > LONGEST_LABEL:
            raise HtsatEdgeError(
                f"label {label[:120]!r}: want a name that can be printed, of at most {LONGEST_LABEL} letters"
            )
        folded = tidy.casefold()
        if folded in {one.casefold() for one in self.bundle.info.labels}:
            raise HtsatEdgeError(f"label {tidy!r}: the model has a class of this name; give the sound another")
        if folded in (BACKGROUND, FALSE_ALARM):
            raise HtsatEdgeError(f"label {tidy!r}: is the name of recordings of no sound; give the sound another")
        if folded in {one.casefold() for one in taken}:
            raise HtsatEdgeError(
                f"label {tidy!r}: is the name of something else that is reported; give the sound another"
            )
        if self.name_of(tidy) not in (None, own):
            raise HtsatEdgeError(f"label {tidy!r}: is enrolled already; give the sound another")
        return tidy

    def check_can_learn(self) -> None:
        """Raise an HtsatEdgeError where the bundle's graph does not give what a sound is learned from."""
        if FRAME_EMBEDDING not in output_names(self.bundle.graph("fp32")):
            raise HtsatEdgeError(
                f"{self.bundle.path}: its graph gives no {FRAME_EMBEDDING}, from which sounds are learned; "
                "export/to_onnx.py writes one that does, from the checkpoint"
            )

    def check_writable(self) -> None:
        """Raise an HtsatEdgeError where nothing could be written into the folder; for use before long work."""
        try:
            try_folder(self.folder)
        except HtsatEdgeError as error:
            raise HtsatEdgeError(f"{error}; {WRITABLE}") from None

    def add(
        self, enrolment: Enrolment, recordings: Sequence[TakenRecording], replace: str | None = None
    ) -> EnrolledSound:
        """Write a sound that was learned from recordings; they are copied.

        Parameters
        ----------
        enrolment
            What was learned; its report is `accepted`.
        recordings
            All that it was learned from.
        replace
            The name of the sound that it takes the place of, if any.

        Raises
        ------
        HtsatEdgeError
            Another class has its label, or the folder cannot be written to. What was there is as it was.
        """
        if not enrolment.report.accepted:
            raise ValueError(f"{enrolment.label} was refused")
        with self._locked():
            label = self.check_label(enrolment.label, replace)
            name = replace or new_name(self.folder, label)
            content = _encode_head(enrolment)
            info = SoundInfo(
                label=label,
                graph_sha256=self.bundle.sha256("fp32"),
                channels=len(enrolment.weight),
                threshold=enrolment.threshold,
                enrolled_at=datetime.now(timezone.utc).astimezone().replace(microsecond=0),
                head_sha256=sha256(content).hexdigest(),
                recordings=[
                    SoundRecording(
                        file=kept_name(one.kind, one.sha256), sha256=one.sha256, seconds=one.seconds, kind=one.kind
                    )
                    for one in recordings
                ],
                report=enrolment.report,
            )
            self._write(name, info, content, {kept_name(one.kind, one.sha256): one.path for one in recordings})
            return EnrolledSound(name, info, *read_head(self.folder, name, info))

    def rename(self, name: str, label: str) -> SoundInfo:
        """Give a sound another label, by which it is reported from now on; its files keep their names."""
        self.find(name)  # where it is not there, no folder is made
        with self._locked():
            name, info = self.find(name)
            renamed = info.model_copy(update={"label": self.check_label(label, name)})
            self._commit(name, renamed)
            return renamed

    def remove(self, name: str) -> SoundInfo | None:
        """Delete a sound with its recordings; a damaged one, too. Raise an HtsatEdgeError where there is none."""
        self._find_any(name)  # where it is not there, no folder is made
        with self._locked():
            name, info = self._find_any(name)
            (self.folder / f"{name}.json").unlink(missing_ok=True)  # from here on it is gone
            for suffix in HEAD_SUFFIXES:
                (self.folder / f"{name}{suffix}").unlink(missing_ok=True)
            self._tidy_up(name, ())
            return info

    def recordings_of(self, name: str, kind: Kind) -> list[Path]:
        """Return the recordings of a kind that a sound was learned from."""
        info = read_info(self.folder, name)
        return [self.folder / name / one.file for one in info.recordings if one.kind == kind]

    def taken(self, name: str) -> list[TakenRecording]:
        """Return all recordings of a sound; raise an HtsatEdgeError where one is missing or damaged."""
        return [_check_recording(self.folder / name, one) for one in read_info(self.folder, name).recordings]

    def export(self, name: str, folder: Path) -> Path:
        """Write a sound into a new folder, from which another device can add it; return its json there.

        Raises
        ------
        HtsatEdgeError
            There is no such sound, it is damaged, or there is something in the folder.
        """
        name, info = self.find(name)
        self.taken(name)
        read_head(self.folder, name, info)
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise HtsatEdgeError(f"{folder}: is there, and not an empty folder; give another")
        with replacing_folder(folder, keep=lambda _: False) as new:
            for one in info.recordings:
                _copy(self.folder / name / one.file, new / name / one.file)
            (new / f"{name}.npz").write_bytes(find_head(self.folder, name, info).read_bytes())
            (new / f"{name}.json").write_text(_as_text(info), encoding="utf-8")
        return folder / f"{name}.json"

    def add_from(self, folder: Path, taken: Collection[str] = ()) -> list[EnrolledSound]:
        """Add the sounds of a folder that `export` has written.

        Raises
        ------
        HtsatEdgeError
            There is none, one is damaged, was made for another graph, or has a label that is taken: nothing is added.
        """
        try:
            found = self._read_exported(folder)
        except OSError as error:
            raise HtsatEdgeError(f"{folder}: cannot be read: {error.strerror}") from None
        with self._locked():
            labels = [*taken]
            for _, info in found:
                labels.append(self.check_label(info.label, taken=labels))
            return [self._add_copy(folder, name, info) for name, info in found]

    def _read_exported(self, folder: Path) -> list[tuple[str, SoundInfo]]:
        """Return the sounds of a folder by name; raise where there is none, or one cannot be heard with the bundle."""
        names = sorted(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))
        if not names:
            raise HtsatEdgeError(f"{folder}: holds no sound: want one that `htsat-edge enroll --export` has written")
        found, graph = list[tuple[str, SoundInfo]](), self.bundle.sha256("fp32")
        for name in names:
            info = read_info(folder, name)
            if info.graph_sha256 != graph:
                raise HtsatEdgeError(
                    f"{folder / name}.json: was made for another graph than that of {self.bundle.path}: learn it "
                    f'from its recordings: htsat-edge enroll "{info.label}" {folder / name}/positive-*.flac'
                )
            read_head(folder, name, info)
            for one in info.recordings:
                _check_recording(folder / name, one)
            found.append((name, info.model_copy(update={"label": tidy_label(info.label)})))
        return found

    def _add_copy(self, folder: Path, name: str, info: SoundInfo) -> EnrolledSound:
        new = new_name(self.folder, info.label)
        content = find_head(folder, name, info).read_bytes()
        renamed = [one.model_copy(update={"file": kept_name(one.kind, one.sha256)}) for one in info.recordings]
        files = {now.file: folder / name / was.file for now, was in zip(renamed, info.recordings, strict=True)}
        info = info.model_copy(update={"recordings": renamed})
        self._write(new, info, content, files)
        return EnrolledSound(new, info, *read_head(self.folder, new, info))

    def readable(self) -> list[tuple[str, SoundInfo]]:
        """Return the sounds whose json can be read, by name, whatever their state."""
        return [*self._known().items()]

    def _known(self) -> dict[str, SoundInfo]:
        """Return what can be read, by name; also what is left out for another reason."""
        known = dict[str, SoundInfo]()
        for path in sorted(self.folder.glob("*.json")):
            try:
                known[path.stem] = read_info(self.folder, path.stem)
            except HtsatEdgeError:
                continue
        return known

    def _write(self, name: str, info: SoundInfo, head: bytes, files: dict[str, Path]) -> None:
        """Write a sound: its recordings and weights first, then its json, which makes it one."""
        for file, path in files.items():
            if path != self.folder / name / file:  # one that is there already may be damaged
                _copy(path, self.folder / name / file)
        first, new = (self.folder / f"{name}{suffix}" for suffix in HEAD_SUFFIXES)
        self._finish(name)
        with replacing(new) as part:
            part.write_bytes(head)
        self._commit(name, info)
        new.replace(first)
        self._tidy_up(name, files)

    def _finish(self, name: str) -> None:
        """Move the weights to their place, where a crash has come between that and their json."""
        first, new = (self.folder / f"{name}{suffix}" for suffix in HEAD_SUFFIXES)
        if new.is_file() and (self.folder / f"{name}.json").is_file():
            with suppress(HtsatEdgeError):  # a damaged one is written anew
                if find_head(self.folder, name, read_info(self.folder, name)) == new:
                    new.replace(first)

    def _commit(self, name: str, info: SoundInfo) -> None:
        with replacing(self.folder / f"{name}.json") as part:
            part.write_text(_as_text(info), encoding="utf-8")

    def _tidy_up(self, name: str, keep: Collection[str]) -> None:
        """Delete what a crash has left, what a sound no longer names, and its folder if nothing is left in it."""
        for path in self.folder.iterdir():
            if is_part(path):
                path.unlink(missing_ok=True)
        folder = self.folder / name
        if not folder.is_dir() or folder.is_symlink():
            return
        for path in folder.iterdir():
            if is_kept(path) and path.name not in keep:
                path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other programs from changing the folder meanwhile."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise HtsatEdgeError(f"{self.folder}: cannot be written to: {error.strerror}; {WRITABLE}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise HtsatEdgeError(f"{self.folder}: cannot be written to: {error.strerror}; {WRITABLE}") from None
        finally:
            os.close(descriptor)


def _as_text(info: SoundInfo) -> str:
    return info.model_dump_json(indent=2) + "\n"


def _encode_head(enrolment: Enrolment) -> bytes:
    content = io.BytesIO()
    np.savez(content, weight=np.asarray(enrolment.weight, np.float32), bias=np.float64(enrolment.bias))
    return content.getvalue()


def _check_recording(folder: Path, one: SoundRecording) -> TakenRecording:
    path = folder / one.file
    if path.is_symlink() or not path.is_file() or hash_recording(path) != one.sha256:
        raise HtsatEdgeError(f"{path}: is missing or damaged; copy it again, or learn the sound anew")
    return TakenRecording(path, one.sha256, one.seconds, one.kind)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with replacing(target) as part:
        shutil.copyfile(path, part)
