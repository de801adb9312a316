"""What says how the daemon gets on: Prometheus' metrics, the live socket, and the page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from htsat_edge.runtime.daemon.config import DaemonConfig, MetricsConfig
from htsat_edge.runtime.daemon.live.observer import LiveObserver
from htsat_edge.runtime.daemon.live.server import LiveServer
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.metrics import Collector
from htsat_edge.runtime.daemon.page import Page, page_command, require_web
from htsat_edge.runtime.daemon.parts import Carried

if TYPE_CHECKING:
    from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer


def open_servers(
    config: DaemonConfig, status: StatusReader, opened: ExitStack, carried: Carried, config_file: Path | None
) -> Page | None:
    """Begin to say how the daemon gets on, to Prometheus and to the page, where these are wanted; `opened` ends it."""
    if config.outputs.metrics is not None:
        server = open_metrics(config.outputs.metrics, Collector(status))
        status.publisher.reporters.append(server)
        opened.callback(server.close)
    return open_page(config, status, opened, carried, config_file)


def open_metrics(settings: MetricsConfig, collector: Collector) -> MetricsServer:
    """Begin to serve the figures that a collector finds; raise an HtsatEdgeError where that cannot be done."""
    from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer

    server = MetricsServer(settings, collector)
    server.start()
    return server


def open_page(
    config: DaemonConfig, status: StatusReader, opened: ExitStack, carried: Carried, config_file: Path | None
) -> Page | None:
    """Send what is heard by a socket, and start the page, where these are wanted, unless it is carried on.

    `opened` ends both, but for a page that is to be carried on by then. Raise an HtsatEdgeError where the socket cannot
    be opened, or the page's libraries are not installed.
    """
    path = config.live_socket
    if config.web is None or path is None:
        return None
    if config.web.start:
        require_web()
    server = LiveServer(path, status.read)
    server.start()
    opened.callback(server.close)
    status.publisher.observers.append(server.offer)
    for session in status.sessions:
        session.observers = [*session.observers, LiveObserver(server, session)]
    if not config.web.start:
        return None
    page = carried.page or Page(config, partial(page_command, config_file=config_file))
    status.publisher.reporters.append(page)
    opened.callback(end_page, page, carried, page.close)
    if page is not carried.page:
        page.start()
    opened.callback(end_page, page, carried, page.end)
    return page


def end_page(page: Page, carried: Carried, end: Callable[[], None]) -> None:
    """End the page, unless it goes on with the next daemon."""
    if carried.page is not page:
        end()
