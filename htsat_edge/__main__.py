"""Run `htsat-edge` as `python -m htsat_edge`; without a command it is `htsat-edge listen`."""

import sys

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

from htsat_edge.runtime.commands.cli import main

sys.exit(main(sys.argv[1:] or ["listen"]))
