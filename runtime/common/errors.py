"""The exceptions that a user sees, one line each."""

from __future__ import annotations


class HtsatEdgeError(Exception):
    """Bad usage or input: one line that says what, where and how to mend it. Commands exit with status 2."""


class CheckFailed(Exception):
    """A result is not good enough: one line that says by how much. Commands exit with status 1."""
