"""Libraries that an installation may lack, or have in a state in which they cannot be loaded: one line says so."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import TracebackType

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line


@contextmanager
def needing(what: str, package: str, mend: str) -> Iterator[None]:
    """Turn an import that fails in a `with` block into an HtsatEdgeError.

    Parameters
    ----------
    what
        What needs the package: an option, a section of the configuration.
    package
        Its name for pip.
    mend
        What to do where it is missing, such as `pip install "htsat-edge[plot]"`.
    """
    noise = io.StringIO()
    try:
        with redirect_stderr(noise):  # numpy 2 prints 50 lines where a library was compiled for numpy 1
            yield
    except ModuleNotFoundError:
        raise HtsatEdgeError(f"{what} needs {package}: {mend}") from None
    except Exception as error:  # a library that was made for another version of its own libraries may fail in any way
        raise HtsatEdgeError(f"{what} needs {describe_broken(error, package)}") from None


def describe_broken(error: Exception, package: str = "") -> str:
    """Return why a library that is there cannot be loaded, and what to do; its name is found where it is not given."""
    package = package or library_of(error.__traceback__) or "a library"
    return f"{package}, which cannot be loaded here: {in_one_line(error)}; pip install --upgrade {package}"


def library_of(trace: TracebackType | None) -> str:
    """Return the package of others that has failed, the last in the traceback; numpy is never what is broken."""
    found = ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if name not in ("", "__main__", "htsat_edge", "importlib", "runpy", "numpy"):
            found = name
        trace = trace.tb_next
    return found
