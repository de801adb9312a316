"""python -m runtime: the daemon, as `htsat-edge listen`."""

import sys

from runtime.cli import main

if __name__ == "__main__":
    sys.exit(main(["listen", *sys.argv[1:]]))
