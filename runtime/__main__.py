"""python -m runtime is htsat-edge; without a command it is `htsat-edge listen`."""

import sys

from runtime.cli import main

sys.exit(main(sys.argv[1:] or ["listen"]))
