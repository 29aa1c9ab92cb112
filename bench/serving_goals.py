"""The goals of `make bench-serve`: a figure of each round, its median over the rounds, and its limit.

A ratio is that of two servers within one round, because the machine may be slower in another one.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.server_comparison import ServerRun
from bench.servers import ALONE, BUSY

Rounds = Mapping[str, Sequence[ServerRun]]  # contender -> its rounds


class Goal(NamedTuple):
    load: str
    figure: str
    of_each_round: Callable[[Rounds], list[float]]
    limit: float
    is_minimum: bool = False
    digits: int = 2
    needs_own_core: bool = False  # a load tool that shares the cores with the server could cause a miss


def ratio_of(figure: str, label: str, server: str, other: str) -> Callable[[Rounds], list[float]]:
    """The figure of one server over that of the other one, under the load with this label."""

    def ratios(rounds: Rounds) -> list[float]:
        pairs = zip(rounds[server], rounds[other], strict=True)
        return [getattr(mine.loads[label], figure) / getattr(its.loads[label], figure) for mine, its in pairs]

    return ratios


def list_rate(size: int) -> Callable[[Rounds], list[float]]:
    """Entities per second in lists of this size."""
    return lambda rounds: [size * run.loads[f"list of {size}"].requests_per_second for run in rounds["ontime"]]


RATE, CPU = "requests_per_second", "cpu_us"
GOALS = {
    "rate_alone": Goal(
        "1 connection", "requests/s, times MLflow's", ratio_of(RATE, ALONE, "ontime", "mlflow"), 1.3, is_minimum=True
    ),
    "p50_alone": Goal("1 connection", "p50, times MLflow's", ratio_of("p50_ms", ALONE, "ontime", "mlflow"), 1.0),
    "cpu_alone": Goal("1 connection", "CPU time, times the bare route's", ratio_of(CPU, ALONE, "ontime", "bare"), 3.0),
    "rate_16": Goal(
        "16 connections", "requests/s, times MLflow's", ratio_of(RATE, "16", "ontime", "mlflow"), 4.0, is_minimum=True
    ),
    "p99_16": Goal(
        "16 connections", "p99, times MLflow's", ratio_of("p99_ms", "16", "ontime", "mlflow"), 0.1, digits=3
    ),
    "rate_busy": Goal(
        "64 connections", "requests/s, times MLflow's", ratio_of(RATE, BUSY, "ontime", "mlflow"), 6.0, is_minimum=True
    ),
    "p99_busy": Goal(
        "64 connections", "p99, times MLflow's", ratio_of("p99_ms", BUSY, "ontime", "mlflow"), 0.1, digits=3
    ),
    "rate_of_bare": Goal(
        "64 connections",
        "requests/s, times the bare route's",
        ratio_of(RATE, BUSY, "ontime", "bare"),
        1.0,
        is_minimum=True,
    ),
    "cpu_busy": Goal("64 connections", "CPU time, times the bare route's", ratio_of(CPU, BUSY, "ontime", "bare"), 1.0),
    "rate_postgresql": Goal(
        "64 connections, PostgreSQL",
        "requests/s, times MLflow's",
        ratio_of(RATE, BUSY, "postgresql", "mlflow"),
        3.0,
        is_minimum=True,
    ),
    "two_workers": Goal(
        "64 connections, 2 workers",
        "requests/s, times one worker's",
        ratio_of(RATE, BUSY, "two workers", "one worker"),
        1.7,
        is_minimum=True,
        needs_own_core=True,
    ),
    "lists": Goal("lists of 1000, 4 connections", "entities/s", list_rate(1000), 40_000, is_minimum=True, digits=0),
    "seconds_to_ready": Goal(
        "start", "seconds to ready", lambda rounds: [run.seconds_to_ready for run in rounds["ontime"]], 0.5
    ),
    "memory_mb": Goal(
        "after the load", "memory, MB", lambda rounds: [run.memory_mb for run in rounds["ontime"]], 130, digits=0
    ),
}


def spread_of(figures: Sequence[float], digits: int = 2) -> dict[str, float]:
    """The median over the rounds, the lowest and the highest."""
    spread = {"median": statistics.median(figures), "lowest": min(figures), "highest": max(figures)}
    return {name: round(value, digits) for name, value in spread.items()}


def spread_in_words(spread: Mapping[str, float], digits: int = 2) -> str:
    """A spread for a table or a sentence.

    >>> spread_in_words({"median": 5.3, "lowest": 4.912, "highest": 5.8})
    '5.30 (4.91 to 5.80)'
    """
    median, lowest, highest = (f"{spread[name]:,.{digits}f}" for name in ("median", "lowest", "highest"))
    return f"{median} ({lowest} to {highest})"


def results_of(rounds: Rounds, *, has_own_core: bool) -> dict[str, dict[str, Any]]:
    """The spread of each goal's figure, and whether its median meets the limit. `has_own_core`: the load tool."""
    results: dict[str, dict[str, Any]] = {}
    for name, goal in GOALS.items():
        spread = spread_of(goal.of_each_round(rounds), goal.digits)
        is_met = spread["median"] >= goal.limit if goal.is_minimum else spread["median"] <= goal.limit
        is_unknown = not is_met and goal.needs_own_core and not has_own_core
        results[name] = {**spread, "limit": goal.limit, "is_met": None if is_unknown else is_met}
    return results


VERDICTS = {True: "met", False: "missed", None: "not known: the load tool shares the cores"}


def goal_cells(name: str, result: Mapping[str, Any]) -> list[str]:
    """A row of the table of goals: load, figure, goal, median with the lowest and the highest, verdict."""
    goal = GOALS[name]
    limit = f"at {'least' if goal.is_minimum else 'most'} {goal.limit:,g}"
    return [goal.load, goal.figure, limit, spread_in_words(result, goal.digits), VERDICTS[result["is_met"]]]
