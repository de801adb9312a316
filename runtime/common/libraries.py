"""Libraries that an installation may lack, or have in a state in which they cannot be loaded: one line says so."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from importlib.metadata import distributions, packages_distributions
from traceback import walk_tb

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line

OURS = ("htsat_edge", "__main__")
TORCH_FOR_CPU = "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
"""Its build for a CPU; that of PyPI, which an extra would install, brings CUDA."""
MENDS = {
    "torch": f"{TORCH_FOR_CPU} --force-reinstall",
    "soundfile": "pip install --force-reinstall soundfile, or sudo apt install libsndfile1",
}
"""What to do where a package is broken and `--upgrade` is not enough; PyPI's soundfile may lack libsndfile."""


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


def needing_archive(what: str, package: str) -> AbstractContextManager[None]:
    """Do what `needing` does, for a package of the extra `archive`."""
    return needing(what, package, 'pip install "htsat-edge[archive]"')


def describe_broken(error: Exception, package: str = "") -> str:
    """Return why a library that is there cannot be loaded, and what to do.

    It is the one that has failed, which the package that was wanted may only use, and that package where it is not
    known. Raise the error anew where no package was wanted and htsat-edge itself has failed.
    """
    failed = failed_module(error)
    if _top(failed) in OURS:
        if not package:
            raise error
        failed = ""
    package = package_of(failed) or package
    mend = f"; {MENDS.get(package, f'pip install --upgrade {package}')}" if package else ""
    return f"{package or _top(failed) or 'a library'}, which cannot be loaded here: {in_one_line(error)}{mend}"


def describe_failed_import(error: Exception) -> str:
    """Return which library is missing or broken, and what to do; nothing where an error is not that of an import.

    Raise the error anew where it is an import of htsat-edge itself that has failed.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and error.name not in OURS and "." not in error.name:
        return f"{error.name}: pip install htsat-edge"
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == "<module>"]
    tops = [_top(str(frame.f_globals.get("__name__", ""))) for frame in frames]
    is_loading = any(top not in (*OURS, *sys.stdlib_module_names) for top in tops)
    return describe_broken(error) if is_loading or isinstance(error, ImportError) else ""


def failed_module(error: Exception) -> str:
    """Return the module that has failed, the last in the traceback; nothing where that is not known.

    The standard library is never what is broken, and numpy only where no other library has called it, or where it
    could not be loaded itself.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    if ("numpy", "<module>") in zip(names, [frame.f_code.co_name for frame in frames], strict=True):
        return "numpy"
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
    name = next((package.metadata["Name"] for package in [*holding, *found]), "")  # several may share google
    return str(name).replace("_", "-")


def _top(module: str) -> str:
    return module.partition(".")[0]
