"""The runtime must start on a device that has nothing but its base install."""

import subprocess
import sys

import pytest

BLOCKED = ["torch", "onnx", "tensorrt", "pycuda", "matplotlib", "htsat", "export"]
HEAVY = ["numpy", "scipy", "onnxruntime", "pydantic", "rich", "soundfile", "yaml"]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "module", ["runtime", "runtime.cli", "runtime.detect", "runtime.detector", "runtime.backends.ort", "runtime.audio"]
)
def test_imports_without_what_it_does_not_need(module):
    block = "".join(f"sys.modules[{name!r}] = None\n" for name in BLOCKED)
    result = python(f"import sys\n{block}import {module}")
    assert result.returncode == 0, result.stderr


def test_help_comes_without_loading_libraries():
    check = f"loaded = [name for name in {HEAVY} if name in sys.modules]; assert not loaded, loaded"
    result = python(f"import sys\nfrom runtime.cli import make_parser\nmake_parser().format_help()\n{check}")
    assert result.returncode == 0, result.stderr


def test_only_the_backend_loads_onnxruntime():
    result = python("import sys\nimport runtime.detector, runtime.backends\nassert 'onnxruntime' not in sys.modules")
    assert result.returncode == 0, result.stderr
