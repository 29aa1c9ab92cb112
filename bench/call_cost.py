"""What a call costs: wall-clock time, and CPU time of this process and of the server that it asks.

Standard library only, because it also runs in environments of their own.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

Argument = TypeVar("Argument")


class CallCost(NamedTuple):
    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float


def no_server() -> float:
    """The CPU time of a server that does not exist."""
    return 0.0


def cost_of_calls(
    call: Callable[[Argument], object], arguments: Iterable[Argument], server_cpu: Callable[[], float] = no_server
) -> CallCost:
    """The cost of one call: the median of the seconds, the means of the CPU times.

    `server_cpu` returns the CPU seconds of the server so far. CPU time includes all threads of this process.
    """
    seconds = []
    cpu_before, server_before = time.process_time(), server_cpu()
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        seconds.append(time.perf_counter() - start)
    cpu, server = time.process_time() - cpu_before, server_cpu() - server_before
    return CallCost(statistics.median(seconds), cpu / len(seconds), server / len(seconds))


def median_cost(costs: Iterable[CallCost]) -> CallCost:
    """The median of each figure, over rounds."""
    return CallCost(*(statistics.median(figures) for figures in zip(*costs, strict=True)))
