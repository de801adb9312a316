"""Signals that come before the daemon runs, and what is left undone at its end; in this process."""

import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.commands import cli
from htsat_edge.runtime.daemon import service
from htsat_edge.runtime.daemon.config import DaemonConfig, OutputsConfig, SourceConfig, WebhookConfig
from htsat_edge.runtime.daemon.outputs import sender
from htsat_edge.runtime.daemon.service import Service, serve


@pytest.fixture
def wait_for_ever(tmp_path):
    """Opens a pipe that nobody writes, and has a signal sent to this process until that ends the wait."""
    os.mkfifo(tmp_path / "pipe")

    def wait(number):
        over = threading.Event()

        def send():
            while not over.wait(0.05):  # one that comes just before the system is called interrupts nothing
                os.kill(os.getpid(), number)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            (tmp_path / "pipe").open()
        finally:
            over.set()
            sending.join()

    return wait


@pytest.mark.parametrize("where", ["while the configuration is read", "while something is opened"])
def test_sigterm_ends_a_start_that_waits_for_a_file(where, wait_for_ever, monkeypatch, caplog):
    """It did nothing: the file was opened again."""
    steps = {"while the configuration is read": DaemonConfig, "while something is opened": lambda: None}
    steps[where] = lambda: wait_for_ever(signal.SIGTERM)
    read, assemble = steps.values()
    monkeypatch.setattr(service, "assemble", lambda _: assemble())
    before = signal.getsignal(signal.SIGTERM)
    assert serve(read)
    assert "ended while it was started" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_ends_a_start_that_waits_for_a_file(wait_for_ever):
    with pytest.raises(KeyboardInterrupt):
        serve(lambda: wait_for_ever(signal.SIGINT))


def test_sighup_is_ignored_before_the_daemon_handles_it_and_a_reading_program_still_ends_at_it(monkeypatch):
    """In the first second it ended the process."""
    handlers = []

    def run(_):
        handlers.append(signal.getsignal(signal.SIGHUP))
        return 0

    monkeypatch.setattr(cli.importlib, "import_module", lambda _: SimpleNamespace(run=run))
    before = signal.getsignal(signal.SIGHUP)
    assert cli.main(["listen"]) == cli.main(["devices"]) == 0
    assert handlers == [signal.SIG_IGN, before]
    assert signal.getsignal(signal.SIGHUP) is before


def test_messages_that_were_never_delivered_are_counted_at_the_end(tmp_path, free_port, monkeypatch, caplog):
    monkeypatch.setattr(sender, "CLOSE_S", 0.1)
    soundfile.write(tmp_path / "short.wav", np.zeros(32_000, np.float32), 32_000)
    config = DaemonConfig(
        sources=[SourceConfig(name="yard", file=tmp_path / "short.wav")],
        outputs=OutputsConfig(stdout=False, webhook=WebhookConfig(url=f"http://127.0.0.1:{free_port()}/")),
    )
    run = Service(lambda: config)
    run.run()
    assert run.undelivered == 1  # that it listens
    assert "webhook 127.0.0.1: 1 were not delivered" in caplog.text
    assert not serve(lambda: config)
