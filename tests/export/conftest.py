"""Bundles to build engines of."""

import shutil
import signal

import pytest
from htsat_edge.export.build_trt import main
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """The tiny network's, to write into."""
    return read_bundle(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


@pytest.fixture
def bundled(tmp_path):
    """The bundled model, which has an 8-bit graph, to write into."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    for name in ("model.json", "fp32.onnx", "int8.onnx"):
        shutil.copy(BUNDLED / name, folder)
    return read_bundle(folder)


@pytest.fixture
def build(capsys, monkeypatch):
    """Runs build_trt.py; its exit status, stdout and stderr. Latencies are measured on few runs."""
    monkeypatch.setattr("htsat_edge.export.build_trt.os.nice", lambda by: by)  # this process is that of the tests
    monkeypatch.setattr("htsat_edge.export.validate.RUNS", 3)
    monkeypatch.setattr("htsat_edge.export.validate.WARM_UP", 1)

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
