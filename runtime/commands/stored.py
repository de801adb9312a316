"""Where the store is that a command reads: in the daemon's configuration, or at a path."""

from __future__ import annotations

import argparse
from pathlib import Path

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig


def find_store(args: argparse.Namespace) -> tuple[Path, DaemonConfig]:
    """Return where the store is, and the configuration that names it; with --database, one of defaults.

    Raise an HtsatEdgeError where neither option is given, the configuration cannot be read, or names no store.
    """
    if args.config is None:
        if args.database is None:
            raise HtsatEdgeError("want --config FILE, the daemon's configuration, or --database PATH, a store")
        return args.database, DaemonConfig()
    config = read_yaml(args.config, DaemonConfig)
    if config.outputs.store is None:
        raise HtsatEdgeError(
            f"{args.config}: outputs.store is missing, so nothing that is heard is kept; with "
            "`store: {path: events.db}` under `outputs` it is, from the next start of `htsat-edge listen` on"
        )
    return config.outputs.store.path, config
