"""Libraries that are missing, and that are there and broken: as a distribution's old one beside a newer numpy."""

from functools import partial

import pytest

from htsat_edge.runtime.common import libraries
from htsat_edge.runtime.common.command import refuse_without_extra
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import MENDS, describe_failed_import, needing, package_of

MEND = 'pip install "htsat-edge[plot]"'
SCRIPT, PART = "__main__", "htsat_edge.evaluation.remembered"
GONE = "which cannot be loaded here: gone"
FAILURES = {
    "ImportError('numpy.core.multiarray failed to import')": "numpy.core.multiarray failed to import",
    "ValueError('numpy.dtype size changed')": "numpy.dtype size changed",
    "AttributeError('np.float was removed')": "np.float was removed",
    "OSError('libcudart.so.12:\\n cannot open')": "libcudart.so.12: cannot open",
}


@pytest.mark.parametrize(("failure", "why"), FAILURES.items())
def test_a_broken_library_is_one_line(failure, why, breaks, capsys):
    breaks("drawing", f"raise {failure}")
    with pytest.raises(HtsatEdgeError) as raised, needing("--plot", "drawing-kit", MEND):
        import drawing  # noqa: F401
    assert str(raised.value) == (
        f"--plot needs drawing-kit, which cannot be loaded here: {why}; pip install --upgrade drawing-kit"
    )
    assert capsys.readouterr() == ("", "")


def test_a_library_that_is_missing():
    with pytest.raises(HtsatEdgeError) as raised, needing("--plot", "drawing-kit", MEND):
        import no_such_library  # noqa: F401
    assert str(raised.value) == f"--plot needs drawing-kit: {MEND}"


@pytest.mark.parametrize(
    ("wanted", "broken", "named"),
    [("fastapi", "starlette", "starlette"), ("onnx", "google", "protobuf"), ("onnxruntime", "numpy", "numpy")],
)
def test_the_library_that_a_wanted_one_fails_with_is_named(wanted, broken, named, monkeypatch):
    monkeypatch.setattr(libraries, "packages_distributions", lambda: {broken: [named], wanted: [wanted]})
    monkeypatch.setattr(libraries, "distributions", lambda: [Installed(wanted), Installed(named)])
    with pytest.raises(HtsatEdgeError) as raised, needing("the page", wanted, MEND):
        raise error_of("raise AttributeError('gone')", SCRIPT, wanted, broken)
    assert str(raised.value) == f"the page needs {named}, {GONE}; pip install --upgrade {named}"


class Installed:
    """An installed package."""

    files = ()

    def __init__(self, name):
        self.metadata = {"Name": name}


def install(folder, package, module):
    """Let a package have a module, as pip would."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(module.partition(".")[0])
    file = folder / f"{module.replace('.', '/')}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    (info / "RECORD").write_text(f"{file.relative_to(folder)},,\n")


def refused(error, capsys):
    """Return what a script says that cannot be loaded for an error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        refuse_without_extra("accuracy.py", "calibration", error)
    assert stop.value.code == 2
    return capsys.readouterr().err


def error_of(code, *modules):
    """Return the error that the last of these modules raises, each of which loads the next one."""
    load = partial(exec, code, {"__name__": modules[-1]})
    for name in reversed(modules[:-1]):
        load = partial(exec, "load()", {"__name__": name, "load": load})
    with pytest.raises(Exception) as raised:  # noqa: PT011
        load()
    return raised.value


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_script_says_which_library_is_broken(is_installed, breaks, tmp_path, capsys):
    """Here the inner one; where no package has it, what to give pip is not known."""
    breaks("tables")
    (tmp_path / "scoring.py").write_text("import tables\n")
    if is_installed:
        install(tmp_path, "py-tables", "tables")
    with pytest.raises(ImportError) as raised:
        import scoring  # noqa: F401
    name, mend = ("py-tables", "; pip install --upgrade py-tables") if is_installed else ("tables", "")
    assert refused(raised.value, capsys) == (
        f"accuracy.py: needs {name}, which cannot be loaded here: numpy.core.multiarray failed to import{mend}\n"
    )


@pytest.mark.parametrize(
    ("code", "modules", "broken"),
    [
        ("raise AttributeError('gone')", (SCRIPT, "yaml", "yaml.reader"), "PyYAML"),
        ("raise AttributeError('gone')", (SCRIPT, PART, "yaml", "numpy.core", "ctypes.util"), "PyYAML"),
        ("raise ImportError('gone')", (SCRIPT, PART, "numpy"), "numpy"),
        ("from yaml import gone", (SCRIPT, PART), "PyYAML"),  # as where it is too old
        ("raise ImportError('libx.so.1: gone', name='yaml._yaml')", (SCRIPT,), "PyYAML"),
    ],
)
def test_the_package_that_is_broken(code, modules, broken, capsys):
    line = refused(error_of(code, *modules), capsys)
    assert line.startswith(f"accuracy.py: needs {broken}, which cannot be loaded here: ")
    assert line.endswith(f"; pip install --upgrade {broken}\n")


@pytest.mark.parametrize("name", ["torch", "soundfile"])
def test_a_library_that_an_upgrade_does_not_mend(name, capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, name, name)
    line = refused(error_of("raise OSError('libx.so: gone')", SCRIPT, name), capsys)
    assert line == f"accuracy.py: needs {name}, which cannot be loaded here: libx.so: gone; {MENDS[name]}\n"


@pytest.mark.parametrize(
    ("code", "modules", "line"),
    [
        ("import no_such_library", (PART,), "no_such_library: pip install htsat-edge"),
        ("raise OSError('gone')", (PART, "yaml"), f"PyYAML, {GONE}; pip install --upgrade PyYAML"),
        ("raise SystemError('gone')", (PART, "yaml", "ctypes"), f"PyYAML, {GONE}; pip install --upgrade PyYAML"),
        ("raise OSError('gone')", (SCRIPT, PART), ""),
        ("import numpy; numpy.zeros(-1)", (PART,), ""),
        ("import ctypes; ctypes.CDLL('/no/such/library')", (PART,), ""),
    ],
)
def test_an_import_that_fails_is_told_from_other_errors(code, modules, line):
    assert describe_failed_import(error_of(code, *modules)) == line


@pytest.mark.parametrize("code", ["from htsat_edge.runtime.common.text import gone", "import htsat_edge.gone"])
def test_an_import_of_ours_that_fails_is_raised_anew(code):
    error = error_of(code, PART)
    with pytest.raises(ImportError) as raised:
        describe_failed_import(error)
    assert raised.value is error


def test_a_library_whose_name_is_not_known(capsys):
    error = error_of("import ast; ast.parse('async = 1')", SCRIPT)
    line = "accuracy.py: needs a library, which cannot be loaded here: invalid syntax (<unknown>, line 1)\n"
    assert refused(error, capsys) == line


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("undefined", (SCRIPT, PART)),
        ("undefined", (SCRIPT,)),
        ("import numpy; numpy.zeros(-1)", (SCRIPT, PART)),
        ("import numpy; numpy.hstack([])", (SCRIPT, PART)),
        ("import pathlib; pathlib.Path('/no/such/file').read_text()", (SCRIPT, PART)),
        ("from htsat_edge.runtime.common.text import gone", (SCRIPT, PART)),
        ("import htsat_edge.gone", (SCRIPT, PART)),
    ],
)
def test_a_mistake_of_ours_is_not_a_broken_library(code, modules):
    error = error_of(code, *modules)
    with pytest.raises(type(error)) as raised:
        refuse_without_extra("accuracy.py", "calibration", error)
    assert raised.value is error


def test_of_packages_that_share_a_name_the_one_with_the_module_is_broken(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "shared-first", "shared.first")
    install(tmp_path, "shared-second", "shared.second.inner")
    assert package_of("shared.first") == "shared-first"
    assert package_of("shared.second.inner") == "shared-second"
    assert package_of("shared.third") in ("shared-first", "shared-second")
    assert package_of("no_such_module") == ""


def test_a_package_that_does_not_say_what_is_in_it(tmp_path, monkeypatch):
    """As many for Python 3.10, which does not look at the files."""
    monkeypatch.setattr(libraries, "packages_distributions", dict)
    assert package_of("pytest") == "pytest"
