"""python -m runtime is htsat-edge."""

import sys

from runtime.cli import main

sys.exit(main())
