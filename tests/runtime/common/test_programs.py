import importlib.util
import signal
import subprocess
import sys
from typing import get_args

import pytest

from htsat_edge.runtime.common.programs import RUN, Program, command_of, signal_of, trial_of


def test_a_program_runs_in_this_interpreter():
    command = command_of("htsat_edge.export.build_trt", "bundle", "--precision", "fp16")
    assert command[:3] == [sys.executable, "-c", RUN]
    assert command[4:] == ["htsat_edge.export.build_trt", "bundle", "--precision", "fp16"]


def test_a_checkout_that_is_not_installed_finds_its_own_parts():
    """Started anywhere, by a Python that knows no installed package."""
    command = command_of("htsat_edge", "--version")
    command[1:1] = ["-I", "-S"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("htsat-edge ")


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}")]
)
def test_the_signal_that_has_ended_a_process_has_a_name(number, name):
    kill = subprocess.run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"], check=False)
    assert signal_of(kill.returncode) == name


def test_modules_in_the_working_folder_are_not_imported(tmp_path):
    for name in ("resource.py", "secrets.py", "json.py"):
        (tmp_path / name).write_text("raise RuntimeError('a module of the user was imported')\n")
    command = command_of("htsat_edge.export.build_trt", "--help")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: build_trt.py ")


def test_nor_when_a_library_is_tried(tmp_path):
    for name in ("json", "re"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the user was imported')\n")
        done = subprocess.run(trial_of(name), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", get_args(Program))
def test_every_program_exists(program):
    assert importlib.util.find_spec(program) is not None
