"""`make bench-serve`: this service against `mlflow models serve`, BentoML and a bare FastAPI route, on this machine.

All score the same 200 entities with the same model and one worker each, in their default configuration; logs are
discarded and telemetry is off. They do not do the same work. This service parses a request, looks up the entity's
features, and responds when the prediction is on disk, in SQLite or in PostgreSQL. MLflow's and BentoML's servers
receive the complete row of features, look up nothing and store nothing. The bare route parses the request and returns
a constant: no service that parses with FastAPI can be faster.

Writes reports/bench_serving.json and .png. Absolute numbers depend on the machine, which wrk shares; ratios much less.
"""

import os
from collections.abc import Mapping
from typing import Any

from bench import entities, servers, serving_goals
from bench.environments import make_environment
from bench.load import Load
from bench.server_comparison import compare_servers, median_run, rounded
from bench.servers import BUSY, CONNECTIONS, LIST_CONNECTIONS, LISTS
from bench.serving_goals import Rounds
from ontime import figures, operation_plots
from ontime.online import request_matrix
from pipelines.layout import REPORTS, write_json
from tests import postgres

ROUNDS = 5
WARM_UP, SECONDS = 1, 3
LABELS = {
    "ontime": "this service",
    "postgresql": "this service, PostgreSQL",
    "mlflow": "mlflow models serve",
    "bentoml": "BentoML",
    "bare": "bare FastAPI route",
}
OURS = ("ontime", "postgresql", "one worker", "two workers")


def expected_probability() -> float:
    """The current release's probability for the first entity."""
    first, release = entities.evenly_spaced(servers.ENTITIES)[:1], entities.current_release()
    return float(release.model.predict(request_matrix(first, [entities.stored(first)[0].online], release))[0])


def serving_report(rounds: Rounds, *, has_own_core: bool) -> dict[str, Any]:
    """`has_own_core`: the load tool, where one worker is compared with two."""
    middle = {name: median_run(runs) for name, runs in rounds.items()}
    return {
        "cores": os.cpu_count(),
        "seconds": SECONDS,
        "rounds": ROUNDS,
        "servers": {
            name: {
                "seconds_to_ready": round(middle[name].seconds_to_ready, 2),
                "memory_mb": round(middle[name].memory_mb),
                "by_connections": {
                    label: rounded(load) for label, load in middle[name].loads.items() if label in map(str, CONNECTIONS)
                },
            }
            for name in LABELS
        },
        "goals": serving_goals.results_of(rounds, has_own_core=has_own_core),
        "errors": sum(load.errors for name in OURS for load in middle[name].loads.values()),
        "workers": {
            "load_tool_on_its_own_core": has_own_core,
            "1": _with_cpu_rate(middle["one worker"].loads[BUSY]),
            "2": _with_cpu_rate(middle["two workers"].loads[BUSY]),
            "cpu_ratio": serving_goals.spread_of(
                serving_goals.ratio_of("cpu_us", BUSY, "two workers", "one worker")(rounds)
            ),
        },
        "lists": {str(size): _in_entities(size, middle["ontime"].loads[f"list of {size}"]) for size in LISTS},
    }


def _with_cpu_rate(load: Load) -> dict[str, float]:
    return {**rounded(load), "requests_per_cpu_second": round(1e6 / load.cpu_us)}


def _in_entities(size: int, load: Load) -> dict[str, float]:
    figures = rounded(load)
    del figures["requests_per_second"]
    rate = {"entities_per_second": round(size * load.requests_per_second)}
    return {**rate, **figures, "cpu_us": round(load.cpu_us / size), "other_cpu_us": round(load.other_cpu_us / size)}


def draw_serving(report: Mapping[str, Any]) -> None:
    """reports/bench_serving.png, from the contents of reports/bench_serving.json."""
    curves = {
        name: {
            int(connections): (load["requests_per_second"], load["p99_ms"])
            for connections, load in each["by_connections"].items()
        }
        for name, each in report["servers"].items()
        if len(each["by_connections"]) == len(CONNECTIONS)
    }
    figures.save(operation_plots.serving(curves, LABELS), REPORTS / "bench_serving.png")


COLUMNS = {
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "p99_9_ms": "p99.9 ms",
    "longest_ms": "longest",
    "cpu_us": "CPU us",
    "errors": "errors",
}


def print_serving(report: Mapping[str, Any]) -> None:
    loads = {LABELS[name]: each["by_connections"] for name, each in report["servers"].items()}
    for workers, label in (("1", "this service, 1 worker"), ("2", "this service, 2 workers")):
        loads[label] = {BUSY: report["workers"][workers]}
    _head("one entity a request", "connections", "requests/s", *COLUMNS.values())
    for label, by_connections in loads.items():
        for connections, load in by_connections.items():
            print(f"{label:<25}{connections:>12}{_figures(load, 'requests_per_second')}")
    _head("this service", "connections", "entities/s", *COLUMNS.values())
    for size, load in report["lists"].items():
        print(f"{'lists of ' + size:<25}{LIST_CONNECTIONS:>12}{_figures(load, 'entities_per_second')}")
    _head("", "ready after s", "memory MB")
    for name, each in report["servers"].items():
        print(f"{LABELS[name]:<25}{each['seconds_to_ready']:>12}{each['memory_mb']:>12}")
    workers, database = report["workers"], report["servers"]["postgresql"]["by_connections"][BUSY]["other_cpu_us"]
    print(f"\nCPU us a request of PostgreSQL itself: {database}")
    print(f"requests a CPU second: 1 worker {workers['1']['requests_per_cpu_second']:,}, ", end="")
    print(f"2 workers {workers['2']['requests_per_cpu_second']:,}; ", end="")
    print(f"the load tool {'has its own core' if workers['load_tool_on_its_own_core'] else 'shares the cores'}")
    print(f"\n{'goal':<62}{'limit':<17}{'median (lowest to highest)':<30}")
    for name, result in report["goals"].items():
        load, figure, limit, spread, verdict = serving_goals.goal_cells(name, result)
        print(f"{load + ': ' + figure:<62}{limit:<17}{spread:<30}{verdict}")
    print(f"{report['errors']} errors of this service")


def _head(what: str, first: str, second: str, *others: str) -> None:
    print(f"\n{what:<25}{first:>12}{second:>12}" + "".join(f"{other:>9}" for other in others))


def _figures(load: Mapping[str, Any], rate: str) -> str:
    return f"{load[rate]:>12,}" + "".join(f"{load[name]:>9}" for name in COLUMNS)


def main() -> None:
    make_environment(servers.LOCK, servers.ENVIRONMENT)
    prefixes = servers.separate_cores(sorted(os.sched_getaffinity(0)))
    with postgres.running(durable=True) as database:
        rounds = compare_servers(
            servers.serving_contenders(database, prefixes),
            rounds=ROUNDS,
            warm_up=WARM_UP,
            seconds=SECONDS,
            expected=expected_probability(),
        )
    report = serving_report(rounds, has_own_core=bool(prefixes.load_tool))
    write_json(REPORTS / "bench_serving.json", report)
    draw_serving(report)
    print_serving(report)


if __name__ == "__main__":
    main()
