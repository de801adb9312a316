"""A cluster of Ray: connecting to it, and whether all of its machines can do the work."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.machine import installed_versions
from htsat_edge.runtime.common.text import in_one_line

QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_USAGE_STATS_ENABLED": "0"}
"""Environment, where it says nothing else: no lines of Ray's own on stderr, and no reports to its makers."""
LOGGERS = ("ray", "ray.data")
CONNECT_S = 10.0
PATIENCE_S = 120.0
"""For a machine to say what it sees."""


def require_ray() -> None:
    """Raise an HtsatEdgeError where Ray is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with needing("--ray", "ray", 'pip install "htsat-edge[cluster]"'):
        import pyarrow.parquet  # noqa: F401
        import ray.data  # noqa: F401


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a cluster in a `with` block, and no longer; leave a connection as it is where there is one.

    Parameters
    ----------
    address
        HOST:PORT of its first machine; None: that of RAY_ADDRESS, or the cluster that this machine is in.

    Raises
    ------
    HtsatEdgeError
        There is none, or Ray is not installed.
    """
    require_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        _refuse_silence(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address or "auto", log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except Exception as error:  # of any kind: what is said of it is the same
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise HtsatEdgeError(
            f"--ray: no cluster answers at {where}: {in_one_line(error, 120)}; start one with `ray start --head`, and "
            "`ray start --address HOST:6379` on the other machines"
        ) from None
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Raise an OSError where nothing answers at an address: Ray itself would try for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), CONNECT_S).close()


def check_nodes(paths: list[Path], gpus: float = 0.0) -> int:
    """Return how many workers a cluster has room for; raise an HtsatEdgeError where a machine cannot do the work.

    Parameters
    ----------
    paths
        What each machine must see: the results, the model, the recordings.
    gpus
        Share of a GPU that each worker takes; 0: it takes a CPU.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cluster: Any = ray  # it has no types
    nodes = [node for node in cluster.nodes() if node["Alive"]]
    own = _version()
    asking = ray.remote(num_cpus=0, max_retries=0)(_look)
    asked = {
        node["NodeManagerHostname"] + " " + node["NodeID"][:8]: asking.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote([str(path) for path in paths])
        for node in nodes
    }
    for name, answer in asked.items():
        try:
            theirs, missing = ray.get(answer, timeout=PATIENCE_S)
        except Exception as error:  # above all, htsat-edge cannot be imported there
            raise HtsatEdgeError(
                f"--ray: {name} cannot work: {in_one_line(error, 200)}; "
                f"install htsat-edge[cluster] {own} on all machines"
            ) from None
        if theirs != own:
            raise HtsatEdgeError(f"--ray: {name} has htsat-edge {theirs}, and this machine {own}; install the same")
        if missing:
            raise HtsatEdgeError(
                f"--ray: {name} does not see {missing[0]}; put it on storage that all machines have at the same path"
            )
    resources = cluster.cluster_resources()
    workers = int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 0))
    if workers < 1:
        raise HtsatEdgeError(f"--ray: the cluster has no {'GPU' if gpus else 'CPU'}; start its machines with some")
    return workers


def _look(paths: list[str]) -> tuple[str, list[str]]:
    """Return the version of htsat-edge on a machine, and which of the paths are not there."""
    return _version(), [path for path in paths if not Path(path).exists()]


def _version() -> str:
    return installed_versions("htsat-edge").get("htsat-edge", "from a checkout")
