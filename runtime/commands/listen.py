"""`htsat-edge listen`: reading its configuration, and running the daemon."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import yaml
from htsat_edge.runtime.common.config import parse, read_yaml
from htsat_edge.runtime.daemon.config import DaemonConfig, Microphone, Pcm, Source
from htsat_edge.runtime.daemon.loop import listen


def run_listen(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.schema:
        print(json.dumps(DaemonConfig.model_json_schema(), indent=2))
        return 0
    config = read_config(args)
    if args.print_config:
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    listen(lambda: read_config(args))
    return 0


def read_config(args: argparse.Namespace) -> DaemonConfig:
    """The configuration file, and what the command line says of it."""
    config = read_yaml(args.config, DaemonConfig) if args.config is not None else DaemonConfig()
    if args.device is not None:
        device = int(args.device) if args.device.isdecimal() else args.device
        return config.model_copy(update={"sources": [Source(name="microphone", microphone=Microphone(device=device))]})
    if args.stdin is not None:
        pcm = parse(Path("--stdin"), {"sample_rate": args.stdin}, Pcm)
        return config.model_copy(update={"sources": [Source(name="stdin", stdin=pcm)]})
    if args.files:
        sources = [Source.model_construct(name=str(path), file=path) for path in args.files]
        return config.model_copy(update={"sources": sources})
    return config
