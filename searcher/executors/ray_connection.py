"""Joining a Ray cluster, or starting one of this machine alone; silently, and without waiting in vain."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput

# Read by Ray when it is imported. What it prints about dead workers would tear our screen, and we say it ourselves.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray as ray  # for others, too: nobody else needs to know what to do where it is missing
except ImportError as missing:
    raise InvalidInput(
        f'the executor ray needs the package ray, but {missing}; use pip install "bhvit-searcher[ray]".'
    ) from missing

STORE_BYTES = 100 * 2**20  # memory of a local Ray's object store: only messages go through it
PROBE_S = 5.0
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
CURRENT_CLUSTER = "ray/ray_current_cluster"  # in the temporary folder: where `ray start` notes the head's address


def connect(address: str | None, cpus: float) -> None:
    """Join the cluster at `address` (`HOST:PORT` or `auto`), or start one here that has at least `cpus` CPUs.

    Raises `InvalidInput` where that fails; where nobody listens, at once (Ray would wait for minutes).
    """
    try:
        with _sigterm_unchanged():
            if address is None:
                count = max(os.cpu_count() or 1, math.ceil(cpus))
                ray.init("local", num_cpus=count, include_dashboard=False, object_store_memory=STORE_BYTES, **QUIET)
            else:
                _probe(address)
                ray.init(address, **QUIET)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        if address is None:
            raise InvalidInput(
                f"Ray must be able to start on this machine, but {reason}; see /tmp/ray/session_latest/logs."
            ) from error
        raise InvalidInput(
            f"a Ray cluster must run at {address} and this machine be part of it, but {reason}; use ray start --head "
            "here, or ray start --address=HOST:PORT where the head is elsewhere."
        ) from error


def machines() -> Iterator[Mapping[str, float]]:
    """The resources of every living node of the cluster."""
    return (node["Resources"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]


def _probe(address: str) -> None:
    """Raise `OSError` or `ValueError` where nobody listens at `address`, or at the one that Ray takes for `auto`."""
    if address == "auto":
        folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
        note = Path(folder, CURRENT_CLUSTER)
        address = os.environ.get("RAY_ADDRESS") or (note.read_text().strip() if note.exists() else "")
        if not address:
            return  # Ray looks for processes of this machine, which takes no time
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        raise ValueError(f"{address!r} is not HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()


@contextmanager
def _sigterm_unchanged() -> Iterator[None]:
    """Keep what SIGTERM does; Ray would replace it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
