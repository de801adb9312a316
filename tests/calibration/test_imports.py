"""A Jetson has neither torch nor the trainer."""

import subprocess
import sys

import pytest


def import_without(name, *missing):
    """Import a module of calibration/ in a process that cannot import others."""
    block = "".join(f"sys.modules[{other!r}] = None\n" for other in missing)
    code = f"import sys\n{block}import htsat_edge.calibration.{name}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["quantize", "accuracy", "thresholds"])
def test_imports_without_what_it_does_not_need(name):
    found = import_without(name, "torch", "htsat_edge.htsat", "htsat_edge.export", "tensorrt", "pycuda")
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("name", ["thresholds", "levels"])
def test_what_reads_scores_imports_without_onnx(name):
    found = import_without(name, "onnx")
    assert (found.returncode, found.stderr) == (0, "")
