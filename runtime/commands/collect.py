"""`htsat-edge collect`: join the messages of many devices into one store, and serve the page of all of them."""

from __future__ import annotations

import argparse
import logging
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import LogFormatter
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.web import WebConfig
from htsat_edge.runtime.daemon.outputs.mqtt.broker import BrokerClient
from htsat_edge.runtime.daemon.supervision import SupervisedThread
from htsat_edge.runtime.fleet.collector import KEY, FleetCollector
from htsat_edge.runtime.fleet.config import CollectorConfig
from htsat_edge.runtime.fleet.store_check import check_store

if TYPE_CHECKING:
    from htsat_edge.runtime.commands.check import CheckResult
    from htsat_edge.runtime.fleet.link import BrokerLink

PATIENCE_S = 5.0
"""For a broker that does not answer."""
STOP_S = 5.0
"""For the page to end."""
logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Run the command until SIGTERM or Ctrl-C; with --check return 1 where something is not ready."""
    config = read_yaml(args.config, CollectorConfig)
    if args.check:
        from htsat_edge.runtime.commands.check import print_results

        return print_results(check(config))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with ended_by_signals() as stop:
        collector = FleetCollector(config, stop)
        collector.open()
        with nullcontext() if config.web is None else serving(config, config.web, lambda: collector.link):
            collector.run()
    return 0


@contextmanager
def ended_by_signals() -> Iterator[threading.Event]:
    """Yield what SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check(config: CollectorConfig) -> Iterator[CheckResult]:
    """Yield a result for everything that the configuration needs; nothing is changed."""
    from htsat_edge.runtime.commands.check import attempt

    yield attempt("broker", partial(check_broker, config))
    yield attempt("store", lambda: check_store(config.store.place()))
    if config.web is not None:
        yield attempt("web", partial(check_page, config, config.web))


def check_broker(config: CollectorConfig) -> str:
    """Return that the broker can be reached; raise where it cannot. A collector that runs is left alone."""
    client_id = f"{config.broker.client_id}-check-{secrets.token_hex(4)}"
    return BrokerClient(config.broker, client_id, KEY).check(PATIENCE_S)


def check_page(config: CollectorConfig, web: WebConfig) -> str:
    """Return where the page will be; raise where it could not be served."""
    from htsat_edge.runtime.commands.web import load_web

    load_web()
    from htsat_edge.runtime.web.passwords import read_password
    from htsat_edge.runtime.web.server import address_of, open_port

    if config.page_password is not None:
        check_page_password(config.page_password)
    if web.password_file is not None:
        read_password(web.password_file)
    with open_port(web.host, web.port, configured=True) as listener:
        return f"{address_of(listener)} is free"


def check_page_password(secret: Secret) -> None:
    """Raise an HtsatEdgeError where the password of the devices' pages is not there, or is its hash."""
    from htsat_edge.runtime.web.passwords import SCHEME

    try:
        password = secret.read()
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"page_password: {error}") from None
    if password.startswith(f"{SCHEME}:"):
        raise HtsatEdgeError("page_password: is the hash that --set-password writes, and wants the password itself")


@contextmanager
def serving(config: CollectorConfig, web: WebConfig, link: Callable[[], BrokerLink]) -> Iterator[None]:
    """Serve the page in a thread; raise an HtsatEdgeError where it could not be served. It says what `link` returns."""
    check_page(config, web)
    from htsat_edge.runtime.web.app import make_app
    from htsat_edge.runtime.web.server import PageServer, address_of, open_port
    from htsat_edge.runtime.web.settings import PageSettings

    settings = PageSettings(
        web,
        config.store.place(),
        None,
        fleet=True,
        page_password=config.page_password,
        page_hosts=config.page_hosts,
        broker=link,
    )
    servers: list[PageServer] = []
    stop = threading.Event()

    def serve() -> None:
        with open_port(web.host, web.port, configured=True) as listener:
            servers[:] = [PageServer(make_app(settings))]
            logger.info("the page is at %s", address_of(listener))
            if not stop.is_set():
                servers[0].run([listener])

    thread = SupervisedThread("web", serve, partial(logger.warning, "the page has ended: %s"), stop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        for server in servers:
            server.should_exit = True
        thread.join(STOP_S)
