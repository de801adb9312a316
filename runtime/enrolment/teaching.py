"""Learn a sound and put it into the library: what the command and the page both do."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from htsat_edge.runtime.enrolment.enroll import enroll
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.enrolment.recordings import TakenRecording, take_more, take_recordings
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.sounds import EnrolledSound, SoundReport


def teach(
    library: Library,
    backend: Backend,
    label: str,
    recordings: Sequence[Path],
    *,
    backgrounds: Sequence[Path] = (),
    false_alarms: Sequence[Path] = (),
    replace: bool = False,
    taken: Collection[str] = (),
) -> tuple[EnrolledSound | None, SoundReport]:
    """Learn a sound, and add it to the library.

    Parameters
    ----------
    library, backend
        Where the sound is put, and what runs the library's bundle, without any sounds.
    label
        By which it is reported.
    recordings, backgrounds, false_alarms
        As for `take_recordings`.
    replace
        Whether a sound that has this label is learned anew.
    taken
        Names that are reported already, beside those of the model and of the library.

    Returns
    -------
        The sound, None where it is refused and nothing was written; and a report, which says why.

    Raises
    ------
    HtsatEdgeError
        The label is taken, a recording cannot be used, the model cannot learn sounds, or the library's folder cannot be
        written to.
    """
    own = library.name_of(label) if replace else None
    label = library.check_label(label, own, taken)
    library.check_writable()
    rate = library.bundle.info.front_end.sample_rate
    with tempfile.TemporaryDirectory() as folder:
        found = take_recordings(rate, Path(folder), recordings, backgrounds, false_alarms)
        return _learn(library, backend, label, found, own)


def refresh(
    library: Library,
    backend: Backend,
    name: str,
    *,
    backgrounds: Sequence[Path] = (),
    false_alarms: Sequence[Path] = (),
) -> tuple[EnrolledSound | None, SoundReport]:
    """Learn a sound of the library again, from its recordings and what is new; where it is refused, it stays as it was.

    Raises
    ------
    HtsatEdgeError
        There is no such sound, or one of its recordings is missing or damaged; else as `teach`.
    """
    name, info = library.find(name)
    library.check_writable()
    with tempfile.TemporaryDirectory() as folder:
        found = take_more(
            library.bundle.info.front_end.sample_rate, Path(folder), library.taken(name), backgrounds, false_alarms
        )
        return _learn(library, backend, info.label, found, name)


def has_news(library: Library, name: str, false_alarms: Sequence[Path] = ()) -> bool:
    """Return whether there is a reason to learn a sound again: a new false alarm, or it cannot be heard as it is."""
    if name not in {sound.name for sound in library.sounds().usable}:
        return True
    there = library.taken(name)
    with tempfile.TemporaryDirectory() as folder:
        rate = library.bundle.info.front_end.sample_rate
        return len(take_more(rate, Path(folder), there, false_alarms=false_alarms)) > len(there)


def _learn(
    library: Library, backend: Backend, label: str, found: Sequence[TakenRecording], own: str | None
) -> tuple[EnrolledSound | None, SoundReport]:
    learned = enroll(
        library.bundle,
        backend,
        label,
        [one.path for one in found if one.kind == "positive"],
        backgrounds=[one.path for one in found if one.kind == "background"],
        false_alarms=[one.path for one in found if one.kind == "false_alarm"],
        others=_others(library, own),
    )
    return library.add(learned, found, own) if learned.report.accepted else None, learned.report


def _others(library: Library, own: str | None) -> dict[str, list[Path]]:
    """Return the recordings of the other sounds by label; one that cannot be read is left out."""
    found = {
        info.label: library.recordings_of(name, "positive") for name, info in library.sounds().known if name != own
    }
    return {label: there for label, paths in found.items() if (there := [path for path in paths if path.is_file()])}
