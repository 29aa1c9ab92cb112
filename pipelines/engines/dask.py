"""Dask: a cluster of processes of this machine, or with ONTIME_ENGINE_ADDRESS the scheduler at that address.

The address is such as `tls://scheduler:8786`; Dask reads certificates and everything else from its own configuration.
Workers on other machines need this repository, the packages of requirements/dask.txt, and ONTIME_SHARED_STORAGE.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import dask
from distributed import Client, Future, KilledWorker, LocalCluster

from ontime.settings import load_settings
from pipelines.engines.engine_error import EngineRefused
from pipelines.engines.local import AT_ONCE, worker_count

RESTART_SECONDS = 60
# None: not set. With Dask's value glibc gives every large array back to the system at once, which doubled the CPU time
# of stage features in a trial.
MALLOC_TRIM = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def _client() -> Iterator[Client]:
    address = load_settings().engine_address
    if address is not None:
        with Client(address) as client:
            yield client
        return
    # TLS with temporary keys, because anybody on this machine could otherwise give the workers code to run. The page
    # with the cluster's state cannot be switched off; `:0` is any free port instead of 8787.
    with (
        dask.config.set(MALLOC_TRIM),
        LocalCluster(
            n_workers=worker_count(),
            threads_per_worker=1,
            protocol="tls://",
            security=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        try:
            yield client
        finally:
            # Dask fails to close a cluster in which it is just restarting a lost worker.
            with suppress(TimeoutError):
                client.wait_for_workers(worker_count(), timeout=RESTART_SECONDS)


def map_parts(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """As `engines.map_parts`. Dask gives the part of a lost worker to another one, three times."""
    with _client() as client:
        waiting = deque[Future]()
        try:
            for part in parts:
                # `pure=False`: a part is worked on even if the cluster has once had an equal one.
                waiting.append(client.submit(work, part, pure=False))
                if len(waiting) >= AT_ONCE * max(sum(client.nthreads().values()), 1):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KilledWorker as killed:
            raise EngineRefused(f"Dask: {killed}") from None
