"""The exceptions that a user sees."""

from __future__ import annotations


class HtsatEdgeError(Exception):
    """Bad usage or input: one line that says what, where and how to mend it. Programs exit with status 2."""


class CheckFailed(Exception):
    """What was made or measured is not good enough: one line that says by how much. Programs exit with status 1."""
