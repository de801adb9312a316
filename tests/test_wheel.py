"""The wheel, installed into a fresh environment, in a folder that has a `runtime` and an `export` of its own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from htsat_edge import detect_file, load_bundle

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
FOLDERS = ("htsat_edge", "runtime", "evaluation", "calibration", "export", "htsat", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: setuptools leaves a build folder in its source."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "engines"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source]
    subprocess.run(command, check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel and the dependencies of this one, whose htsat-edge it does not see."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    bin_folder = folder / "bin"
    command = [sys.executable, "-m", "pip", "--python", bin_folder / "python", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(command, check=True, cwd=folder, env=ENVIRONMENT)  # the checkout would count as installed
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path alone: the .pth files in that folder, which lead to the checkout, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return bin_folder


@pytest.fixture(scope="module")
def place(farmyard, tmp_path_factory):
    """A user's folder, whose own packages must neither be run nor be in the way."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("runtime", "export", "calibration", "htsat", "evaluation", "configs"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('{name} of the user was imported')\n")
    (folder / "resource.py").write_text("raise RuntimeError('a module of the user was imported')\n")
    shutil.copy(farmyard, folder / "yard.flac")
    return folder


@pytest.fixture(scope="module")
def run(installed, place):
    def run(*command, program="python", status=0):
        done = subprocess.run(
            [installed / program, *map(str, command)],
            cwd=place,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def bundle(run, place):
    """A copy of the bundle that is in the wheel, to write into."""
    code = "from htsat_edge.runtime.models.bundle import BUNDLED; print(BUNDLED)"
    return shutil.copytree(run("-c", code).strip(), place / "bundle")


def test_the_wheel_holds_one_package_with_all_it_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"htsat_edge", "htsat_edge-0.1.0.dist-info"}
    for path in (
        "htsat_edge/py.typed",
        "htsat_edge/configs/detector.yaml",
        "htsat_edge/configs/networks/audioset.yaml",
        "htsat_edge/configs/labels/audioset.csv",
        "htsat_edge/configs/groups/audioset.yaml",
        "htsat_edge/runtime/models/bundled/fp32.onnx",
        "htsat_edge/runtime/models/check/farmyard.ogg",
        *(f"htsat_edge/{path.relative_to(ROOT)}" for path in (ROOT / "runtime" / "web" / "static").rglob("*.*")),
    ):
        assert path in names
    checkout = {str(path.relative_to(ROOT)) for folder in FOLDERS[1:] for path in (ROOT / folder).rglob("*.py")}
    assert {f"htsat_edge/{path}" for path in checkout} <= set(names)
    metadata = zipfile.ZipFile(wheel).read("htsat_edge-0.1.0.dist-info/METADATA").decode()
    assert "Typing :: Typed" in metadata
    assert "# htsat-edge" in metadata


def test_the_installed_one_is_used(run, installed):
    assert run("-c", "import htsat_edge; print(htsat_edge.__file__)").startswith(str(installed.parent))


def test_detect(run, farmyard):
    """As the checkout does."""
    lines = [json.loads(line) for line in run("detect", "yard.flac", "--json", program="htsat-edge").splitlines()]
    found = [(line["label"], line["onset"], line["offset"]) for line in lines if line["type"] == "end"]
    wanted = [(event.label, event.onset, event.offset) for event in detect_file(farmyard)]
    assert sorted(found) == sorted(wanted)
    assert len(found) > 3


def test_bench(run):
    found = json.loads(run("bench", "--runs", 1, "--threads", 1, "--no-baselines", "--json", program="htsat-edge"))
    wanted = {name for name in load_bundle().precisions() if name == "fp32" or name.startswith("cpu-")}
    assert {measured["candidate"]["name"] for measured in found["measured"]} == wanted


def test_accuracy(run, bundle):
    command = ("-m", "htsat_edge.calibration.accuracy", bundle, "--clips", "yard.flac", "--precisions", "int8")
    assert "int8" in run(*command)
    assert json.loads((bundle / "accuracy.json").read_text())["recordings"] == 1


def test_build_trt(run, bundle):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 Linux only")
    out = run("-m", "htsat_edge.export.build_trt", bundle, "--flavour", "rtx")
    assert "fp16: built in" in out
    assert list((bundle / "engines").glob("*.engine"))


def test_mypy_of_a_user_sees_the_types(run, installed, place):
    right = "from htsat_edge import detect_file\n\n"
    right += "for event in detect_file('yard.flac'):\n    print(event.offset - event.onset)\n"
    (place / "right.py").write_text(right)
    (place / "wrong.py").write_text(right.replace("detect_file('yard.flac')", "detect_file('yard.flac', settings=0.5)"))

    def check(file):
        command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "python", file]
        return subprocess.run(command, cwd=place, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    found = check("wrong.py")
    assert found.returncode == 1
    assert 'wrong.py:3: error: Argument "settings" to "detect_file" has incompatible type "float"' in found.stdout
    found = check("right.py")
    assert found.returncode == 0, found.stdout
