"""`htsat-edge listen`: read the configuration, and run the daemon, on a terminal with a live view."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from datetime import date
from functools import partial
from glob import escape
from pathlib import Path
from shlex import quote

import yaml
from rich.console import Console

from htsat_edge.runtime.commands.live_view import LiveView
from htsat_edge.runtime.common.config import parse, printable, read_yaml
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.text import LogFormatter
from htsat_edge.runtime.daemon.config import DaemonConfig, MicrophoneConfig, PcmConfig, SourceConfig
from htsat_edge.runtime.daemon.service import serve
from htsat_edge.runtime.dsp.formats.pipe import is_pipe

KEEP = "`store: {path: events.db}` under `outputs`"
"""What keeps events, in a configuration."""


def run(args: argparse.Namespace) -> int:
    """Run the command; return 2 where a source has failed before all ended, 1 where messages were not delivered."""
    config = read_config(args)
    if args.print_config:
        content = config.model_dump(mode="json", by_alias=True)
        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")
        return 0
    if config.outputs.stdout and sys.__stdout__ is None and not config.outputs.others:  # whoever began it has closed it
        raise CheckFailed("stdout is closed, and `outputs` has nothing else: all messages would be lost")
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    read, file = partial(read_config, args, again=True), watchable(args.config)
    write = None if file is None else partial(write_threshold, file)
    if args.json or not config.outputs.stdout or not is_screen():
        logging.basicConfig(level=logging.INFO, handlers=[log])
        return serve(config, read, file, write=write)
    gone = end_unheard if not config.outputs.others else lambda: None
    advice = advise(config, args.config)
    # Where rich looked by itself, it would draw nothing any more once the terminal is gone, and not say so.
    with LiveView(Console(force_terminal=True), gone, advice) as view:
        logging.basicConfig(level=logging.INFO, handlers=[view.handler, *([] if sys.stderr.isatty() else [log])])
        return serve(without_stdout(config), lambda: without_stdout(read()), file, view.watch, write)


def write_threshold(file: Path, source: str, label: str, threshold: float) -> None:
    """Write the threshold of a source's class into the configuration, unless it is there already.

    Of one day only the first copy of the file before is kept: an automation may write one a minute for years.
    """
    from htsat_edge.runtime.tuning.configuration import plan
    from htsat_edge.runtime.tuning.records import ThresholdChange

    planned = plan(file, [ThresholdChange(source=source, label=label, threshold=threshold)])
    if planned.after == planned.before:
        return
    today = f"{escape(planned.path.name)}.{date.today()}T*"
    has_copy = any(planned.path.parent.glob(today))
    copy = planned.write()
    if has_copy:
        copy.unlink()


def advise(config: DaemonConfig, file: Path | None) -> str:
    """Return where all events are, or how they are kept the next time; nothing where another output has them."""
    if config.outputs.store is not None:
        return f"all of them: htsat-edge events --config {quote(str(file))}"
    if config.outputs.keeps_events:
        return ""
    if file is not None:
        return f"none of them is kept: {KEEP} in {file} keeps the next ones, and `htsat-edge events` lists them"
    return (
        "none of them is kept: with a file detector.yaml that says `outputs: {store: {path: events.db}}`, "
        "`htsat-edge listen --config detector.yaml` keeps the next ones, and `htsat-edge events` lists them"
    )


def is_screen() -> bool:
    """Return whether stdout is a terminal on which a picture can be drawn again and again."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def without_stdout(config: DaemonConfig) -> DaemonConfig:
    """Return a configuration whose messages do not go to stdout, where the live view is."""
    return config.model_copy(update={"outputs": config.outputs.model_copy(update={"stdout": False})})


def end_unheard() -> None:
    """End the program as by SIGTERM: its terminal is gone, and no other output has what it hears."""
    os.kill(os.getpid(), signal.SIGTERM)


def watchable(path: Path | None) -> Path | None:
    """Return where a configuration file is that may change, with its whole path; None where there is none.

    What was given by a pipe, or on stdin, stays as it is.
    """
    if path is None or is_pipe(path) or not path.is_file() or path.absolute().parts[1:2] in (("dev",), ("proc",)):
        return None
    return path.absolute()


def read_config(args: argparse.Namespace, again: bool = False) -> DaemonConfig:
    """Return the configuration file, with the sources of the command line in place of its own where there are some.

    Where it is read `again`, raise an HtsatEdgeError if there is none, if it is a pipe, or if it is empty, as while
    somebody writes it.
    """
    if again and args.config is None:
        raise HtsatEdgeError("there is no configuration file that could have changed (--config)")
    if again and is_pipe(args.config):
        raise HtsatEdgeError(f"{args.config}: is a pipe, which is read only once; start `htsat-edge listen` again")
    config = read_yaml(args.config, DaemonConfig) if args.config is not None else DaemonConfig()
    if again and not config.model_fields_set:
        raise HtsatEdgeError(f"{args.config}: is empty; is it being written?")
    sources: list[SourceConfig] = []
    if args.device is not None:
        device = int(args.device) if args.device.isdecimal() else args.device
        sources = [SourceConfig(name="microphone", microphone=MicrophoneConfig(device=device))]
    elif args.stdin is not None:
        pcm = parse(Path("--stdin"), {"sample_rate": args.stdin}, PcmConfig)
        sources = [SourceConfig(name="stdin", stdin=pcm)]
    elif args.files:
        # Not validated: a path may be no name for a topic.
        sources = [SourceConfig.model_construct(name=printable(path), file=path) for path in args.files]
    return config.model_copy(update={"sources": sources}) if sources else config
