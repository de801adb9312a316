"""Serve Prometheus' /metrics, and /healthz, over HTTP."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from htsat_edge.runtime.common.errors import NotReadyError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.daemon.config import MetricsConfig
from htsat_edge.runtime.daemon.metrics import Collector
from htsat_edge.runtime.daemon.supervision import SupervisedThread, describe

logger = logging.getLogger(__name__)


class Server(ThreadingHTTPServer):
    """A server that answers each request in a thread of its own; one that fails disturbs no other."""

    daemon_threads = True
    request_queue_size = 100
    warnings = RepeatedWarnings(logger)

    def handle_error(self, *_: Any) -> None:
        """Log that an answer could not be sent, as when whoever asked has gone: once in a while, with a count."""
        error = sys.exc_info()[1]
        if error is not None:
            self.warnings.warn(type(error).__name__, f"metrics: an answer was not sent: {describe(error)}")


class MetricsServer:
    """Serves a collector's figures, and its health: 200, or 503 and what is wrong."""

    name, vital = "metrics", True

    def __init__(self, settings: MetricsConfig, collector: Collector) -> None:
        """Open the port; raise an HtsatEdgeError where that cannot be done."""
        require_prometheus()
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(collector)
        self._failures: dict[str, str] = {}
        """By path; that of the thread itself has none."""
        self._notices: deque[str | None] = deque()
        self._stop = threading.Event()
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry)),
            "/healthz": lambda: answer_health(collector),
        }
        note = self._note

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                answer = answers.get(self.path)
                if answer is None:
                    self._answer(404, "text/plain", b"/metrics and /healthz are here\n")
                    return
                try:
                    status, kind, content = answer()
                except Exception as error:
                    reason = describe(error)
                    note(self.path, reason)
                    self._answer(500, "text/plain", f"{reason}\n".encode())
                    return
                note(self.path, None)
                self._answer(status, kind, content)

            def log_message(self, *_: Any) -> None:
                """Log no requests: they come every few seconds."""

            def _answer(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = open_port(settings, Handler)
        self._thread = SupervisedThread(self.name, self._serve, lambda reason: self._note("", reason), self._stop)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server.warnings.close()

    @property
    def failing(self) -> bool:
        """Whether it does not answer at present."""
        return bool(self._failures)

    def notices(self) -> Iterator[str | None]:
        """Yield since the last time why answers failed, and None when one was sent again."""
        while self._notices:
            yield self._notices.popleft()

    def _serve(self) -> None:
        self._server.serve_forever(0.2)

    def _note(self, path: str, reason: str | None) -> None:
        """Note that an answer has failed for a reason, or has not."""
        before = self.failing
        if reason is None:
            self._failures.pop("", None)
            self._failures.pop(path, None)
        else:
            self._failures[path] = reason
        if self.failing != before:
            self._notices.append(reason)


def require_prometheus() -> None:
    """Raise an HtsatEdgeError where prometheus-client is not installed, or broken."""
    with needing("outputs.metrics", "prometheus-client", 'pip install "htsat-edge[metrics]"'):
        import prometheus_client  # noqa: F401


def open_port(settings: MetricsConfig, handler: type[BaseHTTPRequestHandler]) -> Server:
    """Open the port; raise a NotReadyError where that cannot be done, as before the network is there."""
    try:
        return Server((settings.host, settings.port), handler)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise NotReadyError(f"outputs.metrics: {where}: cannot be listened on: {error.strerror}") from None


def check_metrics(settings: MetricsConfig) -> str:
    """Open the port, and close it; raise an HtsatEdgeError where a MetricsServer could not be made."""
    require_prometheus()
    open_port(settings, BaseHTTPRequestHandler).server_close()
    return f"{settings.host}:{settings.port} is free"


def answer_health(collector: Collector) -> tuple[int, str, bytes]:
    """Return the answer to a question for the health."""
    healthy, report = collector.health()
    return 200 if healthy else 503, "application/json", json.dumps(report).encode()
