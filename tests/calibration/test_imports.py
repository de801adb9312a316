"""A Jetson has neither torch nor the trainer."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["quantize", "accuracy", "thresholds"])
def test_imports_without_what_it_does_not_need(name):
    module = f"htsat_edge.calibration.{name}"
    block = "".join(
        f"sys.modules[{name!r}] = None\n"
        for name in ("torch", "htsat_edge.htsat", "htsat_edge.export", "tensorrt", "pycuda")
    )
    code = f"import sys\n{block}import {module}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
