"""The command line as a user meets it: what it prints, where, and with which exit status."""

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.commands.cli import main


@pytest.fixture
def command(capsys):
    """Run a command of `htsat-edge`; return its exit status, stdout and stderr."""

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse
            status = error.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def noise(tmp_path):
    """A recording of 2 s."""
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 64_000), 32_000)
    return path
