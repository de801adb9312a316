"""Run a command line: one line for each error, and the exit status."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def refuse_without_extra(prog: str, extra: str, missing: ModuleNotFoundError) -> NoReturn:
    """End a program that was run without a package that it needs, with what to install."""
    package = (missing.name or "").partition(".")[0]
    print(f'{prog}: needs {package}: pip install "htsat-edge[{extra}]"', file=sys.stderr)
    sys.exit(2)


def require_matplotlib() -> None:
    """Raise an HtsatEdgeError, before any work is done, where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise HtsatEdgeError('--plot needs matplotlib: pip install "htsat-edge[plot]"') from None


def count(text: str) -> int:
    """Return a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def seed(text: str) -> int:
    """Return a whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def decibels(text: str) -> float:
    """Return a number of dB."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of dB")
    return value


def run(prog: str, command: Callable[[], int]) -> int:
    """Run a command; return its exit status: 1 where a check failed, 2 for bad usage or input."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by whoever started the program
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        status = command()
        sys.stdout.flush()
        return status
    except CheckFailed as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except HtsatEdgeError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # What stdout still holds must not be flushed at exit: it would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has gone, as `| head` does
            return 0
        print(f"{prog}: cannot go on: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
