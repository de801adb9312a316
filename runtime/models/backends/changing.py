"""Backends that change what runs the model as they go: what runs it at present, and what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from htsat_edge.runtime.models.backends.backend import Backend


class BackendChange(NamedTuple):
    """Something else runs the model."""

    backend: str
    """What runs it from then on."""
    text: str
    """Why."""


@runtime_checkable
class ChangingBackend(Protocol):
    """A backend around others, of which one runs the model at present."""

    @property
    def present(self) -> Backend:
        """What runs the model at present; may be such a backend itself."""
        ...

    @property
    def fallbacks(self) -> int:
        """How often something else has had to take over."""
        ...

    def notices(self) -> Iterator[BackendChange]:
        """Yield what has changed since the last time."""
        ...


def present_backend(backend: Backend) -> Backend:
    """Return what runs the model at present, however many backends are around it."""
    while isinstance(backend, ChangingBackend):
        backend = backend.present
    return backend


def backend_name(backend: Backend) -> str:
    """Return what people call that which runs the model at present."""
    present = present_backend(backend)
    return str(getattr(present, "name", type(present).__name__))


def notices_of(backend: Backend) -> Iterator[BackendChange]:
    """Yield what has changed since the last time; nothing of a backend that never changes."""
    if isinstance(backend, ChangingBackend):
        yield from backend.notices()


def fallbacks_of(backend: Backend) -> int:
    """Return how often something else has had to take over; 0 of a backend that never changes."""
    return backend.fallbacks if isinstance(backend, ChangingBackend) else 0
