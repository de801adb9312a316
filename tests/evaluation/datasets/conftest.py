"""What tests of data sets share."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def layouts():
    """The module layouts.py: tests are no packages that could import it."""
    spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
