"""A device compiles nothing: all that it installs has wheels for its processor. pip reads it from the registry."""

import json
import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("mqtt", "metrics", "web", "plot")
"""What a device may want. Not of them: `jetson`, whose pycuda is compiled there against JetPack's CUDA."""
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
"""What JetPack 6 (glibc 2.35) and everything newer loads. pip takes each as it is, and not what is older, too."""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def registry():
    """Skips where pip reaches none: what it says of wheels there is nothing about wheels."""
    asked = pip("index", "versions", "numpy", "--retries", "0")
    if asked.returncode != 0:
        pytest.skip(f"pip reaches no registry of packages: {asked.stderr.strip().splitlines()[-1]}")


def wanted(extras):
    """What is asked for with those extras, without markers."""
    for requirement in map(Requirement, requires("htsat-edge")):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": name}) for name in extras):
            yield f"{requirement.name}{requirement.specifier}"


def resolve(python, folder, packages):
    """Ask pip what it would install on such a device."""
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    return pip(
        *("install", "--dry-run", "--quiet", "--ignore-installed", "--report", folder / "report.json"),
        *("--only-binary=:all:", "--python-version", python, *platforms, "--target", folder / "nowhere", *packages),
    )


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("python", ["3.10", "3.12", "3.13"], ids=["JetPack 6", "JetPack 7", "Debian 13"])
def test_a_device_finds_wheels_of_all_it_installs(python, registry, tmp_path):
    packages = [*wanted(EXTRAS)]
    assert len(packages) > 9 + len(EXTRAS)
    asked = resolve(python, tmp_path, packages)
    assert asked.returncode == 0, asked.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    files = {canonicalize_name(item["metadata"]["name"]): item["download_info"]["url"] for item in report["install"]}
    assert {canonicalize_name(Requirement(package).name) for package in packages} <= files.keys()
    assert {file for file in files.values() if not file.endswith(("-any.whl", "aarch64.whl"))} == set()
    assert files["onnxruntime"].endswith("aarch64.whl")


@pytest.mark.slow
def test_what_has_no_wheel_for_a_device_is_noticed(registry, tmp_path):
    """pycuda comes as source: what the test above would say of such a package."""
    asked = resolve("3.10", tmp_path, ["pycuda"])
    assert asked.returncode != 0
    assert "No matching distribution found for pycuda" in asked.stderr
