"""The daemon in this process: on recordings with the real model, and on feeds with one that the test makes up."""

import contextlib
import io
import json
import logging
import time
from functools import cache

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.commands.cli import main
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import (
    DaemonConfig,
    DetectionConfig,
    JsonLinesConfig,
    OutputsConfig,
    SourceConfig,
)
from htsat_edge.runtime.daemon.loop import MOST_WINDOWS, Control, Daemon
from htsat_edge.runtime.daemon.messages import ClockSet, ConfigLoaded, ConfigRejected, OutputFailed
from htsat_edge.runtime.daemon.notify import Notifier


@pytest.fixture
def run(tmp_path, read_lines):
    """Runs a daemon on recordings to their end; returns its messages."""

    def listen(*paths, **sections):
        out = tmp_path / f"{time.monotonic_ns()}.jsonl"
        config = DaemonConfig(
            sources=[SourceConfig(name=path.name, file=path) for path in paths],
            outputs=OutputsConfig(stdout=False, json_lines=JsonLinesConfig(path=out)),
            **sections,
        )
        Daemon(assemble(config), Notifier()).run()
        return read_lines(out)

    return listen


@pytest.fixture(scope="module")
def halves(samples, tmp_path_factory):
    """The recording in two parts."""
    folder = tmp_path_factory.mktemp("halves")
    paths = [folder / "one.flac", folder / "two.flac"]
    for path, part in zip(paths, (samples[: 13 * 32_000], samples[13 * 32_000 :]), strict=True):
        soundfile.write(path, part, 32_000)
    return paths


@pytest.fixture(scope="module")
def detected():
    """Returns what `htsat-edge detect` finds in a recording."""

    @cache
    def detect(path):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(["detect", "--json", "--backend", "onnxruntime", str(path)]) == 0
        return out.getvalue()

    return lambda path: [json.loads(line) for line in detect(path).splitlines()]


def heard(messages, source="yard"):
    """Return the events of a source."""
    return [message for message in messages if message["type"] in ("start", "end") and message["source"] == source]


def shifted(messages, by_s, by_id=0):
    """Return events of a recording that begins so much later, and so many events later, in the yard."""
    keys = ("onset", "offset")
    return [
        {
            **message,
            "source": "yard",
            "id": message["id"] + by_id,
            **{key: round(message[key] + by_s, 4) for key in keys if key in message},
        }
        for message in messages
    ]


# The real model


def test_a_recording_gives_what_detect_gives(run, farmyard, detected):
    wanted = detected(farmyard)
    assert len(wanted) > 8
    first, *found = run(farmyard)
    assert (first["state"], first["source"], first["time"]) == ("listening", "farmyard.flac", None)
    assert [{**message, "source": str(farmyard)} for message in found] == wanted


def test_several_sources_at_once_give_what_each_gives_alone(run, farmyard, halves, detected):
    found = run(farmyard, *halves)
    for path in (farmyard, *halves):
        own = [{**message, "source": str(path)} for message in heard(found, path.name)]
        wanted = detected(path)
        assert len(own) == len(wanted)
        for one, other in zip(own, wanted, strict=True):
            assert one.pop("score") == pytest.approx(other.pop("score"), abs=2e-4)  # batches round differently
            assert one == other


def test_labels_and_thresholds(run, farmyard):
    found = run(farmyard, detection=DetectionConfig(labels=["Dog", "Thunder"], threshold=0.3))
    assert {message["label"] for message in heard(found, farmyard.name)} == {"Dog", "Thunder"}
    found = run(farmyard, detection=DetectionConfig(labels=["Thunder"], thresholds={"Thunder": 0.9999999}))
    assert heard(found, farmyard.name) == []


def test_a_gate_changes_no_event(run, samples, tmp_path):
    quiet = (1e-4 * np.random.default_rng(0).normal(size=11 * 32_000)).astype(np.float32)
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([quiet, samples, quiet]), 32_000, subtype="FLOAT")
    found = run(path, detection=DetectionConfig(gate_dbfs=-60, threshold=0.3))
    assert len(found) > 8
    assert found == run(path, detection=DetectionConfig(threshold=0.3))


def test_a_gap_ends_what_is_open_and_what_follows_is_detected_as_if_it_began_there(start_daemon, halves, detected):
    wanted = [detected(path) for path in halves]
    daemon = start_daemon()
    for number, path in enumerate(halves):
        daemon.feed.open(32_000, 100.5 if number else 0.0, "unplugged")
        daemon.source.write(soundfile.read(path, dtype="float32")[0])
    _, *found = daemon.end()
    (gap,) = (message for message in found if message["type"] == "gap")
    assert (gap["onset"], gap["offset"], gap["reason"]) == (13.0, 113.5, "unplugged")
    at = found.index(gap)
    assert found[:at] == shifted(wanted[0], 0)
    assert found[at + 1 :] == shifted(wanted[1], 113.5, max(message["id"] for message in wanted[0]))


def test_another_rate_after_a_gap(start_daemon, samples):
    daemon = start_daemon()
    daemon.feed.open(32_000)
    daemon.source.write(samples[: 6 * 32_000])
    daemon.feed.open(16_000, 1.0, "another device")
    daemon.source.write(samples[14 * 32_000 :: 2], 16_000)
    found = heard(daemon.end())
    starts = [message for message in found if message["type"] == "start"]
    assert {message["label"] for message in starts} >= {"Speech", "Thunder"}
    assert [message["id"] for message in starts] == list(range(1, len(starts) + 1))
    thunder = next(message for message in starts if message["label"] == "Thunder")
    assert thunder["onset"] == pytest.approx(7, abs=0.4)
    assert daemon.parts.sessions[0].all_time.share == pytest.approx(19 / 20, abs=0.01)


# A model that the test makes up


def states(messages):
    return [getattr(message, "state", message.type) for message in messages]


def test_blocks_between_gaps_that_are_too_short_for_the_model(make_parts):
    parts = make_parts()
    feed = parts.sources[0].feed
    feed.open(32_000)
    for length in (1, 10, 100, 512):
        feed.write(np.zeros(length, np.float32))
        feed.skip(0.5, "a bad cable")
    feed.end()
    Daemon(parts, Notifier()).run()
    assert states(parts.kept) == ["listening", "gap", "gap", "gap", "gap"]


def test_the_parts_are_released_at_the_end_also_of_a_daemon_that_fails(make_parts):
    parts = make_parts()
    parts.sources[0].feed.end()
    Daemon(parts, Notifier()).run()
    assert parts.model.closed

    def fail():
        raise HtsatEdgeError("there is no such device")

    parts = make_parts(2)
    parts.sources[1].start = fail
    with pytest.raises(HtsatEdgeError, match="no such device"):
        Daemon(parts, Notifier()).run()
    assert parts.model.closed
    assert parts.sources[0].feed.ended


@pytest.mark.parametrize(
    ("count", "batches"), [(1, [1, 1, 1]), (3, [3, 3, 3]), (MOST_WINDOWS + 1, 3 * [MOST_WINDOWS, 1])]
)
def test_windows_of_several_sources_are_scored_at_once(count, batches, make_parts, run_daemon, wait_for):
    """Each source gives 4.8 s, which complete windows at 1.28, 2.56 and 3.84 s: one is read, and scored, at a time."""
    parts = make_parts(count)
    for source in parts.sources:
        source.feed.open(2000)  # so that there is not much to resample
        source.feed.write(np.zeros(9600, np.float32))
    daemon, thread = run_daemon(parts)
    wait_for(lambda: sum(parts.model.batches) == 3 * count)
    assert parts.model.batches == batches
    daemon.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert sum(parts.model.batches) == 4 * count  # and the window that ends with the recording


def test_what_was_recorded_before_the_end_is_still_heard(make_parts):
    """Several turns of one source while there is nothing of the other, and what comes while they are stopped."""
    parts = make_parts(2)
    long, short = (source.feed for source in parts.sources)
    for feed in (long, short):
        feed.open(2000)
    for _ in range(5):
        long.write(np.zeros(2000, np.float32))
    short.write(np.zeros(100, np.float32))

    def stop():
        long.write(np.zeros(2000, np.float32))
        long.end()

    parts.sources[0].stop = stop
    daemon = Daemon(parts, Notifier())
    daemon.stop()
    daemon.run()
    assert [session.all_time.heard_s for session in parts.sessions] == [6, 0.05]


@pytest.mark.parametrize("by_s", [3600, -3600])
def test_a_clock_that_is_set_is_reported(by_s, make_parts, caplog):
    parts = make_parts(live=True)
    parts.system.update(time.time() - by_s, time.monotonic())  # what it said before
    parts.sources[0].feed.end()
    Daemon(parts, Notifier()).run()
    (message,) = parts.kept
    assert isinstance(message, ClockSet)
    assert message.by_s == pytest.approx(by_s, abs=5)
    assert f"the system's clock was set by {message.by_s:+.3f} s" in caplog.text


def test_a_clock_that_is_slewed_is_not_reported(make_parts):
    parts = make_parts(live=True)
    parts.system.update(time.time() - 0.2, time.monotonic())
    parts.sources[0].feed.end()
    Daemon(parts, Notifier()).run()
    assert parts.kept == []


def test_what_happens_to_a_source_and_to_an_output_is_published(make_parts):
    parts = make_parts()
    feed = parts.sources[0].feed
    feed.report_lost("unplugged")
    feed.report_lost("unplugged, still")
    feed.report_back("the microphone")
    feed.report_failed("it is broken")
    feed.end()
    parts.publisher.senders[1].reported.append("not now; it is tried again")
    Daemon(parts, Notifier()).run()
    assert states(parts.kept) == ["output_failed", "source_lost", "source_back", "source_failed"]
    assert [getattr(message, "output", None) or message.source for message in parts.kept] == ["other", *["yard 0"] * 3]
    assert isinstance(parts.kept[0], OutputFailed)


def test_a_source_that_does_not_end_is_finished_and_an_output_that_fails_then_is_reported(make_parts):
    parts = make_parts()
    infer = parts.model.infer
    parts.model.infer = lambda log_mel: parts.publisher.senders[1].reported.append("not now") or infer(log_mel)
    source = parts.sources[0]
    source.stop = lambda: None  # a device that hangs
    source.feed.open(2000)
    source.feed.write(np.zeros(2000, np.float32))
    daemon = Daemon(parts, Notifier())
    daemon.stop()
    daemon.run()
    assert parts.model.batches == [1]
    assert states(parts.kept) == ["listening", "output_failed"]


def test_a_configuration_that_cannot_be_read_changes_nothing(make_parts):
    def reread():
        raise HtsatEdgeError("detection.releese: unknown key")

    parts, control = make_parts(), Control()
    daemon = Daemon(parts, Notifier(), control, reread)
    control.reload = True
    parts.sources[0].feed.end()
    daemon.run()
    assert daemon.wanted is None
    (message,) = parts.kept
    assert (type(message), message.text) == (ConfigRejected, "detection.releese: unknown key")


def test_a_configuration_is_read_again_only_where_that_is_asked_for(make_parts):
    for control, reread in ((Control(), DaemonConfig), (Control(), None)):
        control.reload = reread is None
        parts = make_parts()
        parts.sources[0].feed.end()
        daemon = Daemon(parts, Notifier(), control, reread)
        daemon.run()
        assert daemon.wanted is None


def test_a_new_configuration_ends_the_daemon(make_parts):
    parts, control, wanted = make_parts(), Control(), DaemonConfig()
    daemon = Daemon(parts, Notifier(), control, lambda: wanted)
    control.reload = True
    daemon.run()
    assert daemon.wanted is wanted
    assert not control.reload


def test_a_configuration_in_force_is_reported(make_parts, caplog):
    parts = make_parts()
    with caplog.at_level(logging.WARNING):
        Daemon(parts, Notifier()).report_loaded()
    assert [type(message) for message in parts.kept] == [ConfigLoaded]
    assert "the changed configuration is in force" in caplog.text
