"""`make bench-redis`: the service with look-ups in the database alone, and with a copy in Redis (needs wrk).

SQLite and PostgreSQL, each with and without Redis: four services that take turns every few seconds, on the same
entities. Look-ups are also measured alone. CPU time is that of the service, and of the servers beside it. Writes
reports/bench_redis.json. All share the cores with wrk. Needs `make train`, redis-server and PostgreSQL.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from ontime.redis_copy import RedisReader, RedisWriter
from ontime.settings import Settings
from pipelines.layout import REPORTS, write_json
from pipelines.operations.local_server import free_port
from tests import postgres

ROUNDS, WARM_UP_SECONDS, SECONDS = 8, 3, 2
ENTITIES = 1_000
LIST_ENTITIES = 100
TASKS = {"1 connection": 1, "64 connections": 64, "lists of 100, 4 connections": 4}  # name -> connections
LOOK_UPS = {1: 100, 100: 10}  # entities a call -> calls of one round
DATABASES = ("SQLite", "PostgreSQL")
STORES = tuple(name for each in DATABASES for name in (each, f"{each} and Redis"))
VAR = Path("var")  # on disk: another temporary folder may be in memory


class RunningStore(NamedTuple):
    """A service on a store of its own."""

    url: str
    cpu_seconds: Callable[[], float]
    server_cpu_seconds: Callable[[], float]
    look_up: Callable[[Sequence[str]], Mapping[str, online_store.Stored]]
    refresh: Callable[[], None]  # before look-ups: see RedisReader.read_epochs


def fill_redis(settings: Settings, question: Question, ids: Sequence[str]) -> None:
    """Copy the rows of these entities, in the way of materialisation."""
    writer = RedisWriter.of(settings)
    if writer is None:
        return
    engine = database.connect(settings.database_url)
    stored = online_store.look_up_features(engine, question, ids)
    vectors, texts = (
        np.stack([row.online.vector for row in stored.values()]),
        [row.online.texts for row in stored.values()],
    )
    with engine.begin() as connection:
        marked = writer.mark(connection, question, [*stored], [row.moment for row in stored.values()], vectors, texts)
    marked.publish()
    engine.dispose()


@contextmanager
def running_store(
    settings: Settings, requests: Sequence[EntityRequest], question: Question, server_cpu: Callable[[], float]
) -> Iterator[RunningStore]:
    entities.copy_features(settings.database_url.get_secret_value())
    fill_redis(settings, question, [each.entity_id for each in requests])
    port, engine = free_port(), database.connect(settings.database_url)
    values = {"port": port, "database_url": settings.database_url.get_secret_value(), "spool": settings.spool}
    look_up: Callable[[Sequence[str]], Mapping[str, online_store.Stored]]
    look_up, refresh = partial(online_store.look_up_features, engine, question), partial(database.ping, engine)
    reader = RedisReader.of(settings)
    if reader is not None and settings.online_store_url is not None:
        values["online_store_url"] = settings.online_store_url.get_secret_value()
        look_up, refresh = partial(reader.look_up, question), partial(reader.read_epochs, engine)
    env = {f"ONTIME_{name.upper()}": str(value) for name, value in values.items()}
    with load.running_server([sys.executable, "-m", "serving"], env, port, "/health/ready") as service:
        url = f"http://127.0.0.1:{port}/v1/predictions"
        yield RunningStore(url, service.cpu_seconds, server_cpu, look_up, refresh)
    engine.dispose()


def measure_task(store: RunningStore, bodies: list[str], connections: int) -> Load:
    return load.measure_load(
        store.url, bodies, connections, SECONDS, store.cpu_seconds, other_cpu=store.server_cpu_seconds
    )


def measure_look_ups(store: RunningStore, ids: Sequence[str], size: int) -> CallCost:
    """The cost of looking up so many entities in this process."""
    store.refresh()
    requests = [[ids[(call * size + place) % len(ids)] for place in range(size)] for call in range(LOOK_UPS[size])]
    if len(store.look_up(requests[0])) != size:
        raise SystemExit(f"bench-redis: a store lacks rows of {size} entities that it was given")
    return cost_of_calls(store.look_up, requests, store.server_cpu_seconds)


def measure_in_turns(stores: Mapping[str, RunningStore], requests: Sequence[EntityRequest]) -> dict[str, Any]:
    """Figures by store. The stores take turns every few seconds, so that all are measured on the same machine."""
    ids = [each.entity_id for each in requests]
    single, lists = entities.single(requests), entities.lists(requests, LIST_ENTITIES, len(requests))
    loads: dict[str, dict[str, list[Load]]] = {name: {task: [] for task in TASKS} for name in stores}
    costs: dict[str, dict[int, list[CallCost]]] = {name: {size: [] for size in LOOK_UPS} for name in stores}
    for store in stores.values():
        load.measure_load(store.url, single, max(TASKS.values()), WARM_UP_SECONDS, store.cpu_seconds)
    for number in tqdm(range(ROUNDS), desc="bench-redis", disable=None):
        turn = dict([*stores.items()][:: 1 if number % 2 else -1])  # none is always the first
        for size in LOOK_UPS:
            for name, store in turn.items():
                costs[name][size].append(measure_look_ups(store, ids, size))
        for task, connections in TASKS.items():
            for name, store in turn.items():
                bodies = lists if task.startswith("lists") else single
                loads[name][task].append(measure_task(store, bodies, connections))
    return {
        name: {
            "tasks": {task: figures_of(loads[name][task], loads[name.split()[0]][task]) for task in TASKS},
            "look_up": {str(size): in_milliseconds(median_cost(costs[name][size])) for size in LOOK_UPS},
        }
        for name in stores
    }


def figures_of(rounds: Sequence[Load], without_redis: Sequence[Load]) -> dict[str, float]:
    """Medians of the rounds, and the median of each round's CPU time over that of the database alone.

    CPU milliseconds per request are of the service, and of the servers that it asks.
    """
    pairs = zip(rounds, without_redis, strict=True)
    ratios = sorted((each.cpu_us + each.other_cpu_us) / (other.cpu_us + other.other_cpu_us) for each, other in pairs)
    middle = load.median(rounds)
    figures = {name: value for name, value in rounded(middle).items() if not name.endswith("cpu_us")}
    return {
        **figures,
        "cpu_ms": round(middle.cpu_us / 1_000, 2),
        "server_cpu_ms": round(middle.other_cpu_us / 1_000, 3),
        "cpu_ratio": round(statistics.median(ratios), 2),
        "cpu_ratio_lower_quartile": round(ratios[len(ratios) // 4], 2),
        "cpu_ratio_upper_quartile": round(ratios[-1 - len(ratios) // 4], 2),
    }


def redis_cpu_seconds(connection: RedisConnection) -> float:
    """The CPU time of the Redis server so far."""
    used = dict(line.split(":") for line in connection.command("INFO", "cpu").decode().split() if ":" in line)
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def measure_all(folder: Path, server: postgres.Server) -> dict[str, Any]:
    requests, question = entities.evenly_spaced(ENTITIES), entities.current_release().manifest.question
    with ExitStack() as stack:
        redis = SecretStr(f"redis://{stack.enter_context(running_redis(folder))}/0")
        redis_cpu = partial(redis_cpu_seconds, RedisConnection(redis, timeout_s=5, pause_s=0))
        stores = {}
        for number, name in enumerate(STORES):
            has_redis, is_sqlite = name.endswith("Redis"), name.startswith("SQLite")
            settings = Settings(
                database_url=SecretStr(f"sqlite:///{folder}/{number}.db" if is_sqlite else server.new_database()),
                spool=folder / f"spool-{number}",
                # A database of Redis for each, because both have the same keys.
                online_store_url=SecretStr(f"{redis.get_secret_value()[:-1]}{number}") if has_redis else None,
            )
            servers: list[Callable[[], float]] = [
                *([] if is_sqlite else [server.cpu_seconds]),
                *([redis_cpu] if has_redis else []),
            ]
            server_cpu = partial(_sum_of, servers)
            stores[name] = stack.enter_context(running_store(settings, requests, question, server_cpu))
        return measure_in_turns(stores, requests)


def _sum_of(figures: Sequence[Callable[[], float]]) -> float:
    return sum(figure() for figure in figures)


def print_redis(report: Mapping[str, Any]) -> None:
    print(f"\n{'store':<22}{'task':<29}{'requests/s':>11}{'p50 ms':>8}{'p99 ms':>8}{'CPU ms':>8}{'servers':>9}  ratio")
    for name, each in report["stores"].items():
        for task, cost in each["tasks"].items():
            times = f"{cost['p50_ms']:>8}{cost['p99_ms']:>8}{cost['cpu_ms']:>8}{cost['server_cpu_ms']:>9}"
            quartiles = f"{cost['cpu_ratio_lower_quartile']} to {cost['cpu_ratio_upper_quartile']}"
            print(f"{name:<22}{task:<29}{cost['requests_per_second']:>11,}{times}  {cost['cpu_ratio']} ({quartiles})")
    print(f"\n{'look-up':<22}{'entities':>9}{'ms':>8}{'CPU ms':>8}{'servers':>9}")
    for name, each in report["stores"].items():
        for size, cost in each["look_up"].items():
            print(f"{name:<22}{size:>9}{cost['ms']:>8}{cost['cpu_ms']:>8}{cost['server_cpu_ms']:>9}")


def main() -> None:
    with entities.engine().connect() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(database_tables.features)).scalar_one()
    with postgres.running() as server, tempfile.TemporaryDirectory(prefix="bench-redis-", dir=VAR.resolve()) as name:
        stores = measure_all(Path(name), server)
    report = {"cores": os.cpu_count(), "rounds": ROUNDS, "seconds": SECONDS, "rows": int(rows), "stores": stores}
    write_json(REPORTS / "bench_redis.json", report)
    print_redis(report)


if __name__ == "__main__":
    main()
