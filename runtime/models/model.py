"""A model as the detector runs it: a bundle, and the sounds that were enrolled with it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import Kind, open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.sounds import SOUNDS_FOLDER, Sounds, SoundsBackend, read_sounds, with_sounds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A bundle with enrolled sounds, which are its last classes."""

    bundle: Bundle
    info: ModelInfo
    """With the sounds."""
    sounds: Sounds

    def open(
        self, precision: str | None = None, kind: Kind = "auto", build: bool = False, threads: int | None = None
    ) -> Backend:
        """Load it, with the arguments and errors of `open_backend`; log which sounds cannot be heard."""
        for note in self.sounds.notes():
            logger.warning(note)
        backend = open_backend(self.bundle, precision, kind, build, threads)
        return SoundsBackend(backend, self.sounds) if self.sounds.known else backend


def load_model(bundle: Bundle | Path | str = BUNDLED, sounds: Path | None = None) -> Model:
    """Read a bundle, by default the bundled one, and the sounds of a folder, by default the bundle's own.

    Raises
    ------
    HtsatEdgeError
        The bundle cannot be read.
    """
    if not isinstance(bundle, Bundle):
        bundle = load_bundle(bundle)
    found = read_sounds(sounds_folder(bundle, sounds), bundle)
    return Model(bundle, with_sounds(bundle.info, found), found)


def refuse_no_sounds(sounds: Path | None) -> None:
    """Raise an HtsatEdgeError where the folder of sounds that an option names is not there.

    That of a configuration may come later, with the first sound.
    """
    if sounds is not None and not sounds.is_dir():
        raise HtsatEdgeError(f"--sounds {sounds}: no such folder")


def sounds_folder(bundle: Bundle, sounds: Path | None) -> Path:
    """Return the folder of sounds that is meant, by default the bundle's own."""
    return bundle.path / SOUNDS_FOLDER if sounds is None else sounds
