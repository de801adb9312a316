"""Serve Prometheus' /metrics, and /healthz, over HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import MetricsConfig
from htsat_edge.runtime.daemon.metrics import Collector


class MetricsServer:
    """Serves a collector's figures, and its health: 200, or 503 and what is wrong."""

    def __init__(self, settings: MetricsConfig, collector: Collector) -> None:
        """Open the port; raise an HtsatEdgeError where that cannot be done."""
        try:
            from prometheus_client import CollectorRegistry, generate_latest
        except ModuleNotFoundError:
            raise HtsatEdgeError('outputs.metrics needs prometheus-client: pip install "htsat-edge[metrics]"') from None
        registry = CollectorRegistry()
        registry.register(collector)

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))
                elif self.path == "/healthz":
                    well, report = collector.health()
                    self._answer(200 if well else 503, "application/json", json.dumps(report).encode())
                else:
                    self._answer(404, "text/plain", b"/metrics and /healthz are here\n")

            def log_message(self, *_: Any) -> None:
                """Log no requests: they come every few seconds."""

            def _answer(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        try:
            self._server = ThreadingHTTPServer((settings.host, settings.port), Handler)
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise HtsatEdgeError(f"outputs.metrics: {where}: cannot be listened on: {error.strerror}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
