"""The configuration that `htsat-edge listen` and `check` run with; the daemon itself is in ../daemon."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from htsat_edge.runtime.commands.cli import make_parser
from htsat_edge.runtime.commands.listen import advise, read_config, watchable, write_threshold
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig


def config_of(*arguments, again=False):
    return read_config(make_parser().parse_args(["listen", *map(str, arguments)]), again)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text("detection: {hop_s: 0.64}\nsources:\n  - {name: yard, file: yard.wav}\n")
    return path


def test_without_arguments_it_is_the_default_microphone():
    assert config_of() == DaemonConfig()
    (source,) = config_of().sources
    assert (source.name, source.microphone.device) == ("microphone", None)


def test_a_file_gives_all(file):
    config = config_of("--config", file)
    assert config.detection.hop_s == 0.64
    assert [(source.name, source.file) for source in config.sources] == [("yard", Path("yard.wav"))]


def test_recordings_take_the_place_of_the_sources(file):
    """Under their paths, which no configuration would allow for a name."""
    config = config_of("--config", file, "a#1.wav", "b.wav")
    assert config.detection.hop_s == 0.64
    assert [(s.name, s.file) for s in config.sources] == [("a#1.wav", Path("a#1.wav")), ("b.wav", Path("b.wav"))]


@pytest.mark.parametrize(
    ("outputs", "named", "wanted"),
    [
        ({"store": {"path": "events.db"}}, True, "all of them: htsat-edge events --config 'my file.yaml'"),
        ({"json_lines": {"path": "events.jsonl"}}, True, ""),
        ({}, True, "none of them is kept: `store: {path: events.db}` under `outputs` in my file.yaml keeps"),
        ({"clips": {"folder": "clips"}}, False, "none of them is kept: with a file detector.yaml that says `outputs: "),
    ],
)
def test_where_events_are_or_that_they_are_lost(outputs, named, wanted):
    advice = advise(DaemonConfig.model_validate({"outputs": outputs}), Path("my file.yaml") if named else None)
    assert (advice.startswith(wanted), bool(advice)) == (True, bool(wanted))


@pytest.mark.parametrize(("text", "device"), [("3", 3), ("usb:0d8c:0014", "usb:0d8c:0014")])
def test_a_microphone_takes_the_place_of_the_sources(text, device, file):
    (source,) = config_of("--config", file, "--device", text).sources
    assert (source.name, source.microphone.device) == ("microphone", device)


def test_only_a_file_that_can_change_is_watched(file, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    assert watchable(Path("detector.yaml")) == file
    (tmp_path / "link").symlink_to(file)
    assert watchable(tmp_path / "link") == tmp_path / "link"  # and not what it leads to today
    others = (None, tmp_path / "pipe", tmp_path / "absent", tmp_path, Path("/dev/stdin"), Path("/proc/self/status"))
    assert [watchable(path) for path in others] == [None] * 6


def test_raw_samples_on_stdin():
    (source,) = config_of("--stdin", 48_000).sources
    assert (source.name, source.stdin.sample_rate, source.stdin.format) == ("stdin", 48_000, "s16le")


def test_an_impossible_rate_is_one_line():
    with pytest.raises(HtsatEdgeError, match=r"^--stdin: sample_rate: .* 8000, not 100$"):
        config_of("--stdin", 100)


def test_the_whole_configuration_is_printed_and_can_be_read_again(command, file, tmp_path):
    status, out, err = command("listen", "--config", file, "--print-config")
    assert (status, err) == (0, "")
    assert yaml.safe_load(out)["detection"]["hop_s"] == 0.64
    (tmp_path / "printed.yaml").write_text(out)
    assert config_of("--config", tmp_path / "printed.yaml") == config_of("--config", file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "detector.yaml: no such file"),
        ("detection: {hop: 1}", "detector.yaml: detection.hop: unknown key, meant hop_s?"),
        ("detection: [", "detector.yaml: is not YAML: "),
        ("detection: {labels: [Dgo]}", "labels: 'Dgo' is no class of this model, meant Dog?"),
        ("model: {bundle: /nowhere}", "/nowhere: no such bundle; "),
    ],
)
@pytest.mark.parametrize("name", ["listen"])
def test_a_bad_configuration_is_one_line(name, content, message, command, tmp_path):
    path = tmp_path / "detector.yaml"
    if content is not None:
        path.write_text(content)
    status, out, err = command(name, "--config", path, "absent.wav")
    assert (status, out) == (2, "")
    assert err.startswith("htsat-edge: ")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("names", [("yard.wav", "yard.wav"), ("a.wav", "b.wav", "a.wav")])
def test_a_recording_that_is_named_twice_is_refused(names, command, farmyard, tmp_path, monkeypatch):
    """Its events could not be told apart in the store."""
    monkeypatch.chdir(tmp_path)
    for name in set(names):
        Path(name).symlink_to(farmyard)
    assert command("listen", *names) == (2, "", f"htsat-edge: sources: {names[0]} is there twice\n")


def test_a_recording_that_breaks_off_is_a_line_on_stderr_and_bad_input(noise, tmp_path):
    """It was exit status 0 and nothing on stderr; the other recordings are heard to their end."""
    samples, rate = soundfile.read(noise)
    soundfile.write(tmp_path / "cut.flac", np.tile(samples, 10), rate)
    content = bytearray((tmp_path / "cut.flac").read_bytes())
    content[len(content) // 2 : -50_000] = bytes(len(content) - len(content) // 2 - 50_000)
    (tmp_path / "cut.flac").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "htsat_edge", "listen", "cut.flac", noise.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    first, line = done.stderr.splitlines()
    assert first.startswith("INFO htsat_edge.runtime.daemon.assembly: bundle ")
    assert line.startswith("WARNING htsat_edge.runtime.daemon.sources.feed: cut.flac: ")
    states = {(message["source"], message.get("state")) for message in map(json.loads, done.stdout.splitlines())}
    assert states >= {("cut.flac", "source_failed"), (noise.name, "listening")}
    assert (noise.name, "source_failed") not in states


def test_a_name_that_is_no_text_is_replaced(tmp_path):
    (source,) = config_of(Path("\udcff.wav")).sources
    assert source.name == "\ufffd.wav"
    assert source.file == Path("\udcff.wav")


def test_a_configuration_that_comes_through_a_pipe_is_read_once(farmyard):
    """It was read twice; the second time it was empty, as the default is."""
    reader, writer = os.pipe()
    os.write(writer, f"detection: {{labels: [Fowl]}}\nsources: [{{name: yard, file: {farmyard}}}]\n".encode())
    os.close(writer)
    done = subprocess.run(
        [sys.executable, "-m", "htsat_edge", "listen", "--config", f"/dev/fd/{reader}"],
        pass_fds=[reader],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    os.close(reader)
    labels = {message.get("label") for message in map(json.loads, done.stdout.splitlines())}
    assert labels == {None, "Fowl"}


def test_a_pipe_is_not_read_again(tmp_path):
    os.mkfifo(tmp_path / "detector.yaml")
    with pytest.raises(HtsatEdgeError, match="is a pipe, which is read only once; start `htsat-edge listen` again"):
        config_of("--config", tmp_path / "detector.yaml", again=True)


@pytest.mark.parametrize("content", ["", "# sources:\n", "{}"])
def test_an_empty_file_is_not_taken_for_a_changed_configuration(content, tmp_path):
    """As it is for a moment while it is written: the daemon would listen to the default microphone."""
    path = tmp_path / "detector.yaml"
    path.write_text(content)
    assert config_of("--config", path) == DaemonConfig()
    with pytest.raises(HtsatEdgeError, match=r"detector.yaml: is empty; is it being written\?$"):
        config_of("--config", path, "a.wav", again=True)


@pytest.mark.parametrize("arguments", [(), ("--stdin", 48_000), ("a.wav",)])
def test_without_a_file_there_is_nothing_to_read_again(arguments):
    """The sources were begun anew, and the log said that a changed configuration was in force."""
    with pytest.raises(HtsatEdgeError, match=r"^there is no configuration file that could have changed \(--config\)$"):
        config_of(*arguments, again=True)


def test_a_closed_stdout_is_no_output(noise):
    """All events were thrown away, with exit status 0."""
    command = [sys.executable, "-m", "htsat_edge", "listen", str(noise)]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True, timeout=120)
    wanted = "htsat-edge: stdout is closed, and `outputs` has nothing else: all messages would be lost\n"
    assert (done.returncode, done.stderr) == (1, wanted)


def test_a_closed_stdout_beside_another_output(noise, tmp_path):
    (tmp_path / "detector.yaml").write_text("outputs: {json_lines: {path: events.jsonl}}")
    command = [sys.executable, "-m", "htsat_edge", "listen", "--config", "detector.yaml", str(noise)]
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)  # what listens
    assert '"listening"' in (tmp_path / "events.jsonl").read_text()


def test_thresholds_that_come_all_day_leave_one_copy_of_the_file(file, tmp_path):
    before = file.read_text()
    days_ago = tmp_path / f"{file.name}.2026-01-01T10-00-00"
    days_ago.write_text("of another day")
    for threshold in (0.3, 0.3, 0.4, 0.5):
        write_threshold(file, "yard", "Dog", threshold)
    assert yaml.safe_load(file.read_text())["sources"][0]["detection"]["thresholds"] == {"Dog": 0.5}
    copies = set(tmp_path.glob("detector.yaml.*"))
    assert len(copies) == 2
    assert {copy.read_text() for copy in copies} == {before, "of another day"}
