"""The commands of docs/interop.md that need neither a GPU nor TensorRT, as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "interop.md").read_text(), re.MULTILINE | re.DOTALL)
SCRIPTS = dict(zip(("windows.py", "loader.py"), [text for kind, text in BLOCKS if kind == "python"], strict=True))
COMMANDS = [
    line.removeprefix("$ ")
    for kind, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
    if line.startswith("$ polygraphy") and "--trt" not in line
]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("polygraphy") is None, reason="polygraphy is not on the PATH (docs/interop.md)")
def test_polygraphy_runs_and_compares_the_bundled_graphs(tmp_path):
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    bundle, recordings = ROOT / "runtime" / "models" / "bundled", ROOT / "tests" / "data" / "recordings"
    env = {**os.environ, "BUNDLE": str(bundle), "RECORDINGS": str(recordings)}
    subprocess.run([sys.executable, "windows.py", recordings / "farmyard.flac"], cwd=tmp_path, env=env, check=True)
    passed = []
    for command in COMMANDS:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        passed += re.findall(r"Passed: (\d+)/\1 iterations", done.stdout)
    assert len(COMMANDS) == 6
    assert passed == ["6", "6"]
