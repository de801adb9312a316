"""The Dockerfile, read: its stages, each a list of instructions."""

import json
import re
import shlex
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Stage:
    """What follows one FROM, or comes before the first: pairs of an instruction and its text."""

    def __init__(self):
        self.instructions = []

    def all(self, name):
        return [text for instruction, text in self.instructions if instruction == name]

    def last(self, name):
        """Return the last one; of a list in JSON, its words."""
        text = self.all(name)[-1]
        return json.loads(text) if text.startswith("[") else text

    def copies(self):
        """Yield what is copied from the checkout, and where to."""
        for text in self.all("COPY"):
            if not text.startswith("--from"):
                *sources, target = shlex.split(text)
                yield from ((source, target) for source in sources)


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def stages():
    """Those of the Dockerfile: what comes before the first FROM, that which builds, and the image."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    found = [Stage()]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, text = line.partition(" ")
        if name == "FROM":
            found.append(Stage())
        if name:
            found[-1].instructions.append((name, text))
    return found


@pytest.fixture(scope="session")
def image(stages):
    """The stage that becomes the image."""
    return stages[-1]


@pytest.fixture
def port():
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
