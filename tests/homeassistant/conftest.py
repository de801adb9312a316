"""Home Assistant itself, of an environment of its own: it needs another Python and other versions than the project."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

ENVIRONMENT = "HTSAT_EDGE_HOMEASSISTANT"
HERE = Path(__file__).parent
MISSING = f"needs Home Assistant: make test-homeassistant, or {ENVIRONMENT}=its virtual environment"


@pytest.fixture(scope="session")
def home_assistants_python():
    """The Python that has the package homeassistant."""
    named = os.environ.get(ENVIRONMENT)
    folders = [Path(named)] if named else sorted(HERE.parents[1].glob(".venv-homeassistant*"))
    found = [folder / "bin" / "python" for folder in folders if (folder / "bin" / "hass").exists()]
    if not found:
        pytest.skip(MISSING)
    return found[-1]


class Instance:
    """Home Assistant in a process of its own (instance.py)."""

    def __init__(self, python, folder, port):
        self._log = (folder / "home.log").open("a")
        self._process = subprocess.Popen(
            [python, HERE / "instance.py", folder, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._log_file = folder / "home.log"
        self._patience = threading.Timer(120, self._process.kill)  # pytest ends even where this does not
        self._patience.start()
        assert self._answer() == "started"

    def ask(self, *question):
        """Return the answer to a question."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def states(self):
        """Return the state of each entity."""
        return {entity: state["state"] for entity, state in self.ask("look")["states"].items()}

    def close(self):
        """End it in order: it saves its registries."""
        with self._process:
            self._process.stdin.close()
        self._patience.cancel()
        self._log.close()

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "\n".join(self._log_file.read_text().splitlines()[-20:])
        return json.loads(line)


@pytest.fixture
def home_assistant(home_assistants_python, tmp_path, broker):
    """Starts Home Assistant at the broker; one after the other has the same folder."""
    folder, started = tmp_path / "home", []
    folder.mkdir()

    def start():
        for earlier in started:
            earlier.close()
        started[:] = [Instance(home_assistants_python, folder, broker.port)]
        return started[0]

    yield start
    for instance in started:
        instance.close()
