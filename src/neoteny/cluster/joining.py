"""Joining a cluster of Ray, or starting one on this machine."""

import os
import re
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from neoteny import sweep
from neoteny.errors import UserError

SECONDS = 5.0  # to wait for an address to answer, as Ray itself would do for many minutes
STORE_BYTES = 100 * 2**20  # of a Ray started here: what is passed around is short texts

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # else it prints of dead workers on standard output
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the future default, else it warns
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` uploads the folder it is called in
    "RAY_memory_monitor_refresh_ms": "0",  # else it kills workers for memory that others took
    "RAY_worker_niceness": "0",  # else workers give way to everything else on the machine
}
"""What keeps Ray to itself while it is imported and started."""


def check(on: str) -> None:
    """Refuse a place that is no cluster of Ray, and one where Ray is not installed here.

    **Arguments:**

    - `on`: `ray` for the cluster that this process is connected to, else that of `RAY_ADDRESS`,
      else one that is started on this machine; `ray://HOST:PORT` for a cluster as seen from
      outside, `HOST:PORT` for one that this machine is part of.
    """
    if on != "ray" and not re.fullmatch(r"(ray://)?([\w.-]+|\[[\da-fA-F:]+\]):\d{1,5}", on):
        raise UserError(
            f"`on` is {on!r}, but runs are carried out on local, slurm, ray, ray://HOST:PORT (as "
            "ray://head:10001) or HOST:PORT (as head:6379)."
        )
    if find_spec("ray") is None:
        raise UserError(f"`on` is {on}, which needs Ray: `pip install 'neoteny[ray]'`.")


@contextmanager
def joined(on: str, jobs: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected; what was connected or started for this is undone at the end.

    A Ray that is started has a CPU for each core here, or for each of `jobs` if these are more.
    """
    check(on)
    with _environment(QUIET):
        import ray

        if not ray.is_initialized():
            before = signal.getsignal(signal.SIGTERM)  # which Ray replaces
            try:
                _connect(ray, on, jobs or 1)
                yield ray
            finally:
                ray.shutdown()
                if signal.getsignal(signal.SIGTERM) is not before:
                    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        elif on == "ray":
            yield ray
        else:
            raise UserError(
                f"`on` is {on}, but this process is connected to a Ray already. Pass on='ray' to "
                "use that, or call `ray.shutdown()` first."
            )


def _connect(ray: Any, on: str, jobs: int) -> None:
    address = (os.environ.get("RAY_ADDRESS") or "local") if on == "ray" else on
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"num_cpus": max(sweep.cores(), jobs), "include_dashboard": False}
        options |= {"object_store_memory": STORE_BYTES}
    try:
        if found := re.fullmatch(r"(?:ray://)?\[?(.+?)\]?:(\d+)", address):
            socket.create_connection((found[1], int(found[2])), timeout=SECONDS).close()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX's; it execs at once
            ray.init(address, **options)
    except Exception as error:
        told = " ".join(str(error).split()).rstrip(".")
        if address == "local":
            raise UserError(f"`on` is {on}, but Ray does not start here: {told}.") from error
        raise UserError(
            f"`on` is {on}, but no Ray can be joined at {address}: {told}. `ray start --head` "
            "starts one, and says its address."
        ) from error


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The process's environment with `values` where it has none of its own; then as it was."""
    before = dict(os.environ)
    os.environ.update(values | before)
    try:
        yield
    finally:  # Ray adds to it, too
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
