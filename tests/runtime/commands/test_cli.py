import os
import subprocess
import sys
from importlib.metadata import version

import pytest

COMMANDS = (
    "detect",
    "scan",
    "listen",
    "events",
    "enroll",
    "tune",
    "web",
    "collect",
    "labels",
    "check",
    "devices",
    "bench",
    "schema",
)


def test_it_prints_its_version(command):
    assert command("--version") == (0, f"htsat-edge {version('htsat-edge')}\n", "")


def test_help_lists_the_commands(command):
    status, out, err = command("--help")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line.startswith("    ")] == list(COMMANDS)


def test_without_a_command_there_is_the_help(command):
    assert command() == command("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, command):
    status, out, err = command(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: htsat-edge {name} ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect"], "htsat-edge detect: the following arguments are required: FILE; see --help\n"),
        (["detcet"], "htsat-edge: argument COMMAND: invalid choice: 'detcet', meant detect?; see --help\n"),
        (["zebra"], "htsat-edge: argument COMMAND: invalid choice: 'zebra' (choose from "),
        (["--vresion"], "htsat-edge: unrecognized arguments: --vresion, meant --version?; see --help\n"),
        (
            ["detect", "a.wav", "--tpo=3", "--zebra"],
            "htsat-edge detect: unrecognized arguments: --tpo=3 --zebra, meant --top?; see --help\n",
        ),
        (["devices", "usb"], "htsat-edge devices: unrecognized arguments: usb; see --help\n"),
        (
            ["schema", "masseges"],
            "htsat-edge schema: argument subject: invalid choice: 'masseges', meant messages?; see",
        ),
    ],
)
def test_bad_usage_is_one_line(arguments, message, command):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert len(err.splitlines()) == 1


def shell(command, **environment):
    environment = {**{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **environment}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False, env=environment
    )


def test_a_reader_that_leaves_is_no_error(tiny_bundle, noise):
    """The reader is gone before the first line is written."""
    command = f"{sys.executable} -m htsat_edge detect {noise} --bundle {tiny_bundle} --threshold 0.3 --json"
    result = shell(f"{command} | true")
    assert (result.returncode, result.stderr) == (0, "")
    result = shell(f"{command} > /dev/full")
    assert result.returncode == 2
    assert result.stderr == "htsat-edge: cannot go on: [Errno 28] No space left on device\n"


def test_a_terminal_that_knows_only_ascii(tiny_bundle, noise):
    command = f"{sys.executable} -m htsat_edge detect {noise} --bundle {tiny_bundle} --threshold 0.3"
    result = shell(command, PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert "?" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "closed", "status"),
    [
        (["schema", "messages"], "<&- >&-", 0),
        (["listen", "--stdin", "16000"], "<&-", 2),
        (["listen", "--stdin", "16000"], "<&- >&-", 1),
    ],
)
def test_closed_streams_are_no_traceback(arguments, closed, status):
    """As a shell closes them."""
    command = ["sh", "-c", f'exec "$0" -m htsat_edge "$@" {closed}', sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
