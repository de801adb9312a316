"""Libraries that an installation may lack, or have in a state in which they cannot be loaded: one line says so."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import distributions, packages_distributions
from traceback import walk_tb

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line

OURS = ("htsat_edge", "__main__")


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
    """Return why a library that is there cannot be loaded, and what to do.

    Its name is found where it is not given. Raise the error anew where it is htsat-edge itself that has failed.
    """
    failed = "" if package else failed_module(error)
    if _top(failed) in OURS:
        raise error
    package = package or package_of(failed)
    mend = f"; pip install --upgrade {package}" if package else ""
    return f"{package or _top(failed) or 'a library'}, which cannot be loaded here: {in_one_line(error)}{mend}"


def failed_module(error: Exception) -> str:
    """Return the module that has failed, the last in the traceback; nothing where that is not known.

    The standard library is never what is broken, and numpy only where no other library has called it.
    """
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]
    names = [name for name in names if _top(name) not in ("", *sys.stdlib_module_names)]
    last = next((name for name in reversed(names) if _top(name) != "numpy"), "")
    if _top(last) not in OURS:
        return last
    # What cannot be parsed or linked has run nothing, and so is not in the traceback of the module that imports it.
    if isinstance(error, SyntaxError):
        return ""
    return error.name or names[-1] if isinstance(error, ImportError) else last


def package_of(module: str) -> str:
    """Return pip's name of the package that a module is in; nothing where none is known."""
    top = _top(module)
    names = packages_distributions().get(top, [top])  # Python 3.10 does not look at files, and so knows few
    found = [package for package in distributions() if package.metadata["Name"] in names]
    path = module.replace(".", "/")
    holding = [package for package in found if any(str(file).startswith(path) for file in package.files or ())]
    return next((package.metadata["Name"] for package in [*holding, *found]), "")  # several may share google


def _top(module: str) -> str:
    return module.partition(".")[0]
