"""The runtime must start on a device that has nothing but its base install."""

import os
import subprocess
import sys

import pytest

BLOCKED = [
    "torch",
    "onnx",
    "tensorrt",
    "pycuda",
    "matplotlib",
    "fastapi",
    "uvicorn",
    *(f"htsat_edge.{floor}" for floor in ("evaluation", "calibration", "export", "htsat")),
]
HEAVY = ["numpy", "scipy", "onnxruntime", "pydantic", "rich", "soundfile", "yaml"]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "module",
    [
        "htsat_edge",
        "htsat_edge.runtime",
        "htsat_edge.runtime.commands.cli",
        "htsat_edge.runtime.commands.detect",
        "htsat_edge.runtime.commands.web",
        "htsat_edge.runtime.detector",
        "htsat_edge.runtime.models.backends.ort",
        "htsat_edge.runtime.dsp.audio",
    ],
)
def test_imports_without_what_it_does_not_need(module):
    block = "".join(f"sys.modules[{name!r}] = None\n" for name in BLOCKED)
    result = python(f"import sys\n{block}import {module}")
    assert result.returncode == 0, result.stderr


def test_help_comes_without_loading_libraries():
    check = f"loaded = [name for name in {HEAVY} if name in sys.modules]; assert not loaded, loaded"
    result = python(
        f"import sys\nfrom htsat_edge.runtime.commands.cli import make_parser\nmake_parser().format_help()\n{check}"
    )
    assert result.returncode == 0, result.stderr


def test_only_the_backend_loads_onnxruntime():
    result = python(
        "import sys, htsat_edge.runtime.detector, htsat_edge.runtime.models.backends\n"
        "assert 'onnxruntime' not in sys.modules"
    )
    assert result.returncode == 0, result.stderr


def test_nobody_is_told_anything(tmp_path):
    """onnxruntime's telemetry leaves the number of the device in the home folder before it sends it."""
    code = (
        "from htsat_edge.runtime.models.backends import open_backend\n"
        "from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle\n"
    )
    quiet = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {**{k: v for k, v in os.environ.items() if k not in quiet}, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code + "open_backend(load_bundle(BUNDLED)).close()"]
    subprocess.run(command, check=True, env=environment)
    assert list(tmp_path.rglob("*")) == []
