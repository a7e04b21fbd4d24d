"""The way to a cluster of Ray's, which is an extra: it is imported when it is asked for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clbench.doors import is_installed
from clbench.errors import InputError


@contextmanager
def ray_cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected to the cluster at ``address``; to one of this machine alone where it is None and none is known.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        if not is_installed("ray"):
            raise ImportError("it is not installed")
        import ray
    except ImportError as error:
        raise InputError(f"--on ray needs Ray ({error}): pip install 'clbench[ray]'") from error
    if address is not None and "://" in address:
        raise InputError(
            f"--address {address!r} is not allowed; allowed: auto or HOST:PORT, from a machine of the cluster"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    begun = not ray.is_initialized()
    if begun:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"there is no cluster of Ray's at {address or 'this machine'!r}: {reason}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():  # Ray puts its own in their place
                    signal.signal(number, handler)
    try:
        yield ray
    finally:
        if begun:
            ray.shutdown()


def living_nodes(ray: Any) -> list[dict[str, float]]:
    """What each node of the cluster has."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
