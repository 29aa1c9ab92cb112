"""Measures several servers under load, one at a time in turn, so that changes of the machine affect all of them.

Servers without load stay idle beside the one that is measured.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bench import load
from bench.call_cost import no_server
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
    other_cpu: Callable[[], float] = no_server  # CPU seconds so far of a server that it asks
    load_prefix: Sequence[str] = ()  # of the load tool's command


class ServerRun(NamedTuple):
    """One server in one round."""

    seconds_to_ready: float
    memory_mb: float  # after its last load
    loads: dict[str, Load]


def compare_servers(
    contenders: Mapping[str, Contender], *, rounds: int, warm_up: int, seconds: int, expected: float | None = None
) -> dict[str, list[ServerRun]]:
    """The rounds of each server. Every round starts all servers, which take turns: backwards in every second round.

    Before that, each one runs alone for its start and its memory: pages that others share would count in part.
    `expected` is the probability that each server must return for its first body, so that all serve the same model.
    """
    runs: dict[str, list[ServerRun]] = {name: [] for name in contenders}
    total = rounds * sum(len(contender.tasks) for contender in contenders.values())
    with tqdm(total=total, desc="bench", disable=None) as bar:
        for number in range(rounds):
            turns = [*contenders.items()][:: -1 if number % 2 else 1]
            for name, run in _run_round(dict(turns), warm_up, seconds, expected, bar).items():
                runs[name].append(run)
    return runs


def _run_round(
    contenders: Mapping[str, Contender], warm_up: int, seconds: int, expected: float | None, bar: "tqdm[Any]"
) -> dict[str, ServerRun]:
    loads: dict[str, dict[str, Load]] = {name: {} for name in contenders}
    labels = dict.fromkeys(label for contender in contenders.values() for label in contender.tasks)
    starts = {name: _start_alone(contender, warm_up) for name, contender in contenders.items()}
    with ExitStack() as stack:
        started = {name: stack.enter_context(_started(contender)) for name, contender in contenders.items()}
        for label in labels:
            for name, contender in contenders.items():
                if (task := contender.tasks.get(label)) is None:
                    continue
                bar.set_postfix_str(f"{name}, {label}")
                url, server = started[name]
                _check(load.post(url, task.bodies[0]), contender, expected)
                for duration in (warm_up, seconds):  # the second one counts
                    loads[name][label] = load.measure_load(
                        url,
                        task.bodies,
                        task.connections,
                        duration,
                        server.cpu_seconds,
                        contender.other_cpu,
                        contender.load_prefix,
                    )
                bar.update()
    return {name: ServerRun(*starts[name], loads[name]) for name in contenders}


def _start_alone(contender: Contender, seconds: int) -> tuple[float, float]:
    """Seconds to ready, and the memory in MB after so many seconds of its last load."""
    with _started(contender) as (url, server):
        *_, task = contender.tasks.values()
        load.measure_load(url, task.bodies, task.connections, seconds, server.cpu_seconds)
        return server.seconds_to_ready, server.memory_mb


@contextmanager
def _started(contender: Contender) -> Iterator[tuple[str, load.Server]]:
    """The URL of a running server, and its process."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=VAR.resolve(), ignore_cleanup_errors=True) as folder:
        port = free_port()
        launch = contender.launch(port, Path(folder))
        with load.running_server(launch.command, launch.env, port, contender.ready) as server:
            yield f"http://127.0.0.1:{port}{contender.path}", server


def _check(answer: Any, contender: Contender, expected: float | None) -> None:
    if expected is None or contender.probability is None:
        return
    probability = contender.probability(answer)
    if abs(probability - expected) > 1e-5:
        raise SystemExit(f"bench: {contender.path} returns {probability} instead of {expected}: another model?")


def median_run(runs: Sequence[ServerRun]) -> ServerRun:
    """The median of each figure, over rounds."""
    return ServerRun(
        statistics.median(run.seconds_to_ready for run in runs),
        statistics.median(run.memory_mb for run in runs),
        {label: load.median([run.loads[label] for run in runs]) for label in runs[0].loads},
    )


def rounded(measured: Load) -> dict[str, float]:
    """Rounded for a report: whole requests and microseconds, hundredths of milliseconds."""
    figures = {name: round(value, 2) for name, value in measured._asdict().items()}
    whole = {name: round(figures[name]) for name in ("requests_per_second", "cpu_us", "other_cpu_us", "errors")}
    return figures | whole
