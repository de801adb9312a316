"""Libraries that are missing, and that are there and broken: as a distribution's old one beside a newer numpy."""

import sys

import pytest

from htsat_edge.runtime.common.command import refuse_without_extra
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import library_of, needing

MEND = 'pip install "htsat-edge[plot]"'
NOISE = "import sys; print('compiled using NumPy 1.x', file=sys.stderr)\n"
FAILURES = {
    "ImportError('numpy.core.multiarray failed to import')": "numpy.core.multiarray failed to import",
    "ValueError('numpy.dtype size changed')": "numpy.dtype size changed",
    "AttributeError('np.float was removed')": "np.float was removed",
    "OSError('libcudart.so.12:\\n cannot open')": "libcudart.so.12: cannot open",
}


@pytest.fixture
def breaks(tmp_path, monkeypatch):
    """Makes a library that is there fail when it is imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, failure="ImportError('numpy.core.multiarray failed to import')"):
        for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)
        (tmp_path / f"{name}.py").write_text(f"{NOISE}raise {failure}\n")

    return make


@pytest.mark.parametrize(("failure", "why"), FAILURES.items())
def test_a_broken_library_is_one_line(failure, why, breaks, capsys):
    breaks("drawing", failure)
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


def test_a_script_says_which_library_is_broken(breaks, tmp_path, capsys):
    """Here the inner one."""
    breaks("tables")
    (tmp_path / "scoring.py").write_text("import tables\n")
    with pytest.raises(ImportError) as raised:
        import scoring  # noqa: F401
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        refuse_without_extra("accuracy.py", "calibration", raised.value)
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "accuracy.py: needs tables, which cannot be loaded here: numpy.core.multiarray failed to import; "
        "pip install --upgrade tables\n"
    )


def test_numpy_is_not_what_is_broken():
    old = {"__name__": "tables.core", "numpy": {"__name__": "numpy"}}
    code = "def fail():\n    exec('raise AttributeError', numpy)\nfail()"
    with pytest.raises(AttributeError) as raised:
        exec(code, old)
    frames = raised.tb.tb_next  # without this test's own
    assert library_of(frames) == "tables"
