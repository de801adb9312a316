"""Run a program of ours that ends with whoever started it, also where that one was killed.

It is called with the number of a descriptor and the program's name and arguments. The descriptor is the end for reading
of a pipe, whose other end only the starter has: when that closes, the starter has gone.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

END_S = 5.0
"""For the program to end by itself."""
NICENESS = 10
"""Of what the daemon starts: detection goes first."""


@contextmanager
def started(command: Callable[[int], Sequence[str]], stdout: int, stderr: int) -> Iterator[subprocess.Popen[str]]:
    """Run a process at low priority, which reads stdin, and ends with the block, or with this process.

    `command` returns what to run for a descriptor, which is the end for reading of its pipe.
    """
    end, lifeline = os.pipe()
    try:
        try:
            # In a session of its own, Ctrl-C is not sent to it as well.
            process = subprocess.Popen(
                command(end),
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(end,),
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        finally:
            os.close(end)
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        yield process
    finally:
        os.close(lifeline)


def end_without(descriptor: int) -> None:
    """Wait for the end of a pipe; then end this process."""
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_S)
    os._exit(1)


def main() -> None:
    """Run the program that the command line names."""
    descriptor, program = int(sys.argv[1]), sys.argv[2]
    os.set_inheritable(descriptor, False)
    threading.Thread(target=end_without, args=(descriptor,), daemon=True).start()
    del sys.argv[:2]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
