"""`make bench-lists`: lists of 1000 on few and on many connections, and single requests beside them (needs wrk).

Writes reports/bench_lists.json. The service must not lose its throughput when more clients send lists than it can
score, and a client with a single entity must not wait for them. The load generator shares the cores.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import entities, load, servers
from pipelines.layout import REPORTS, write_json
from pipelines.operations.local_server import free_port

LIST_ENTITIES = 1000
FEW, MANY = 4, 64  # connections
SECONDS = 15
WARM_UP_SECONDS = 3
VAR = Path("var")  # another temporary folder may be in memory, where a commit costs nothing


def measure(url: str, server: load.Server) -> dict[str, float]:
    requests = entities.evenly_spaced(20 * LIST_ENTITIES)
    singles, lists = entities.single(requests[:200]), entities.lists(requests, LIST_ENTITIES, 20)

    def post(bodies: list[str], connections: int, seconds: int) -> load.Load:
        return load.measure_load(url, bodies, connections, seconds, server.cpu_seconds)

    post(lists, FEW, WARM_UP_SECONDS)
    idle, few, many = post(singles, 1, SECONDS), post(lists, FEW, SECONDS), post(lists, MANY, SECONDS)
    with ThreadPoolExecutor(1) as other:
        background = other.submit(post, lists, MANY, SECONDS + 2)
        beside = post(singles, 1, SECONDS)
        background.result()
    return {
        "entities_per_second_few": round(few.requests_per_second * LIST_ENTITIES),
        "entities_per_second_many": round(many.requests_per_second * LIST_ENTITIES),
        "cpu_us_an_entity_few": round(few.cpu_us / LIST_ENTITIES),
        "cpu_us_an_entity_many": round(many.cpu_us / LIST_ENTITIES),
        "many_to_few": round(many.requests_per_second / few.requests_per_second, 2),
        "single_p50_ms_idle": round(idle.p50_ms, 2),
        "single_p99_ms_idle": round(idle.p99_ms, 2),
        "single_p50_ms_beside_lists": round(beside.p50_ms, 2),
        "single_p99_ms_beside_lists": round(beside.p99_ms, 2),
        "single_p50_ratio": round(beside.p50_ms / idle.p50_ms, 1),
        "rejected_singles": beside.errors,
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=VAR.resolve(), ignore_cleanup_errors=True) as folder:
        port = free_port()
        launch = servers.launch_ontime(port, Path(folder), workers=1)
        with load.running_server(launch.command, launch.env, port, "/health/ready") as server:
            figures = measure(f"http://127.0.0.1:{port}/v1/predictions", server)
    report = {"connections": {"few": FEW, "many": MANY}, **figures}
    write_json(REPORTS / "bench_lists.json", report)
    print(f"bench-lists: {report}")


if __name__ == "__main__":
    main()
