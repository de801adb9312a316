"""Speak KServe v2 with a server such as Triton, over HTTP or gRPC; every answer has a time limit.

A client belongs to the thread that has made it: that of HTTP waits in an event loop of its own (gevent).
"""

from __future__ import annotations

import ssl
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError, ServerError, ServerNotReadyError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.text import in_one_line, visible

DENIED = ("401", "403", "StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED")
WRONG = (
    *("400", "404", "405", "501"),
    *("StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND", "StatusCode.UNIMPLEMENTED"),
)
LATE = "StatusCode.DEADLINE_EXCEEDED"
UNDECODED = "an exception occurred in the client"
"""How tritonclient's message begins where an error is not JSON, such as a proxy's page; the page follows."""
NO_BOUND = -1
RECONNECT_MS = 1000
"""gRPC would wait up to two minutes before it connects again."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteServer:
    """A server, and the model that it runs."""

    url: str
    """http, https, grpc or grpcs, with host and port."""
    model: str | None = None
    """Its name there; None: that of the bundle's model."""
    timeout_s: float = 0.5
    """For an answer."""
    token: str | None = field(default=None, repr=False)
    """Sent as `Authorization: Bearer …`."""
    ca_file: Path | None = None
    """Certificates (PEM) of who has signed the server's; None: those of the system."""

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC."""
        return self.url.startswith("grpc")

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is under TLS."""
        return self.url.startswith(("https:", "grpcs:"))

    @property
    def address(self) -> str:
        """Return host and port."""
        return urllib.parse.urlsplit(self.url).netloc


class KServeClient:
    """A connection with a server; the errors of what it is asked are ServerErrors of one line.

    Those that may be over later, such as a server that is gone, are ServerNotReadyErrors.
    """

    def __init__(self, server: RemoteServer, library: Any, client: Any, in_json: dict[str, bool]) -> None:
        """Take a client of one of tritonclient's libraries, with what it needs to answer in JSON."""
        self._server, self._library, self._client, self._in_json = server, library, client, in_json
        self._headers = {} if server.token is None else {"authorization": f"Bearer {server.token}"}

    def metadata(self, model: str, timeout_s: float) -> dict[str, Any]:
        """Return the metadata of a model, as KServe v2 has it in JSON."""
        found: dict[str, Any] = self._ask(self._client.get_model_metadata, timeout_s, model, **self._in_json)
        return found

    def config(self, model: str, timeout_s: float) -> dict[str, Any]:
        """Return the configuration of a model as Triton has it in JSON; nothing from a server that has none."""
        try:
            found = self._ask(self._client.get_model_config, timeout_s, model, **self._in_json)
        except NotReadyError:
            raise
        except ServerError:  # an extension of Triton's
            return {}
        with reading(self._server.url):
            config: dict[str, Any] = found.get("config", found)
        return config

    def infer(
        self, model: str, name: str, batch: npt.NDArray[Any], kind: str, outputs: Sequence[str], timeout_s: float
    ) -> dict[str, FloatArray]:
        """Return the outputs of a model, by name, for its one input of this name and type; those that came."""
        given = self._library.InferInput(name, batch.shape, kind)
        given.set_data_from_numpy(batch)
        wanted = [self._library.InferRequestedOutput(output) for output in outputs]
        found = self._ask(self._client.infer, timeout_s, model, [given], outputs=wanted)
        with reading(self._server.url):
            came = {output: found.as_numpy(output) for output in outputs}
            return {output: np.array(x, np.float32) for output, x in came.items() if x is not None}

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _ask(self, call: Callable[..., Answer], timeout_s: float, model: str, *args: Any, **more: Any) -> Answer:
        try:
            with self._limited(timeout_s) as options:
                return call(model, *args, headers=dict(self._headers), **options, **more)
        except Exception as error:  # of the network, of TLS, of the library, of what parses the answer
            raise self._explained(error, model, timeout_s) from None

    @contextmanager
    def _limited(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Give the options of a call that must end in time."""
        yield {"client_timeout": timeout_s}

    def _explained(self, error: Exception, model: str, timeout_s: float) -> ServerError:
        url, status = self._server.url, ""
        if hasattr(error, "status"):
            status = str(error.status())
        if isinstance(error, TimeoutError) or status == LATE:
            return ServerNotReadyError(f"{url}: has not answered within {timeout_s:g} s")
        text = str(error.message() if hasattr(error, "message") else error)
        if self._server.token is not None:
            text = text.replace(self._server.token, "…")  # a proxy may repeat what it was sent
        why = visible(in_one_line(text)) or status or type(error).__name__
        if why.startswith(UNDECODED):
            why = f"it answers {status}"
        if status in DENIED:
            return ServerError(f"{url}: refuses this device ({why}): model.remote.token must be one that it knows")
        if status in WRONG:
            return ServerError(f"{url}: cannot run {model}: {why}")
        return ServerNotReadyError(f"{url}: cannot be reached: {why}")


@contextmanager
def reading(server: str) -> Iterator[None]:
    """Raise a ServerError where a server's answer is not of the form that it is read as."""
    try:
        yield
    except Exception:  # of whatever stands there in place of a number, a text, a list
        raise ServerError(f"{server}: does not answer as KServe v2 wants it; is it such a server?") from None


class HttpClient(KServeClient):
    """A connection over HTTP."""

    def __init__(self, server: RemoteServer) -> None:
        """Prepare; nothing is sent yet."""
        with _needing_client():
            import gevent.ssl
            import tritonclient.http as library
        self._timeout = gevent.Timeout
        contexts = {"ssl_context_factory": lambda **_: gevent.ssl.create_default_context(cafile=server.ca_file)}
        client = library.InferenceServerClient(
            server.address, ssl=server.is_encrypted, **(contexts if server.is_encrypted else {})
        )
        super().__init__(server, library, client, {})

    @contextmanager
    def _limited(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        # The library's own limits begin anew with each part of an answer.
        with self._timeout(timeout_s, TimeoutError):
            yield {}


class GrpcClient(KServeClient):
    """A connection over gRPC."""

    def __init__(self, server: RemoteServer) -> None:
        """Prepare; nothing is sent yet."""
        with _needing_client():
            import tritonclient.grpc as library
        roots = server.ca_file or ssl.get_default_verify_paths().cafile
        client = library.InferenceServerClient(
            server.address,
            ssl=server.is_encrypted,
            root_certificates=roots,
            channel_args=[
                ("grpc.max_send_message_length", NO_BOUND),
                ("grpc.max_receive_message_length", NO_BOUND),
                ("grpc.use_local_subchannel_pool", 1),  # else a new client waits as long as the last has failed
                ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
                ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
            ],
        )
        super().__init__(server, library, client, {"as_json": True})


def open_client(server: RemoteServer) -> KServeClient:
    """Return a client of a server; raise an HtsatEdgeError where a library or a file that it needs is not there."""
    if server.token is not None and not server.token.isascii():
        raise HtsatEdgeError("model.remote.token: holds what is not ASCII, which no server takes")
    if server.is_encrypted and server.ca_file is not None:
        try:
            ssl.create_default_context(cafile=server.ca_file)
        except OSError as error:  # of TLS, too
            why = "holds no certificates (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
            raise HtsatEdgeError(f"model.remote.ca_file: {server.ca_file}: {why}") from None
    return GrpcClient(server) if server.is_grpc else HttpClient(server)


def release_thread() -> None:
    """Release what HTTP leaves in a thread that ends."""
    if (gevent := sys.modules.get("gevent")) is not None:
        gevent.get_hub().destroy(destroy_loop=True)


def _needing_client() -> Any:
    return needing("backend: remote", "tritonclient", 'pip install "htsat-edge[remote]"')
