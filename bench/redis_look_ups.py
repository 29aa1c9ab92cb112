"""`make bench-redis`: the service with look-ups in the database alone, and with a copy in Redis (needs wrk).

SQLite and PostgreSQL, each with and without Redis, one after another in every round, on the same entities. A look-up
is also measured alone, in a process that does nothing else. CPU time is that of the service, and of the servers beside
it. Writes reports/bench_redis.json. All share the cores with wrk. Needs `make train`, redis-server and PostgreSQL.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from pydantic import SecretStr
from tqdm import tqdm

from bench import entities, load
from bench.call_cost import CallCost, cost_of_calls, median_cost
from bench.feast_report import in_milliseconds
from bench.load import Load
from bench.redis_server import running_redis
from bench.server_comparison import rounded
from ontime import database, database_tables, online_store
from ontime.declaration import EntityRequest, Question
from ontime.redis_connection import RedisConnection
from ontime.redis_copy import LOOK_UP_PAUSE_SECONDS, LOOK_UP_SECONDS, RedisReader, RedisWriter
from ontime.settings import Settings
from pipelines.layout import REPORTS, write_json
from pipelines.operations.local_server import free_port
from tests import postgres

ROUNDS, WARM_UP_SECONDS, SECONDS = 5, 1, 4
ENTITIES = 1_000
LIST_ENTITIES = 100
TASKS = {"1 connection": 1, "64 connections": 64, "lists of 100, 4 connections": 4}  # name -> connections
LOOK_UPS = {1: 500, 100: 50}  # entities a call -> calls
STORES = ("SQLite", "SQLite and Redis", "PostgreSQL", "PostgreSQL and Redis")
VAR = Path("var")  # on disk: another temporary folder may be in memory
COPIED_AT_ONCE = 5_000


class StoreRun(NamedTuple):
    """One round with one store: a load and the CPU seconds of each task, and the cost of look-ups by size."""

    loads: dict[str, Load]
    cpu_ms: dict[str, tuple[float, float]]  # per request: of the service, of the servers beside it
    look_ups: dict[int, CallCost]


def fill_database(url: str) -> None:
    """Copy the features of this folder's online store."""
    target, table = database.connect(url), database_tables.features
    with entities.engine().connect() as source:
        rows = [row._asdict() for row in source.execute(sa.select(table))]
    for start in range(0, len(rows), COPIED_AT_ONCE):
        database.execute(target, sa.insert(table), rows[start : start + COPIED_AT_ONCE])
    target.dispose()


def fill_redis(settings: Settings, question: Question, ids: Sequence[str]) -> None:
    """Copy the rows of these entities, in the way of materialisation."""
    writer = RedisWriter.of(settings)
    if writer is None:
        return
    engine = database.connect(settings.database_url)
    stored = online_store.look_up_features(engine, question, ids)
    vectors, texts = np.stack([row.online.vector for row in stored.values()]), [row.online.texts for row in stored.values()]
    with engine.begin() as connection:
        marked = writer.mark(connection, question, [*stored], [row.moment for row in stored.values()], vectors, texts)
    marked.publish()
    engine.dispose()


def look_up_costs(
    settings: Settings, question: Question, ids: Sequence[str], server_cpu: Callable[[], float]
) -> dict[int, CallCost]:
    engine = database.connect(settings.database_url)
    look_up = partial(online_store.look_up_features, engine, question)
    if settings.online_store_url is not None:
        connection = RedisConnection(settings.online_store_url, LOOK_UP_SECONDS, LOOK_UP_PAUSE_SECONDS)
        reader = RedisReader(connection)
        reader.read_epochs(engine)
        look_up = partial(reader.look_up, question)
    costs = {}
    for size, calls in LOOK_UPS.items():
        requests = [[ids[(call * size + place) % len(ids)] for place in range(size)] for call in range(calls)]
        if len(look_up(requests[0])) != size:
            raise SystemExit(f"bench-redis: the store lacks rows of {size} entities that it was given")
        if settings.online_store_url is not None:
            reader.read_epochs(engine)  # else they count as too old
        costs[size] = cost_of_calls(look_up, requests, server_cpu)
    engine.dispose()
    return costs


def measure_store(
    settings: Settings, requests: Sequence[EntityRequest], question: Question, server_cpu: Callable[[], float]
) -> StoreRun:
    ids = [each.entity_id for each in requests]
    fill_redis(settings, question, ids)
    look_ups = look_up_costs(settings, question, ids, server_cpu)
    port = free_port()
    values = {"port": port, "database_url": settings.database_url.get_secret_value(), "spool": settings.spool}
    if settings.online_store_url is not None:
        values["online_store_url"] = settings.online_store_url.get_secret_value()
    env = {f"ONTIME_{name.upper()}": str(value) for name, value in values.items()}
    loads, cpu_ms = {}, {}
    url = f"http://127.0.0.1:{port}/v1/predictions"
    single, lists = entities.single(requests), entities.lists(requests, LIST_ENTITIES, len(requests))
    with load.running_server([sys.executable, "-m", "serving"], env, port, "/health/ready") as service:
        for name, connections in TASKS.items():
            bodies = lists if name.startswith("lists") else single
            load.measure_load(url, bodies, connections, WARM_UP_SECONDS)
            service_before, server_before = service.cpu_seconds(), server_cpu()
            loads[name] = load.measure_load(url, bodies, connections, SECONDS)
            count = loads[name].requests_per_second * SECONDS
            spent = service.cpu_seconds() - service_before, server_cpu() - server_before
            cpu_ms[name] = 1_000 * spent[0] / count, 1_000 * spent[1] / count
    return StoreRun(loads, cpu_ms, look_ups)


def report_of(runs: Mapping[str, Sequence[StoreRun]], rows: int) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "rounds": ROUNDS,
        "seconds": SECONDS,
        "rows": rows,
        "stores": {name: _figures_of(each) for name, each in runs.items()},
    }


def _figures_of(rounds: Sequence[StoreRun]) -> dict[str, Any]:
    tasks = {}
    for name in TASKS:
        service, servers = zip(*(run.cpu_ms[name] for run in rounds), strict=True)
        rates = [run.loads[name].requests_per_second for run in rounds]
        tasks[name] = {
            **rounded(load.median([run.loads[name] for run in rounds])),
            "slowest_round": round(min(rates)),
            "fastest_round": round(max(rates)),
            "cpu_ms": round(statistics.median(service), 3),
            "server_cpu_ms": round(statistics.median(servers), 3),
        }
    look_ups = {str(size): in_milliseconds(median_cost(run.look_ups[size] for run in rounds)) for size in LOOK_UPS}
    return {"tasks": tasks, "look_up": look_ups}


def print_redis(report: Mapping[str, Any]) -> None:
    print(f"\n{'store':<24}{'task':<30}{'requests/s':>11}{'rounds':>16}{'p50 ms':>8}{'p99 ms':>8}{'CPU ms':>8}{'of servers':>11}")
    for name, each in report["stores"].items():
        for task, load_ in each["tasks"].items():
            spread = f"{load_['slowest_round']:,}-{load_['fastest_round']:,}"
            print(
                f"{name:<24}{task:<30}{load_['requests_per_second']:>11,}{spread:>16}{load_['p50_ms']:>8}"
                f"{load_['p99_ms']:>8}{load_['cpu_ms']:>8}{load_['server_cpu_ms']:>11}"
            )
    print(f"\n{'look-up':<24}{'entities':>9}{'ms':>9}{'CPU ms':>9}{'of servers':>11}")
    for name, each in report["stores"].items():
        for size, cost in each["look_up"].items():
            print(f"{name:<24}{size:>9}{cost['ms']:>9}{cost['cpu_ms']:>9}{cost['server_cpu_ms']:>11}")


def redis_cpu_seconds(url: str) -> float:
    """The CPU time of the Redis server so far."""
    text = RedisConnection(SecretStr(url), 1, 0).command("INFO", "cpu").decode()
    used = dict(line.split(":") for line in text.split() if ":" in line)
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def measure_round(folder: Path, requests: Sequence[EntityRequest], question: Question, server: postgres.Server) -> dict[str, StoreRun]:
    runs = {}
    with running_redis(folder) as address:
        redis = f"redis://{address}/0"
        for name in STORES:
            has_redis, is_sqlite = "Redis" in name, name.startswith("SQLite")
            url = f"sqlite:///{folder}/{name.replace(' ', '-')}.db" if is_sqlite else server.new_database()
            fill_database(url)
            settings = Settings(
                database_url=SecretStr(url),
                spool=folder / f"spool-{name}",
                online_store_url=SecretStr(redis) if has_redis else None,
            )

            def server_cpu(has_redis: bool = has_redis, is_sqlite: bool = is_sqlite) -> float:
                return (0 if is_sqlite else server.cpu_seconds()) + (redis_cpu_seconds(redis) if has_redis else 0)

            runs[name] = measure_store(settings, requests, question, server_cpu)
    return runs


def main() -> None:
    requests, question = entities.evenly_spaced(ENTITIES), entities.current_release().manifest.question
    with entities.engine().connect() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(database_tables.features)).scalar_one()
    rounds = []
    with postgres.running() as server:
        for _ in tqdm(range(ROUNDS), desc="bench-redis", disable=None):
            with tempfile.TemporaryDirectory(prefix="bench-redis-", dir=VAR.resolve()) as name:
                rounds.append(measure_round(Path(name), requests, question, server))
    report = report_of({name: [each[name] for each in rounds] for name in STORES}, int(rows))
    write_json(REPORTS / "bench_redis.json", report)
    print_redis(report)


if __name__ == "__main__":
    main()
