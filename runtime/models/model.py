"""A model as the detector runs it: a bundle, and the sounds that were enrolled with it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import Kind, open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.backends.remote import RemoteBackend, open_remote
from htsat_edge.runtime.models.backends.remote_fallback import RemoteFallback
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.sounds import SOUNDS_FOLDER, Sounds, SoundsBackend, read_sounds, with_sounds

QUIET_DB = -60.0
"""The level of the window that a server is tried with before there is another."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A bundle with enrolled sounds, which are its last classes."""

    bundle: Bundle
    info: ModelInfo
    """With the sounds."""
    sounds: Sounds

    def open(
        self,
        precision: str | None = None,
        kind: Kind | Literal["remote"] = "auto",
        build: bool = False,
        threads: int | None = None,
        server: RemoteServer | None = None,
    ) -> Backend:
        """Load it, with the arguments and errors of `open_backend`; log which sounds cannot be heard.

        With the kind `remote` a server runs it, or there is an error; `precision`, `build` and `threads` do not count.
        """
        if kind == "remote":
            return self._with_sounds(open_remote(self.bundle, server, self._needs_frames))
        return self._with_sounds(open_backend(self.bundle, precision, kind, build, threads))

    def open_lasting(
        self, server: RemoteServer, precision: str | None = None, build: bool = False, threads: int | None = None
    ) -> Backend:
        """Have a server run it, and this device while that is slow or gone: for programs that run without end."""
        info = self.bundle.info
        quiet = np.full((1, info.frames, info.front_end.n_mels), QUIET_DB, np.float32)
        connect = partial(RemoteBackend, server, info, self.bundle.sha256("fp32"), self._needs_frames)
        local = open_backend(self.bundle, precision, "auto", build, threads)
        return self._with_sounds(RemoteFallback(connect, local, quiet, server.timeout_s))

    @property
    def _needs_frames(self) -> bool:
        """Whether somebody has use of the model's frame_embedding."""
        return bool(self.sounds.known)

    def _with_sounds(self, backend: Backend) -> Backend:
        for note in self.sounds.notes():
            logger.warning(note)
        return SoundsBackend(backend, self.sounds) if self.sounds.known else backend


def find_remote(backend: Backend) -> RemoteFallback | None:
    """Return what changes between a server and this device, where a backend is that, or is around it."""
    inner = backend.inner if isinstance(backend, SoundsBackend) else backend
    return inner if isinstance(inner, RemoteFallback) else None


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
