"""Processes that work on parts of a task side by side, and end with the process that started them."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

import joblib

MOST_WORKERS = 4  # a part may take hundreds of megabytes in each, and a laptop has 8 GB

Part = TypeVar("Part")
Result = TypeVar("Result")


def end_with_parent() -> None:
    """Exit when the parent process ends: a pool's worker would otherwise outlive a killed parent."""
    parent = parent_process()
    if parent is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def map_parts(work: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
    """`work` of each part in a process of its own core, in the order of the parts. Raises what `work` raises."""
    count = min(joblib.cpu_count(), len(parts), MOST_WORKERS)
    if count <= 1:
        yield from map(work, parts)
        return
    # A fork has all imports already; macOS cannot fork safely once its frameworks have started threads.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(count, context, initializer=end_with_parent) as pool:
        yield from pool.map(work, parts)
