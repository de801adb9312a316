"""A program that ends with whoever started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from htsat_edge.runtime.common.programs import command_of

STARTER = """
import os, subprocess, sys, time
from htsat_edge.runtime.common.programs import command_of
end, lifeline = os.pipe()
sleep = ("timeit", "-n1", "-r1", "import time; time.sleep(60)")
command = command_of("htsat_edge.runtime.common.lifeline", str(end), *sleep)
child = subprocess.Popen(command, pass_fds=(end,), start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def ended(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{process_id}/stat").read_text()  # nobody may wait for it
    return status.rpartition(")")[2].split()[0] == "Z"


def test_it_ends_when_its_starter_is_killed(wait_for):
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        child = int(starter.stdout.readline())
        assert not ended(child)
        starter.send_signal(signal.SIGKILL)
    wait_for(lambda: ended(child), 20)


def test_it_runs_the_program_with_its_arguments():
    end, lifeline = os.pipe()
    command = command_of("htsat_edge.runtime.common.lifeline", str(end), "htsat_edge", "--version")
    done = subprocess.run(command, pass_fds=(end,), capture_output=True, text=True, check=True)
    os.close(end)
    os.close(lifeline)
    assert done.stdout.startswith("htsat-edge ")
