"""Signals that come before the daemon runs, and what is left undone at its end; in this process."""

import os
import signal
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.commands import cli
from htsat_edge.runtime.daemon import service
from htsat_edge.runtime.daemon.config import DaemonConfig, OutputsConfig, SourceConfig, WebhookConfig
from htsat_edge.runtime.daemon.outputs import sender
from htsat_edge.runtime.daemon.service import Service, serve
from htsat_edge.runtime.daemon.supervision import warnings


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


def test_sigterm_ends_a_start_that_waits_for_a_file(wait_for_ever, monkeypatch, caplog):
    """It did nothing: the file was opened again."""
    monkeypatch.setattr(service, "assemble", lambda *_, **__: wait_for_ever(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert serve(DaemonConfig(), DaemonConfig) == 0
    assert "ended while it was started" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_ends_a_start_that_waits_for_a_file(wait_for_ever, monkeypatch):
    monkeypatch.setattr(service, "assemble", lambda *_, **__: wait_for_ever(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        serve(DaemonConfig(), DaemonConfig)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_just_before_something_is_opened_ends_the_start(number, monkeypatch):
    """It was noted only, and the start went on to wait for ever."""
    monkeypatch.setattr(service, "assemble", lambda *_, **__: pytest.fail("it was begun"))
    run = Service(DaemonConfig(), DaemonConfig)
    run._end(number, None)
    with pytest.raises(KeyboardInterrupt) if number == signal.SIGINT else nullcontext():
        run.run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_daemon_that_waits_for_its_configuration(number, make_parts, wait_for_ever, monkeypatch):
    """SIGTERM did nothing; and what was heard before is published, as at any end."""
    parts = make_parts()
    parts.sources[0].feed.open(2000)
    parts.sources[0].feed.write(np.zeros(9600, np.float32))
    monkeypatch.setattr(service, "assemble", lambda *_, **__: parts)
    run = Service(DaemonConfig(), lambda: wait_for_ever(number))
    run._control.reload = True
    run.run()
    assert [message.state for message in parts.kept] == ["listening"]
    assert sum(parts.model.batches) == 4


def test_warnings_that_were_left_out_are_counted_at_the_end(make_parts, monkeypatch, caplog):
    warnings.close()  # of other tests
    caplog.clear()
    parts = make_parts()

    def start():
        for _ in range(3):
            warnings.warn("yard", "odd")
        parts.sources[0].feed.end()

    parts.sources[0].start = start
    monkeypatch.setattr(service, "assemble", lambda *_, **__: parts)
    serve(DaemonConfig(), DaemonConfig)
    assert [record.message for record in caplog.records] == ["odd", "odd (2 more since the last one)"]


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
    run = Service(config, lambda: config)
    run.run()
    assert run.undelivered == 1  # that it listens
    (record,) = [one.message for one in caplog.records if "not delivered" in one.message]
    assert record.startswith(
        "webhook 127.0.0.1: 1 were not delivered when the program ended: <urlopen error [Errno 111]"
    )
    assert serve(config, lambda: config) == 1


@pytest.mark.parametrize("ending", [False, True])
def test_a_source_that_failed_counts_where_the_sources_have_ended_the_program(ending, make_parts, monkeypatch):
    """Not where a signal has: a daemon that was stopped on purpose has done what it should."""
    parts = make_parts()

    def start():
        parts.sources[0].feed.report_failed("it breaks off")
        if ending:
            signal.raise_signal(signal.SIGTERM)
        else:
            parts.sources[0].feed.end()

    parts.sources[0].start = start
    monkeypatch.setattr(service, "assemble", lambda *_, **__: parts)
    assert serve(DaemonConfig(), DaemonConfig) == (0 if ending else 2)
