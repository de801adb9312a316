"""`htsat-edge schema`: the JSON Schema of messages, or of the daemon's configuration."""

from __future__ import annotations

import argparse
import json

from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.messages import message_schema


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    schema = message_schema() if args.subject == "messages" else DaemonConfig.model_json_schema()
    print(json.dumps(schema, indent=2, ensure_ascii=False))
    return 0
