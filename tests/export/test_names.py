"""Every name that the code uses of NVIDIA's libraries exists in the versions that it supports."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NVIDIA = ROOT / "tests" / "data" / "nvidia"
VERSIONS = ("8.6.1", "10.3.0", "10.13.2", "10.16.1", "11.4.0")
SOURCES = ("export/engine.py", "runtime/models/backends/trt.py", "runtime/models/backends/gpu.py")
TENSORRT = {
    "trt": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "engine": "ICudaEngine",
    "_execution": "IExecutionContext",
    "execution": "IExecutionContext",
}
"""By the names of variables in the code, the classes that they hold."""
PYCUDA = {"cuda": "", "_cuda": "", "_context": "Context", "_stream": "Stream", "device": "Device"}
CUDART = {"cudart": "", "_cudart": ""}
EITHER = [
    ("NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"),
    ("ICudaEngine.device_memory_size", "ICudaEngine.device_memory_size_v2"),
]
"""The code looks which of the two exists."""
OPTIONAL = {"IProgressMonitor", "IBuilderConfig.progress_monitor"}
"""The code looks whether they exist."""


def used(holders):
    """Return `name` or `Class.member` of all that the code uses of a library, with a place in the code."""
    found = {}
    for source in SOURCES:
        for node in ast.walk(ast.parse((ROOT / source).read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            holder, *members = ast.unparse(node).removeprefix("self.").split(".")
            if (
                members
                and holder in holders
                and all(member.isidentifier() and member[:2] != "__" for member in members)
            ):
                owner = [holders[holder]] if holders[holder] else []
                found[".".join([*owner, *members])] = f"{source}:{node.lineno}"
    return found


def there(api, name):
    owner, _, member = name.rpartition(".")
    return member in api.get(owner, ())


def test_the_code_uses_enough_to_be_worth_the_look():
    names = used(TENSORRT)
    for name in (
        "BuilderFlag.TF32",
        "IExecutionContext.execute_async_v3",
        "OnnxParser.supports_operator",
        "IBuilderConfig.set_timing_cache",
        "ICudaEngine.get_tensor_profile_shape",
        "IProgressMonitor",
    ):
        assert name in names
    assert "memcpy_htod_async" in used(PYCUDA)
    assert "cudaGraphLaunch" in used(CUDART)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_of_tensorrt_exists(version):
    api = json.loads((NVIDIA / f"api-{version}.json").read_text())
    missing = {name for name in used(TENSORRT) if not there(api, name)}
    for one, other in EITHER:
        assert there(api, one) or there(api, other)
        missing -= {one, other}
    if "IProgressMonitor" in missing:
        assert version == "8.6.1"
        missing -= OPTIONAL
    assert not missing, {name: used(TENSORRT)[name] for name in missing}


@pytest.mark.parametrize("version", VERSIONS)
def test_flags_exist_where_networks_are_not_strongly_typed(version):
    from htsat_edge.export.engine import FLAGS

    api = json.loads((NVIDIA / f"api-{version}.json").read_text())
    if not there(api, "NetworkDefinitionCreationFlag.STRONGLY_TYPED"):
        assert {flag for flags in FLAGS.values() for flag in flags} <= set(api["BuilderFlag"])


@pytest.mark.parametrize(("library", "holders"), [("pycuda-2026.1", PYCUDA), ("cuda-bindings-13.5.0", CUDART)])
def test_every_name_of_cuda_exists(library, holders):
    api = json.loads((NVIDIA / f"api-{library}.json").read_text())
    missing = {name for name in used(holders) if not there(api, name)}
    assert not missing, {name: used(holders)[name] for name in missing}


@pytest.mark.parametrize("name", ["execute_async_v2", "max_workspace_size", "build_engine", "num_bindings"])
def test_nothing_is_older_than_tensors_by_name(name):
    assert not any(name in (ROOT / source).read_text() for source in SOURCES)
