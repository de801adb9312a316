"""The page with something to look at: a daemon that hears a recording over and over, in real time."""

from __future__ import annotations

import logging
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import yaml

import htsat_edge
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.common.progress import waiting
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.web import WebConfig
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.web.server import open_port
from htsat_edge.runtime.web.settings import PageSettings

logger = logging.getLogger(__name__)

RECORDING = Path(htsat_edge.__file__).resolve().parents[1] / "tests" / "data" / "recordings" / "farmyard.flac"
"""Of a checkout; an installed package is without it."""
BLOCK_S = 0.1
PcmArray = npt.NDArray[np.int16]
BEHIND_S = 1.0
"""What the daemon could not take in time is not made up for beyond this."""
STORE_S, END_S = 60.0, 15.0
"""For the daemon to make its store, and to end."""


@contextmanager
def playing(port: int) -> Iterator[PageSettings]:
    """Run the daemon within a `with` block; yield the settings of its page. Nothing is left behind.

    Raises
    ------
    HtsatEdgeError
        There is no recording here, the port is taken, or the daemon does not start.
    """
    if not RECORDING.is_file():
        raise HtsatEdgeError(
            "--demo plays a recording that is in the source code alone: run it from a checkout (README.md)"
        )
    open_port("127.0.0.1", port).close()
    recording = AudioFile(RECORDING)
    samples = to_pcm(np.concatenate(list(recording.blocks(recording.sample_rate))))
    with tempfile.TemporaryDirectory(prefix="htsat-edge-demo-") as name:
        folder, web = Path(name), WebConfig(port=port, start=False)
        config = {
            "model": {"sounds": str(folder / "sounds")},
            "sources": [{"name": "farmyard", "stdin": {"sample_rate": recording.sample_rate}}],
            "outputs": {
                "stdout": False,
                "store": {"path": str(folder / "events.db")},
                "clips": {"folder": str(folder / "clips")},
            },
            "web": web.model_dump(mode="json"),
        }
        file = folder / "detector.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        log = folder / "daemon.log"
        with log.open("wb") as output, _daemon(file, output) as daemon:
            feeder = threading.Thread(target=feed, args=(daemon, samples, recording.sample_rate), daemon=True)
            feeder.start()
            settings = PageSettings(
                web,
                folder / "events.db",
                folder / "clips",
                demo=True,
                config=read_yaml(file, DaemonConfig),
                config_file=file,
            )
            with waiting("starting the detector that hears the recording …"):
                _wait(daemon, folder / "events.db", log)
            yield settings


@contextmanager
def _daemon(config: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `htsat-edge listen` within a `with` block; where this process is killed, it ends with its stdin."""
    command = command_of("htsat_edge", "listen", "--config", str(config))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log) as daemon:
        try:
            yield daemon
        finally:
            daemon.terminate()
            try:
                daemon.wait(END_S)
            except subprocess.TimeoutExpired:
                daemon.kill()


def to_pcm(samples: FloatArray) -> PcmArray:
    """Return samples (S,) as whole numbers of 16 bits."""
    return np.clip(samples * 2**15, -(2**15), 2**15 - 1).astype("<i2")


def feed(daemon: subprocess.Popen[bytes], samples: PcmArray, rate: int) -> None:
    """Write samples to the daemon over and over, as a microphone would give them, until it ends."""
    assert daemon.stdin is not None
    size, position, due_s = round(BLOCK_S * rate), 0, time.monotonic()
    with suppress(OSError, ValueError):  # a ValueError where the pipe is closed
        while True:
            block = np.take(samples, range(position, position + size), mode="wrap")
            daemon.stdin.write(block.tobytes())
            daemon.stdin.flush()
            position = (position + size) % len(samples)
            due_s = max(due_s + BLOCK_S, time.monotonic() - BEHIND_S)
            time.sleep(max(0.0, due_s - time.monotonic()))


def _wait(daemon: subprocess.Popen[bytes], store: Path, log: Path) -> None:
    """Wait until there is a store; raise an HtsatEdgeError where the daemon ends before, or makes none."""
    end_s = time.monotonic() + STORE_S
    while not store.exists():
        if daemon.poll() is not None or time.monotonic() > end_s:
            said = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise HtsatEdgeError(f"--demo: the daemon does not start: {said[0] if said else 'it says nothing'}")
        time.sleep(BLOCK_S)
