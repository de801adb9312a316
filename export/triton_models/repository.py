"""The folders of a model repository: each appears whole or not at all, and takes the place of none that is not ours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from htsat_edge.export.triton_models.configs import LABELS, Served, events_config, graph_config, has_mark, to_text
from htsat_edge.export.triton_models.plans import ServedEngine
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable_folder, replacing_folder
from htsat_edge.runtime.models.bundle import MODEL_FILE
from htsat_edge.runtime.models.engines import read_engine

CONFIG, CONFIGS, VERSION, MODEL_PY = "config.pbtxt", "configs", "1", "model.py"
MODELS_PY = {"graph_model": "GraphModel", "events_model": "EventsModel"}
"""What the server's Python imports."""


def refuse_foreign_model(folder: Path) -> None:
    """Raise an HtsatEdgeError where a folder of the repository was not written here, or cannot be written."""
    try:
        empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        config = folder / CONFIG
        ours = empty or (config.is_file() and has_mark(config.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        raise HtsatEdgeError(f"--out: {folder}: cannot be read: {error.strerror}") from None
    if not ours:
        raise HtsatEdgeError(
            f"--out: {folder}: was not written by to_triton.py, and is left as it is; give another --name or --out"
        )
    refuse_unwritable_folder(folder.parent)


def write_graph_model(repository: Path, served: Served, plans: tuple[ServedEngine, ...], gpu: bool) -> None:
    """Write the model of windows."""
    with replacing_folder(repository / served.name, _is_version) as folder:
        version = folder / VERSION
        version.mkdir()
        _write_config(folder / CONFIG, graph_config(served, gpu))
        (folder / LABELS).write_text("".join(f"{label}\n" for label in served.bundle.info.labels), encoding="utf-8")
        (folder / CONFIGS).mkdir()
        for name, on_gpu in _variants(served):
            _write_config(folder / CONFIGS / f"{name}.pbtxt", graph_config(served, on_gpu))
        if served.backend == "tensorrt":
            for plan in plans:
                (version / plan.file).write_bytes(read_engine(served.bundle, plan.manifest))
        else:
            _write_graph(version, served)


def write_events_model(repository: Path, served: Served, streams: int, idle_s: float) -> None:
    """Write the model of streams."""
    with replacing_folder(repository / served.events_name, _is_version) as folder:
        version = folder / VERSION
        version.mkdir()
        _write_config(folder / CONFIG, events_config(served, streams, idle_s))
        shutil.copyfile(served.bundle.path / MODEL_FILE, version / MODEL_FILE)
        _write_model_py(version, "events_model")


def _write_graph(version: Path, served: Served) -> None:
    """Write the graph, with the files that hold its weights, and for the Python backend a bundle of it."""
    graph, *weights = served.bundle.files(served.precision)
    in_python = served.backend == "python"
    shutil.copyfile(graph, version / (graph.name if in_python else "model.onnx"))
    for file in weights:
        place = version / file.relative_to(graph.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    if in_python:
        shutil.copyfile(served.bundle.path / MODEL_FILE, version / MODEL_FILE)
        _write_model_py(version, "graph_model")


def _write_model_py(version: Path, module: str) -> None:
    name = MODELS_PY[module]
    (version / MODEL_PY).write_text(
        '"""Written by htsat-edge\'s to_triton.py; the server\'s Python needs the package htsat-edge."""\n\n'
        f"from htsat_edge.export.triton_models.{module} import {name} as TritonPythonModel  # noqa: F401\n",
        encoding="utf-8",
    )


def _write_config(path: Path, config: Any) -> None:
    path.write_text(to_text(config), encoding="utf-8")


def _variants(served: Served) -> list[tuple[str, bool]]:
    """Return what --model-config-name may choose, and whether that is a GPU."""
    both = {"cpu": False, "gpu": True}
    only = {"tensorrt": "gpu", "python": "cpu"}.get(served.backend)
    return [(name, gpu) for name, gpu in both.items() if only in (None, name)]


def _is_version(entry: Path) -> bool:
    """Return whether an entry of a model's folder is a version: what is not written anew was put there by somebody."""
    return entry.name.isdecimal()
