"""Why uvicorn, pydantic and orjson: what else there is, measured on the same route, the same body, the same answer.

Two servers under bench/bare.py, one worker and one event loop (uvloop) each; and the ways from a body to an entity
and from an answer to a body (bench/codecs.py). Writes reports/bench_stack.json.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import codecs, entities, servers
from bench.compare import Contender, Launch, compare, rounded
from pipelines.layout import REPORTS, write_json

ROUNDS = 3
WARM_UP, SECONDS = 2, 5


def granian(port: int, _: Path) -> Launch:
    command = [sys.executable, "-m", "granian", "bench.bare:app", "--interface", "asgi", "--runtime-mode", "st"]
    options = ["--loop", "uvloop", "--workers", "1", "--no-access-log", "--log-level", "warning"]
    return Launch([*command, *options, *servers.LOCAL, str(port)], {})


def contenders() -> dict[str, Contender]:
    tasks = servers.at_each(entities.single(entities.spread(servers.ENTITIES)))
    launches = {"uvicorn": servers.bare, "granian": granian}
    return {name: Contender(launch, "/health/ready", "/v1/predictions", tasks) for name, launch in launches.items()}


def show(report: Mapping[str, Any]) -> None:
    print(f"\n{'':<10}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}")
    for name, by_connections in report["servers"].items():
        for connections, load in by_connections.items():
            print(
                f"{name:<10}{connections:>12}{load['requests_per_second']:>12,}"
                f"{load['p50_ms']:>9}{load['p99_ms']:>9}{load['errors']:>8}"
            )
    for what, ways in report["microseconds"].items():
        print(f"\n{what:<34}{'microseconds':>14}")
        for way, microseconds in ways.items():
            print(f"{way:<34}{microseconds:>14}")


def main() -> None:
    # First, while the machine is quiet.
    microseconds = {
        "one body to an entity": codecs.validating(),
        "one entity to its answer": codecs.answering(),
        "one answer to a body": codecs.serialising(),
    }
    runs = compare(contenders(), rounds=ROUNDS, warm_up=WARM_UP, seconds=SECONDS)
    report = {
        "cores": os.cpu_count(),
        "seconds": SECONDS,
        "rounds": ROUNDS,
        "servers": {
            name: {connections: rounded(load) for connections, load in run.loads.items()} for name, run in runs.items()
        },
        "microseconds": {what: {way: round(us, 2) for way, us in ways.items()} for what, ways in microseconds.items()},
    }
    write_json(REPORTS / "bench_stack.json", report)
    show(report)


if __name__ == "__main__":
    main()
