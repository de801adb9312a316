"""The exceptions that a user sees, one line each."""

from __future__ import annotations


class HtsatEdgeError(Exception):
    """Bad usage or input: one line that says what, where and how to mend it. Commands exit with status 2."""


class NotReadyError(HtsatEdgeError):
    """Something is not there, and may be later, such as a microphone. Commands exit with status 1: try again."""


class ServerError(HtsatEdgeError):
    """A server that is to run the model does not do so, whatever it is given: no window can be scored there now."""


class ServerNotReadyError(ServerError, NotReadyError):
    """The same, and it may be over later: the server is gone, or does not answer in time."""


class CheckFailed(Exception):
    """A result is not good enough: one line that says by how much. Commands exit with status 1."""
