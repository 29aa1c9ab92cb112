"""Measures several servers under load, one at a time in turn, so that changes of the machine affect all of them."""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bench import load
from bench.load import Load
from pipelines.operations.local_server import free_port

VAR = Path("var")  # on disk: /tmp may be in memory, where durable writes cost nothing


class Launch(NamedTuple):
    command: Sequence[str]
    env: Mapping[str, str]


class LoadTask(NamedTuple):
    connections: int
    bodies: list[str]


@dataclass(frozen=True)
class Contender:
    launch: Callable[[int, Path], Launch]  # takes a free port and an empty folder
    ready: str  # the path of its readiness probe
    path: str
    tasks: Mapping[str, LoadTask]
    probability: Callable[[Any], float] | None = None  # extracts it from a response


class ServerRun(NamedTuple):
    seconds_to_ready: float
    memory_mb: float  # after the load
    loads: dict[str, Load]


def compare_servers(
    contenders: Mapping[str, Contender], *, rounds: int, warm_up: int, seconds: int, expected: float | None = None
) -> dict[str, ServerRun]:
    """The medians of all rounds; every round restarts every server.

    `expected` is the probability that each server must return for its first body, so that all serve the same model.
    """
    runs: dict[str, list[ServerRun]] = {name: [] for name in contenders}
    total = rounds * sum(len(contender.tasks) for contender in contenders.values())
    with tqdm(total=total, desc="bench", disable=None) as bar:
        for _ in range(rounds):
            for name, contender in contenders.items():
                bar.set_postfix_str(name)
                runs[name].append(_run(contender, warm_up, seconds, expected, bar))
    return {name: _median(each) for name, each in runs.items()}


def _run(contender: Contender, warm_up: int, seconds: int, expected: float | None, bar: "tqdm[Any]") -> ServerRun:
    loads = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=VAR.resolve(), ignore_cleanup_errors=True) as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}{contender.path}"
        launch = contender.launch(port, Path(folder))
        with load.running_server(launch.command, launch.env, port, contender.ready) as server:
            for label, task in contender.tasks.items():
                _check(load.post(url, task.bodies[0]), contender, expected)
                load.measure_load(url, task.bodies, task.connections, warm_up, server.cpu_seconds)
                loads[label] = load.measure_load(url, task.bodies, task.connections, seconds, server.cpu_seconds)
                bar.update()
            return ServerRun(server.seconds_to_ready, server.memory_mb, loads)


def _check(answer: Any, contender: Contender, expected: float | None) -> None:
    if expected is None or contender.probability is None:
        return
    probability = contender.probability(answer)
    if abs(probability - expected) > 1e-5:
        raise SystemExit(f"bench: {contender.path} returns {probability} instead of {expected}: another model?")


def _median(runs: Sequence[ServerRun]) -> ServerRun:
    return ServerRun(
        statistics.median(run.seconds_to_ready for run in runs),
        statistics.median(run.memory_mb for run in runs),
        {label: load.median([run.loads[label] for run in runs]) for label in runs[0].loads},
    )


def rounded(measured: Load) -> dict[str, float]:
    """Rounded for a report: whole requests and microseconds, hundredths of milliseconds."""
    figures = {name: round(value, 2) for name, value in measured._asdict().items()}
    whole = {name: round(figures[name]) for name in ("requests_per_second", "cpu_us", "errors")}
    return figures | whole
