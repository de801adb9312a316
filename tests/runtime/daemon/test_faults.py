"""A fault in every thread of the daemon in turn: it is reported, /healthz is false, it passes, nothing else suffers."""

import os
import struct
import sys
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from htsat_edge.runtime.daemon import assembly
from htsat_edge.runtime.daemon.config import (
    ClipsConfig,
    DaemonConfig,
    JsonLinesConfig,
    MetricsConfig,
    MicrophoneConfig,
    OutputsConfig,
    PcmConfig,
    StoreConfig,
    StreamConfig,
    WebhookConfig,
)
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.metrics import Collector
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.outputs import clips, lines, metrics, store, webhook
from htsat_edge.runtime.daemon.sources import microphone, streams
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.detector import EventStream, WindowStream
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import load_bundle

RATE = 32_000
LABELS = load_bundle().info.labels


class LoudnessModel:
    """A backend for which the first class is as likely as a step is loud."""

    def infer(self, log_mel):
        loud = log_mel.reshape(len(log_mel), 32, -1).mean(axis=2) > -40
        framewise = np.zeros((*loud.shape, len(LABELS)), np.float32)
        framewise[:, :, 0] = loud
        return Scores(framewise, framewise[:, 0], framewise[:, 0])

    def close(self):
        pass


class Fault:
    """Makes functions raise while it is on."""

    def __init__(self, monkeypatch):
        self._monkeypatch, self.on = monkeypatch, False

    def put_into(self, owner, name):
        real = getattr(owner, name)

        def call(*arguments, **more):
            if self.on:
                raise RuntimeError("injected")
            return real(*arguments, **more)

        self._monkeypatch.setattr(owner, name, call)


class CallbackAbortError(Exception):
    """What a callback raises to end its stream."""


class InputStream:
    """A sound card whose callback comes much faster than it should."""

    def __init__(self, callback, finished_callback, **_):
        self._callback, self._finished, self._over = callback, finished_callback, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self):
        InputStream.unplug = self._over.set
        self._thread.start()

    def close(self):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.is_set():
            for block in np.split(SOUND, 60):
                try:
                    self._callback(block[:, None], len(block), None, SimpleNamespace(input_overflow=False))
                except CallbackAbortError:
                    self._over.set()
                if self._over.wait(0.005):
                    break
        self._finished()


RNG = np.random.default_rng(0)
SOUND = np.concatenate([RNG.normal(0, 0.1, 3 * RATE), RNG.normal(0, 1e-3, 3 * RATE)]).astype(np.float32)
"""Three seconds of noise, and three of much less."""
PORTAUDIO = SimpleNamespace(
    query_devices=lambda: [{"name": "card", "max_input_channels": 1, "default_samplerate": RATE}],
    default=SimpleNamespace(device=[0, 0]),
    check_input_settings=lambda *_: None,
    InputStream=InputStream,
    PortAudioError=OSError,
    CallbackAbort=CallbackAbortError,
    _terminate=lambda: None,
    _initialize=lambda: None,
)


@pytest.fixture
def fault(monkeypatch):
    return Fault(monkeypatch)


@pytest.fixture
def make_source(tmp_path, monkeypatch):
    """Makes a source that gives sound without end, much faster than it was recorded."""
    over, threads, descriptors = threading.Event(), [], []

    def pump(descriptor, content):
        with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
            while not over.is_set():
                pipe.write(content)

    def make(kind, news):
        feed = Feed("yard", news, live=True)
        match kind:
            case "stdin":
                reader, writer = os.pipe()
                descriptors.append(reader)
                threads.append(threading.Thread(target=pump, args=(writer, (SOUND * 32767).astype("<i2").tobytes())))
                threads[-1].start()
                return streams.PcmSource(PcmConfig(sample_rate=RATE), feed, reader)
            case "ffmpeg":
                (tmp_path / "sound.f32").write_bytes(SOUND.tobytes())
                fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32)
                (tmp_path / "head").write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"data\xff\xff\xff\xff")
                program = tmp_path / "bin" / "ffmpeg"
                program.parent.mkdir()
                program.write_text(f"#!/bin/sh\ncat {tmp_path}/head\nwhile cat {tmp_path}/sound.f32; do :; done\n")
                program.chmod(0o755)
                monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
                return streams.FfmpegSource(StreamConfig(url="http://x/y"), feed, RATE)
        monkeypatch.setitem(sys.modules, "sounddevice", PORTAUDIO)
        return microphone.MicrophoneSource(MicrophoneConfig(), [feed])

    yield make
    over.set()
    for descriptor in descriptors:
        os.close(descriptor)
    for thread in threads:
        thread.join(30)


@pytest.fixture
def start(make_source, filled_source, tmp_path, free_port, server, kept_output, monkeypatch):
    """Starts a daemon on a source of a kind and one beside it, with every output that needs no broker."""
    over, threads, daemons = threading.Event(), [], []

    def pump(source):
        source.feed.open(RATE)
        while not over.is_set():
            source.write(SOUND)

    def begin(kind):
        news, port, kept = threading.Event(), free_port(), kept_output()
        make_outputs = assembly.make_outputs
        monkeypatch.setattr(assembly, "open_model", lambda *_: LoudnessModel())
        monkeypatch.setattr(assembly, "make_outputs", lambda *arguments: [kept, *make_outputs(*arguments)])
        outputs = OutputsConfig(
            stdout=False,
            json_lines=JsonLinesConfig(path=tmp_path / "out.jsonl"),
            store=StoreConfig(path=tmp_path / "out.db"),
            webhook=WebhookConfig(url=server.url),
            clips=ClipsConfig(folder=tmp_path / "clips"),
            metrics=MetricsConfig(port=port),
        )
        beside = filled_source("gate")
        beside.feed = beside.feeds[0] = Feed("gate", news, live=True)
        sources = [make_source(kind, news), beside]
        daemons.append(Daemon(assembly.assemble(DaemonConfig(outputs=outputs), sources, news), Notifier()))
        threads.extend(threading.Thread(target=work, daemon=True) for work in (daemons[-1].run, partial(pump, beside)))
        for thread in threads:
            thread.start()
        return kept.got, port

    yield begin
    over.set()
    for daemon in daemons:
        daemon.stop()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def ask(port, path="/healthz"):
    """Return the status of an answer, and what it says; None where there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def statuses(messages):
    """Return the state of each status, and what it is about; but not those of sources that begin."""
    found = [message for message in list(messages) if message.type == "status" and message.state != "listening"]
    return [(message.state, getattr(message, "output", message.source)) for message in found]


SOURCES, WEBHOOK = ("yard", "gate"), "webhook 127.0.0.1"
FAULTS = {
    "the thread that reads stdin": ("stdin", streams.Decoder, "decode", "yard"),
    "the thread that reads ffmpeg": ("ffmpeg", streams.Decoder, "decode", "yard"),
    "the thread that looks for the sound card": ("microphone", microphone.MicrophoneSource, "_open", "yard"),
    "the callback of the sound card": ("microphone", microphone.Downmix, "push", "yard"),
    "the scorer": ("stdin", LoudnessModel, "infer", SOURCES),
    "the loop, before the scorer": ("stdin", WindowStream, "push", SOURCES),
    "the loop, after the scorer": ("stdin", EventStream, "push", SOURCES),
    "the loop, at an output": ("stdin", webhook.Webhook, "offer", WEBHOOK),
    "the thread of an output": ("stdin", webhook.Webhook, "_next", WEBHOOK),
    "an output that sends": ("stdin", webhook.Webhook, "send", WEBHOOK),
    "a file of JSON Lines": ("stdin", lines.JsonLinesFile, "send", "json_lines"),
    "the store": ("stdin", store.StoreOutput, "send", "store"),
    "the writer of clips": ("stdin", clips.ClipWriter, "send", "clips"),
    "the thread of the metrics": ("stdin", metrics.Server, "service_actions", "metrics"),
    "an answer of the metrics": ("stdin", Collector, "collect", "metrics"),
}


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported_passes_and_disturbs_nothing_else(name, fault, start, wait_for, capfd):
    kind, owner, function, subjects = FAULTS[name]
    subjects = (subjects,) if isinstance(subjects, str) else subjects
    fault.put_into(owner, function)
    messages, port = start(kind)
    wait_for(lambda: any(message.type == "end" for message in list(messages)))
    assert ask(port) == 200
    assert statuses(messages) == []

    fault.on = True
    lost, back = ("source_lost", "source_back") if subjects[0] in SOURCES else ("output_failed", "output_back")

    def reported(state):
        ask(port, "/metrics")
        found = statuses(messages)
        return all(any(s == state and about.startswith(subject) for s, about in found) for subject in subjects)

    if owner is microphone.MicrophoneSource:  # which it needs again only when the card is lost
        InputStream.unplug()
    wait_for(lambda: reported(lost))
    if owner is not microphone.MicrophoneSource:
        assert "injected" in next(message.text for message in list(messages) if getattr(message, "state", "") == lost)
    wait_for(lambda: ask(port) == 503)
    fault.on = False
    wait_for(lambda: reported(back) and ask(port) == 200)
    heard = len(messages)
    wait_for(lambda: {"yard", "gate"} <= {m.source for m in messages[heard:] if m.type == "end"})
    assert all(any(about.startswith(subject) for subject in subjects) for _, about in statuses(messages))
    if "gate" not in subjects:
        onsets = [message.onset for message in messages if message.type == "start" and message.source == "gate"]
        assert np.diff(onsets) == pytest.approx(6, abs=0.4)
    assert "Traceback" not in capfd.readouterr().err
