import argparse
import subprocess
import sys

import pytest

from htsat_edge.runtime.common.command import Parser, count, decibels, refuse_without_extra, run, seed
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError, NotReadyError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CheckFailed("too slow by 3 ms"), 1, "prog: too slow by 3 ms\n"),
        (HtsatEdgeError("x.wav: no such file"), 2, "prog: x.wav: no such file\n"),
        (NotReadyError("usb: no such microphone"), 1, "prog: usb: no such microphone\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(error, status, line, capsys):
    def fail():
        raise error

    assert run("prog", fail) == status
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_gives_its_status(status, capsys):
    assert run("prog", lambda: status) == status
    assert capsys.readouterr() == ("", "")


def test_an_error_of_ours_alone_is_hidden():
    with pytest.raises(ZeroDivisionError):
        run("prog", lambda: 1 // 0)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_what_is_opened_never_takes_the_place_of_a_closed_stream(closed, tmp_path):
    program = (
        "import os, sys; from htsat_edge.runtime.common.command import run\n"
        "def work():\n"
        "    print('lost', 'lost', file=sys.stderr)\n"
        "    with open(sys.argv[1], 'w') as file: print(file.fileno() > 2, os.system('echo noise'), file=file)\n"
        "    return 3\n"
        "sys.exit(run('prog', work))"
    )
    command = f'exec "$0" -c "$1" "$2" {closed}'
    done = subprocess.run(["sh", "-c", command, sys.executable, program, tmp_path / "x"], check=False)
    assert done.returncode == 3
    assert (tmp_path / "x").read_text() == "True 0\n"


def test_bad_usage_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        Parser(prog="prog").parse_args(["--absent"])
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", "prog: unrecognized arguments: --absent; see --help\n")


def test_what_is_missing_says_how_to_install_it(capsys):
    with pytest.raises(SystemExit) as stop:
        refuse_without_extra("prog", "export", ModuleNotFoundError("No module", name="torch"))
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("prog: needs torch: pip install torch==")
    assert err.endswith('whl/cpu, and then pip install "htsat-edge[export]"\n')


@pytest.mark.parametrize(
    ("read", "text", "value"), [(count, "1", 1), (count, "12", 12), (seed, "0", 0), (decibels, "-3.5", -3.5)]
)
def test_what_an_argument_means(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (count, "0", "'0' is not a whole number from 1 on"),
        (count, "1.5", "'1.5' is not a whole number from 1 on"),
        (count, "-1", "'-1' is not a whole number from 1 on"),
        (seed, "-1", "'-1' is not a whole number from 0 on"),
        (decibels, "loud", "'loud' is not a number of dB"),
        (decibels, "nan", "'nan' is not a number of dB"),
        (decibels, "inf", "'inf' is not a number of dB"),
    ],
)
def test_what_an_argument_cannot_be(read, text, message):
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        read(text)
    assert str(raised.value) == message
