"""Processes of this machine, which end with the process that started them. The default engine."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

import joblib

from pipelines.engines.engine_error import EngineRefused

MOST_WORKERS = 4  # a part may take hundreds of megabytes in each, and a laptop has 8 GB
AT_ONCE = 2  # parts for each worker that are taken from the input before they are needed
MOST_LOSSES = 3

Part = TypeVar("Part")
Result = TypeVar("Result")


def end_with_parent() -> None:
    """Exit when the parent process ends: a pool's worker would otherwise outlive a killed parent."""
    parent = parent_process()
    if parent is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def worker_count() -> int:
    return min(joblib.cpu_count(), MOST_WORKERS)


def map_parts(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """As `engines.map_parts`. A single part is worked on in this process.

    After a lost worker half as many go on, because the usual reason is that memory ran out.
    """
    rest = iter(parts)
    first = list(islice(rest, worker_count()))
    rest = chain(first, rest)
    count, losses = len(first), 0
    if count <= 1:
        yield from map(work, rest)
        return
    waiting = deque[Part]()
    while True:
        pool = _pool(count)
        try:
            futures = deque[Future[Result]](pool.submit(work, part) for part in waiting)
            while True:
                for part in islice(rest, max(AT_ONCE * count - len(waiting), 0)):
                    waiting.append(part)
                    futures.append(pool.submit(work, part))
                if not futures:
                    return
                result = futures[0].result()
                futures.popleft()
                waiting.popleft()
                yield result
        except BrokenProcessPool:
            losses, count = losses + 1, max(count // 2, 1)
            if losses > MOST_LOSSES:
                raise EngineRefused(
                    f"a process that worked on {_shortened(waiting[0])} or the parts after it was killed {losses} "
                    "times, probably because memory ran out: choose smaller parts, or a machine with more memory"
                ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _pool(count: int) -> ProcessPoolExecutor:
    # A fork has all imports already; macOS cannot fork safely once its frameworks have started threads.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(count, context, initializer=end_with_parent)


def _shortened(part: object) -> str:
    text = str(part)
    return text if len(text) <= 100 else f"{text[:100]}..."
