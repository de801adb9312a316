"""Bundles to build engines of, and ways to run build_trt.py."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from htsat_edge.export.build_trt import main
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

SCRIPT = Path(__file__).parent.parent.parent / "export" / "build_trt.py"


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """The tiny network's, to write into."""
    return load_bundle(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


@pytest.fixture
def bundled(tmp_path):
    """The bundled model, which has an 8-bit graph, to write into."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    for name in ("model.json", "fp32.onnx", "int8.onnx"):
        shutil.copy(BUNDLED / name, folder)
    return load_bundle(folder)


@pytest.fixture
def build_trt(capsys, monkeypatch, quick_validation):
    """Run build_trt.py in this process; return its exit status, stdout and stderr."""
    monkeypatch.setattr("htsat_edge.export.build_trt.os.nice", lambda by: by)  # this process is that of the tests

    def run(bundle, *arguments):
        try:
            status = main([str(bundle.path), *map(str, arguments)])
        except SystemExit as error:  # argparse
            status = error.code
        out, err = capsys.readouterr()
        return status, out, err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def start():
    """Start build_trt.py in a process of its own, which gets Ctrl-C even where a shell has it ignored."""
    started = []

    def run(bundle, *arguments, **environment):
        started.append(
            subprocess.Popen(
                [sys.executable, SCRIPT, bundle.path, *arguments],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def arguments(tiny_checkpoint, tiny_files, tmp_path):
    """Arguments of to_onnx.py that work."""
    return {
        "checkpoint": tiny_checkpoint,
        "--network": tiny_files / "tiny.yaml",
        "--labels": tiny_files / "tiny.csv",
        "--out": tmp_path / "bundle",
    }
