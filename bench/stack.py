"""`make bench-stack`: uvicorn, pydantic and orjson against their alternatives, on the same route and bodies.

Two servers run bench/bare.py, with one worker and one event loop (uvloop) each; parsers and serialisers are measured
alone (bench/codecs.py). Writes reports/bench_stack.json.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import codecs, entities, servers
from bench.server_comparison import Contender, Launch, compare_servers, median_run, rounded
from pipelines.layout import REPORTS, write_json

ROUNDS = 3
WARM_UP, SECONDS = 2, 5


def launch_granian(port: int, _: Path) -> Launch:
    command = [sys.executable, "-m", "granian", "bench.bare:app", "--interface", "asgi", "--runtime-mode", "st"]
    options = ["--loop", "uvloop", "--workers", "1", "--no-access-log", "--log-level", "warning"]
    return Launch([*command, *options, *servers.LOCAL, str(port)], {})


def stack_contenders() -> dict[str, Contender]:
    tasks = servers.at_each(entities.single(entities.evenly_spaced(servers.ENTITIES)))
    launches = {"uvicorn": servers.launch_bare, "granian": launch_granian}
    return {name: Contender(launch, "/health/ready", "/v1/predictions", tasks) for name, launch in launches.items()}


def print_stack(report: Mapping[str, Any]) -> None:
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
        "one body to an entity": codecs.time_parsing(),
        "one entity to its answer": codecs.time_scoring(),
        "one answer to a body": codecs.time_serialising(),
    }
    runs = compare_servers(stack_contenders(), rounds=ROUNDS, warm_up=WARM_UP, seconds=SECONDS)
    report = {
        "cores": os.cpu_count(),
        "seconds": SECONDS,
        "rounds": ROUNDS,
        "servers": {
            name: {connections: rounded(load) for connections, load in median_run(rounds).loads.items()}
            for name, rounds in runs.items()
        },
        "microseconds": {what: {way: round(us, 2) for way, us in ways.items()} for what, ways in microseconds.items()},
    }
    write_json(REPORTS / "bench_stack.json", report)
    print_stack(report)


if __name__ == "__main__":
    main()
