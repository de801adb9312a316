"""The public models that a bench times as baselines."""

import json
import sys

import onnx
import pytest

from htsat_edge.export.baselines import main

NETWORK = {"embed_dim": 16, "depths": [1, 1, 1, 1], "heads": [1, 2, 4, 8], "classes": 3}


def test_without_transformers_the_error_says_what_to_install(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["--out", str(tmp_path), "--network", json.dumps(NETWORK)]) == 2
    assert capsys.readouterr().err == "baselines.py: a baseline needs transformers: pip install torch transformers\n"


def test_baselines_are_written_and_their_size_reported(tmp_path, capfd):
    pytest.importorskip("transformers", reason="the public models come with transformers, which no extra installs")
    assert main(["--out", str(tmp_path), "--network", json.dumps(NETWORK)]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert report["failed"] == {}
    assert report["written"]["AST"] == 86_594_063
    for name in ("ClapAudioModel", "AST"):
        onnx.checker.check_model(str(tmp_path / f"{name}.onnx"))
