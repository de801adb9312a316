"""What a user sees who has not installed what training needs."""

import subprocess
import sys

import pytest

from htsat_edge.runtime.common.libraries import TORCH_FOR_CPU


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("train", "torch"),
        ("evaluate", "torch"),
        ("evaluate", "sed_scores_eval"),
        ("render_scenes", "torch"),
        ("card", "matplotlib"),
    ],
)
def test_a_missing_extra_is_one_line(module, missing):
    name = f"htsat_edge.htsat.{module}"
    code = f"import runpy, sys\nsys.modules[{missing!r}] = None\nrunpy.run_module({name!r}, run_name='__main__')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    first = f"{TORCH_FOR_CPU}, and then " if missing == "torch" else ""
    assert found.stderr == f'{name}: needs {missing}: {first}pip install "htsat-edge[train]"\n'
