"""`make bench-serve`: this service against `mlflow models serve`, BentoML and a bare FastAPI route, on this machine.

All score the same 200 entities with the same model and one worker each, in their default configuration; logs are
discarded and telemetry is off. They do not do the same work. This service parses a request, looks up the entity's
features, and responds when the prediction is on disk. MLflow's and BentoML's servers receive the complete row of
features, look up nothing and store nothing. The bare route parses the request and returns a constant: no service that
parses with FastAPI can be faster.

Writes reports/bench_serving.json and .png. Absolute numbers depend on the machine, which wrk shares; ratios much less.
"""

import os
from collections.abc import Mapping
from typing import Any

from bench import entities, servers
from bench.environments import make_environment
from bench.load import Load
from bench.server_comparison import ServerRun, compare_servers, rounded
from bench.servers import ALONE, BUSY, CONNECTIONS, LIST_CONNECTIONS, LISTS
from ontime import figures, operation_plots
from ontime.online import request_matrix
from pipelines.layout import REPORTS, write_json

ROUNDS = 3
WARM_UP, SECONDS = 2, 5
LABELS = {"ontime": "this service", "mlflow": "mlflow models serve", "bentoml": "BentoML", "bare": "bare FastAPI route"}


def expected_probability() -> float:
    """The current release's probability for the first entity."""
    first, release = entities.evenly_spaced(servers.ENTITIES)[:1], entities.current_release()
    return float(release.model.predict(request_matrix(first, [entities.stored(first)[0].online], release))[0])


def report_of(runs: Mapping[str, ServerRun]) -> dict[str, Any]:
    ours, two = runs["ontime"], runs["two workers"]
    return {
        "cores": os.cpu_count(),
        "seconds": SECONDS,
        "rounds": ROUNDS,
        "servers": {
            name: {
                "seconds_to_ready": round(runs[name].seconds_to_ready, 2),
                "memory_mb": round(runs[name].memory_mb),
                "by_connections": {str(each): rounded(runs[name].loads[str(each)]) for each in CONNECTIONS},
            }
            for name in LABELS
        },
        "goals": {
            **_goals({name: runs[name].loads for name in LABELS}),
            "errors": sum(each.errors for run in (ours, two) for each in run.loads.values()),
        },
        "workers": {"1": rounded(ours.loads[BUSY]), "2": rounded(two.loads[BUSY])},
        "lists": {str(size): _in_entities(size, ours.loads[f"list of {size}"]) for size in LISTS},
    }


def _goals(loads: Mapping[str, Mapping[str, Load]]) -> dict[str, float]:
    """This service's metrics as ratios to the others', with the most connections; `alone`: with one."""
    ours, mlflow, bare = (loads[name][BUSY] for name in ("ontime", "mlflow", "bare"))
    alone, mlflow_alone, bare_alone = (loads[name][ALONE] for name in ("ontime", "mlflow", "bare"))
    return {
        "throughput_against_mlflow": round(ours.requests_per_second / mlflow.requests_per_second, 2),
        "p99_against_mlflow": round(ours.p99_ms / mlflow.p99_ms, 2),
        "share_of_bare": round(ours.requests_per_second / bare.requests_per_second, 2),
        "cpu_against_bare": round(ours.cpu_us / bare.cpu_us, 2),
        "throughput_against_mlflow_alone": round(alone.requests_per_second / mlflow_alone.requests_per_second, 2),
        "p50_against_mlflow_alone": round(alone.p50_ms / mlflow_alone.p50_ms, 2),
        "cpu_against_bare_alone": round(alone.cpu_us / bare_alone.cpu_us, 2),
    }


def _in_entities(size: int, load: Load) -> dict[str, float]:
    figures = rounded(load)
    del figures["requests_per_second"]
    rate = {"entities_per_second": round(size * load.requests_per_second)}
    return {**rate, **figures, "cpu_us": round(load.cpu_us / size)}


def draw_serving(report: Mapping[str, Any]) -> None:
    """reports/bench_serving.png, from the contents of reports/bench_serving.json."""
    curves = {
        name: {
            int(connections): (load["requests_per_second"], load["p99_ms"])
            for connections, load in each["by_connections"].items()
        }
        for name, each in report["servers"].items()
    }
    figures.save(operation_plots.serving(curves, LABELS), REPORTS / "bench_serving.png")


def print_serving(report: Mapping[str, Any]) -> None:
    loads = {LABELS[name]: each["by_connections"] for name, each in report["servers"].items()}
    loads["this service, 2 workers"] = {BUSY: report["workers"]["2"]}
    _head("one entity a request", "connections", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU us", "errors")
    for label, by_connections in loads.items():
        for connections, load in by_connections.items():
            print(f"{label:<24}{connections:>13}{_figures(load, 'requests_per_second')}")
    _head("this service", "connections", "entities/s", "p50 ms", "p95 ms", "p99 ms", "CPU us", "errors")
    for size, load in report["lists"].items():
        print(f"{'lists of ' + size:<24}{LIST_CONNECTIONS:>13}{_figures(load, 'entities_per_second')}")
    _head("", "ready after s", "memory MB")
    for name, each in report["servers"].items():
        print(f"{LABELS[name]:<24}{each['seconds_to_ready']:>13}{each['memory_mb']:>12}")
    goals = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report["goals"].items())
    print(f"\nthis service over {BUSY} connections: {goals}")


def _head(what: str, first: str, second: str, *others: str) -> None:
    print(f"\n{what:<24}{first:>13}{second:>12}" + "".join(f"{other:>9}" for other in others))


def _figures(load: Mapping[str, Any], rate: str) -> str:
    names = ("p50_ms", "p95_ms", "p99_ms", "cpu_us", "errors")
    return f"{load[rate]:>12,}" + "".join(f"{load[name]:>9}" for name in names)


def main() -> None:
    make_environment(servers.LOCK, servers.ENVIRONMENT)
    runs = compare_servers(
        servers.serving_contenders(), rounds=ROUNDS, warm_up=WARM_UP, seconds=SECONDS, expected=expected_probability()
    )
    report = report_of(runs)
    write_json(REPORTS / "bench_serving.json", report)
    draw_serving(report)
    print_serving(report)


if __name__ == "__main__":
    main()
