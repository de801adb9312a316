"""Run a program of ours that ends with whoever started it, also where that one was killed.

It is called with the number of a descriptor and the program's name and arguments. The descriptor is the end for reading
of a pipe, whose other end only the starter has: when that closes, the starter has gone.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

END_S = 5.0
"""For the program to end by itself."""


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
