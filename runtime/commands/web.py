"""`htsat-edge web`: serve the page, set its password, export what people said of events."""

from __future__ import annotations

import argparse
import getpass
import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.progress import waiting
from htsat_edge.runtime.common.text import LogFormatter
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.web import WebConfig

if TYPE_CHECKING:
    from htsat_edge.runtime.web.settings import PageSettings


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    load_web()
    if args.set_password is not None:
        return set_password(args.set_password)
    if args.export is not None:
        return export(find_settings(args), args.export)
    return show(args)


def load_web() -> None:
    """Raise an HtsatEdgeError where the libraries of the page are not installed, or broken."""
    from htsat_edge.runtime.daemon.page import WEB, require_web

    require_web()
    for package in WEB:
        with needing("the page", package, 'pip install "htsat-edge[web]"'):
            import_module(package)


def show(args: argparse.Namespace) -> int:
    """Serve the page until SIGTERM or Ctrl-C."""
    with waiting("loading the page …"):
        from htsat_edge.runtime.web.demo import playing
        from htsat_edge.runtime.web.server import serve

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    page: AbstractContextManager[PageSettings]
    page = playing(args.port or WebConfig().port) if args.demo else nullcontext(find_settings(args))
    with page as settings:
        serve(settings, lambda address: print(f"the page is at {address}; Ctrl-C ends it", file=sys.stderr))
    return 0


def find_settings(args: argparse.Namespace) -> PageSettings:
    """Return what the page shows; raise an HtsatEdgeError where it is not said."""
    if args.clips is not None and args.database is None:
        raise HtsatEdgeError("--clips is for --database; a configuration says in `outputs.clips` where clips are")
    if args.config_file is not None and args.config is None:
        raise HtsatEdgeError("--config-file is for --config: the file that this configuration is from")
    if args.config is not None:
        file = args.config_file or (args.config if args.config.is_file() else None)
        settings = settings_of(read_yaml(args.config, DaemonConfig), str(args.config), file)
    elif args.database is not None:
        from htsat_edge.runtime.store.reader import StoreReader
        from htsat_edge.runtime.web.settings import PageSettings

        with StoreReader(args.database):  # no daemon is going to make it
            settings = PageSettings(WebConfig(), args.database, args.clips)
    else:
        raise HtsatEdgeError("want --config FILE, the daemon's configuration, or --database PATH; or --demo")
    if args.port is None:
        return settings
    return replace(settings, web=settings.web.model_copy(update={"port": args.port}))


def settings_of(config: DaemonConfig, where: str, file: Path | None = None) -> PageSettings:
    """Return what the page of a daemon shows, whose configuration is in a file; raise where it has no store."""
    from htsat_edge.runtime.web.settings import PageSettings

    if config.outputs.store is None:
        raise HtsatEdgeError(f"{where}: outputs.store is missing: the page shows what is in the store")
    clips = config.outputs.clips
    return PageSettings(
        config.web or WebConfig(),
        config.outputs.store.path,
        None if clips is None else clips.folder,
        config=config,
        config_file=file,
    )


def check_web(config: DaemonConfig) -> str:
    """Return where the page of a daemon will be; raise an HtsatEdgeError where it could not be served."""
    load_web()
    from htsat_edge.runtime.web.passwords import read_password
    from htsat_edge.runtime.web.server import address_of, open_port

    web = settings_of(config, "web").web
    if web.password_file is not None:
        read_password(web.password_file)
    with open_port(web.host, web.port, configured=True) as listener:
        return f"{address_of(listener)} is free"


def set_password(path: Path) -> int:
    """Ask for a password, and write its hash to a file."""
    from htsat_edge.runtime.web.passwords import write_password

    if sys.stdin is not None and sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise HtsatEdgeError("these were two different passwords; nothing was written")
    else:
        password = (sys.stdin.readline() if sys.stdin is not None else "").removesuffix("\n")
    write_password(path, password)
    print(f"{path} holds a hash of the password; name it in the configuration: web: {{password_file: {path}}}")
    print("a page that runs knows it once it is started again")
    return 0


def export(settings: PageSettings, folder: Path) -> int:
    """Write what people said of events, and the clips, as a labelled data set."""
    from htsat_edge.runtime.store.export import plan_export, write_folder
    from htsat_edge.runtime.store.reader import StoreReader

    if settings.clips is None:
        raise HtsatEdgeError("there are no clips: say in `outputs.clips`, or by --clips, where they are")
    with StoreReader(settings.store) as reader:
        planned = plan_export(reader, settings.clips)
    written = write_folder(planned, folder)
    for reason, count in planned.left_out.most_common():
        print(f"left out: {count} ({reason})")
    print(f"{folder}: {sum(row.clip in written for row in planned.rows)} rows, {len(written)} clips")
    return 0
