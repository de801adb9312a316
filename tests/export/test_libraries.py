"""The export where a library is missing, or is there and cannot be loaded: one line."""

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize("library", ["torch", "onnx", "safetensors", "yaml"])
@pytest.mark.parametrize("state", ["missing", "broken"])
def test_one_line(library, state, tmp_path):
    (tmp_path / f"{library}.py").write_text("raise OSError('libother.so.1: cannot open')\n")
    hide = f"sys.modules[{library!r}] = None" if state == "missing" else f"sys.path.insert(0, {str(tmp_path)!r})"
    code = f"import runpy, sys\n{hide}\nrunpy.run_module('htsat_edge.export.to_onnx', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    why = "which cannot be loaded here: libother" if state == "broken" else r'pip install .*"htsat-edge\[export\]"'
    assert re.fullmatch(rf"to_onnx\.py: needs \w+[:,] {why}.*\n", done.stderr), done.stderr
