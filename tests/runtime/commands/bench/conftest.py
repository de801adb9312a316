"""A bundle to time."""

import shutil

import pytest


@pytest.fixture(scope="session")
def bundle(stored, tmp_path_factory):
    """A bundle of the tiny network, with its graph for a CPU."""
    return shutil.copytree(stored / "tiny", tmp_path_factory.mktemp("bench") / "tiny")
