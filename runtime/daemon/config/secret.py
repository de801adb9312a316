"""Passwords and tokens, which are kept elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import model_validator

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config.section import Section

MOST_SECRET = 10_000
"""Bytes of a file that holds a secret; certificates are longer, passwords and tokens are not."""


class Secret(Section):
    """Where a password or token is kept; it is never in the file itself, and never logged."""

    env: str | None = None
    """Name of an environment variable."""
    file: Path | None = None
    """A file that holds it, such as systemd's credentials."""

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("want one of env and file")
        return self

    def read(self) -> str:
        """Return the secret itself; raise an HtsatEdgeError where it is not there."""
        if self.env is not None:
            if self.env not in os.environ:
                raise HtsatEdgeError(f"the environment has no {self.env}, which must hold a secret")
            return self._checked(self.env, os.environ[self.env])
        assert self.file is not None
        try:
            return self._checked(self.file, _read_short(self.file).decode("utf-8-sig"))
        except OSError as error:
            raise HtsatEdgeError(f"{self.file}: cannot be read: {error.strerror}; it must hold a secret") from None
        except UnicodeDecodeError:
            raise HtsatEdgeError(f"{self.file}: is no text; it must hold a secret") from None

    @staticmethod
    def _checked(where: object, secret: str) -> str:
        secret = secret.strip()
        if not secret or not secret.isprintable():
            raise HtsatEdgeError(f"{where}: must hold a secret of one line")
        return secret


def _read_short(path: Path) -> bytes:
    """Return the content of a small file; never wait for a pipe, and never read a device without end."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise HtsatEdgeError(f"{path}: is no regular file; it must hold a secret")
        content = file.read(MOST_SECRET + 1)
    if len(content) > MOST_SECRET:
        raise HtsatEdgeError(f"{path}: must hold a secret of one line, and is longer than {MOST_SECRET} bytes")
    return content
