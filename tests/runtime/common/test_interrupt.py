import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from htsat_edge.runtime.common.command import run
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.interrupt import noting_interrupts

ROOT = Path(__file__).parents[3]
HARNESS = """
import os, runpy, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name != at:
            return
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError(f"initialization of {name} raised unreported exception")

_, at, module, *sys.argv[1:] = sys.argv
sys.meta_path.insert(0, Interrupter())
signal.signal(signal.SIGINT, signal.default_int_handler if at != "ignored" else signal.SIG_IGN)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Runs a program and interrupts it at the import of a module, which turns that into an error, as pybind11 does."""
WITHOUT = {
    "htsat_edge.export.baselines",
    "htsat_edge.runtime.archive.worker",
    "htsat_edge.runtime.commands.bench.worker",
    "htsat_edge.runtime.daemon.outputs.notify.deliver",
    "htsat_edge.runtime.common.lifeline",
}
"""Programs that import nothing large before they work, and those that never get Ctrl-C."""


NEEDS_TORCH = ("htsat_edge.export.gpu_day", "htsat_edge.export.roofline", "htsat_edge.htsat.train")
"""What looks for torch before numpy."""


def programs():
    for folder in ("runtime", "evaluation", "calibration", "htsat", "export"):
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join(["htsat_edge", *path.relative_to(ROOT).with_suffix("").parts])
            if '\nif __name__ == "__main__":\n' in path.read_text() and name not in WITHOUT:
                yield name


def interrupted(at, module, *arguments):
    command = [sys.executable, "-c", HARNESS, at, module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("module", sorted(programs()))
def test_a_program_that_still_imports_ends_quietly(module):
    if module in NEEDS_TORCH:
        pytest.importorskip("torch")
    done = interrupted("numpy", module)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "arguments", [("detect", "x.wav"), ("listen",), ("check",), ("devices",), ("bench",), ("schema", "messages"), ()]
)
def test_a_command_that_still_imports_ends_quietly(arguments):
    done = interrupted("pydantic", "htsat_edge", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("command", ["detect", "listen"])
def test_a_command_that_loads_its_model_ends_quietly(command, farmyard):
    done = interrupted("onnxruntime", "htsat_edge", command, str(farmyard))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_where_ctrl_c_is_ignored_it_stays_so():
    done = interrupted("ignored", "htsat_edge", "schema", "messages")
    assert (done.returncode, done.stderr) == (0, "")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("error", [ImportError("half done"), HtsatEdgeError("cannot be loaded"), SystemExit(1)])
def test_an_error_that_an_interrupt_was_turned_into_is_the_interrupt(error, capsys):
    def work():
        try:
            interrupt()
        except KeyboardInterrupt:
            raise error from None

    assert run("prog", work) == 130
    assert capsys.readouterr() == ("", "")
    with pytest.raises(KeyboardInterrupt):
        interrupt()  # as it was before


def test_a_handler_of_the_caller_stays():
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        with noting_interrupts() as noted:
            interrupt()
        assert (heard, noted) == ([signal.SIGINT], [])
    finally:
        signal.signal(signal.SIGINT, before)
