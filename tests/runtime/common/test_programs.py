import importlib.util
import sys
from typing import get_args

import pytest

from htsat_edge.runtime.common.programs import Program, command_of


def test_a_program_runs_in_this_interpreter():
    command = command_of("htsat_edge.export.build_trt", "bundle", "--precision", "fp16")
    assert command == [sys.executable, "-m", "htsat_edge.export.build_trt", "bundle", "--precision", "fp16"]


@pytest.mark.parametrize("program", get_args(Program))
def test_every_program_exists(program):
    assert importlib.util.find_spec(program) is not None
