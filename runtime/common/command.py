"""Run a command line: one line for each error, and the exit status."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError, NotReadyError
from htsat_edge.runtime.common.half_minutes import counting_half_minutes
from htsat_edge.runtime.common.interrupt import INTERRUPTED, noting_interrupts
from htsat_edge.runtime.common.libraries import TORCH_FOR_CPU, describe_broken, describe_failed_import, needing
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.common.text import shown


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, with the name that was meant; so do those of its commands."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is not known here, where it is known what there is."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = next((text.partition("=")[0] for text in unknown if text.startswith("-")), "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{suggest(option, self._option_string_actions)}")
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is none of the choices, of which there may be many, with the one that was meant."""
        choices = [value] if action.choices is None else list(action.choices)
        if value not in choices and (meant := suggest(str(value), map(str, choices))):
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{meant}")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {shown(message)}; see --help\n")


def refuse_without_extra(prog: str, extra: str, error: Exception) -> NoReturn:
    """End a program that was run without a package that it needs, or with a broken one, with what to install."""
    if isinstance(error, HtsatEdgeError):
        print_error(prog, error)
    elif isinstance(error, ModuleNotFoundError) and (package := (error.name or "").partition(".")[0]) != "htsat_edge":
        first = f"{TORCH_FOR_CPU}, and then " if package == "torch" else ""
        print(f'{prog}: needs {package}: {first}pip install "htsat-edge[{extra}]"', file=sys.stderr)
    else:
        print_error(prog, f"needs {describe_broken(error)}")
    sys.exit(2)


def require_matplotlib() -> None:
    """Raise an HtsatEdgeError, before any work is done, where matplotlib is not there, or too old, or broken."""
    with needing("--plot", "matplotlib", 'pip install "htsat-edge[plot]"'):
        import matplotlib.pyplot
        import matplotlib.typing  # noqa: F401  # from 3.8 on; a distribution's may be older


def count(text: str) -> int:
    """Return a whole number from 1 on."""
    if not text.isdecimal() or not 1 <= int(text) <= sys.maxsize:
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
    """Run a command; return its exit status.

    1 where a check failed or something is not there yet, 2 for bad usage or input, 130 after Ctrl-C.
    """
    _open_closed_streams()
    with counting_half_minutes(), noting_interrupts() as interrupts:
        try:
            status = command()
            sys.stdout.flush()
            return status
        except BaseException as error:
            if interrupts or isinstance(error, KeyboardInterrupt):
                return INTERRUPTED
            return _report(prog, error)


def _report(prog: str, error: BaseException) -> int:
    """Print an error of ours, of the system or of an import in one line; return the exit status. Raise others anew."""
    match error:
        case CheckFailed() | NotReadyError():
            print_error(prog, error)
            return 1
        case HtsatEdgeError():
            print_error(prog, error)
            return 2
        case Exception() if failed := describe_failed_import(error):
            print_error(prog, f"needs {failed}")
            return 2
        case OSError():
            # What stdout still holds must not be flushed at exit: it would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # the reader has gone, as `| head` does
                return 0
            print_error(prog, f"cannot go on: {error}")
            return 2
    raise error


def print_error(prog: str, error: object) -> None:
    """Print an error of a program in one line."""
    print(f"{prog}: {shown(str(error))}", file=sys.stderr)


def _open_closed_streams() -> None:
    """Open those of stdin, stdout and stderr that whoever started the program has closed.

    Otherwise the next file that is opened gets the number of one of them, and what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number: this one
        if name != "stdin" and getattr(sys, name) is None:  # a closed stdin stays None, and sources report it
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
