"""`make bench-feast`: this project's online store beside Feast's, on SQLite, PostgreSQL and Redis, on this machine.

All store the features of the last week of the test period, look up 1 and 100 entities in one process, and return a
float32 matrix. Each round begins with empty stores and takes them in turn. The values that each returns must be those
of the feature table, bit for bit, or the bench stops. Feast runs examples/feast, in an environment of its own
(var/feast-venv), through its Python interface, and once more with all features packed into one value; `Redis MGET` is
that value without Feast.

Writes reports/feast.json. Needs `make train`, redis-server and PostgreSQL, which is started without fsync.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray
from tqdm import tqdm

from bench import feast_tables
from bench.call_cost import cost_of_calls, no_server
from bench.environments import make_environment
from bench.feast_process import ENVIRONMENT, LOCK, look_up_plan, make_feast_project, run_feast
from bench.feast_report import feast_report, print_feast
from bench.feast_tables import UNKNOWN, JoinQuestion, differing_rows
from bench.redis_server import running_redis
from ontime import database, features, online_store, schema
from ontime.counts import counted
from ontime.datasets import KEY
from ontime.declaration import Question
from ontime.params import load_params
from pipelines.layout import REPORTS, write_json
from pipelines.operations.materialise import BATCH_ROWS
from tests import postgres

ROUNDS, DAYS = 5, 7
JOINED_ENTITIES = 1_000
LOOK_UPS = {1: 300, 100: 30}  # entities a call -> calls
VAR = Path("var")  # on disk: another temporary folder may be in memory


def measure_ours(
    url: str, rows: pd.DataFrame, plan: Mapping[str, Any], question: Question, cpu: Callable[[], float] = no_server
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The costs of this project's store on an empty database, and all rows that it returns."""
    engine = database.connect(url)

    def store(table: pd.DataFrame) -> None:
        for start in range(0, len(table), BATCH_ROWS):
            part = table.iloc[start : start + BATCH_ROWS]
            moments = part["moment"].dt.to_pydatetime().tolist()
            vectors, texts = features.online_of(part)
            ids = part[KEY].tolist()
            online_store.store_features(engine, question, ids, moments, vectors, texts if schema.ONLINE_TEXTS else None)

    def look_up(ids: Sequence[str]) -> NDArray[np.float32]:
        stored = online_store.look_up_features(engine, question, ids)
        return np.array([stored[each].online.vector for each in ids])

    costs: dict[str, Any] = {"materialise": cost_of_calls(store, [rows], cpu), "look_up": {}}
    for size, requests in plan["look_ups"].items():
        look_up(requests[0])
        costs["look_up"][size] = cost_of_calls(look_up, requests, cpu)
    returned = _returned(engine, question, plan["ids"])
    costs["megabytes"] = _megabytes(engine)
    return costs, returned


def _returned(engine: sa.Engine, question: Question, ids: list[str]) -> pd.DataFrame:
    """The stored features of all these entities, as columns; without values where the store has no row."""
    rows = online_store.look_up_features(engine, question, ids)
    vectors = pd.DataFrame(
        [each.online.vector for each in rows.values()], index=[*rows], columns=pd.Index(schema.ONLINE)
    )
    texts = pd.DataFrame(
        [each.online.texts for each in rows.values()], index=[*rows], columns=pd.Index(schema.ONLINE_TEXTS)
    )
    vectors[[*schema.ONLINE_TEXTS]] = texts
    return vectors.reindex(ids).reset_index(drop=True)


def _megabytes(engine: sa.Engine) -> float:
    """The size of an SQLite file, or of PostgreSQL's table of features with its indexes. Closes the connections."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            size = connection.execute(sa.text("SELECT pg_total_relation_size('features')")).scalar_one()
        engine.dispose()
    else:
        engine.dispose()  # which moves the write-ahead log into the file
        size = Path(engine.url.database or "").stat().st_size
    return float(size) / 1e6


def differing_from(rows: pd.DataFrame, returned: pd.DataFrame, store: str) -> int:
    """0: the store has returned the features of `rows`, and no value for the unknown entity after them. Else exits."""
    expected = pd.concat([rows, rows.iloc[:1].reindex([UNKNOWN])], ignore_index=True)
    if len(returned) != len(expected):
        raise SystemExit(f"bench-feast: {store} returns {len(returned):,} rows instead of {len(expected):,}")
    if differing := differing_rows(expected, returned):
        raise SystemExit(
            f"bench-feast: {store} returns other values than the feature table for {counted(differing, 'row')}"
        )
    return differing


def measure_stores(folder: Path, rows: pd.DataFrame, question: Question, server: postgres.Server) -> dict[str, Any]:
    """The costs of all stores, each empty at first."""
    plan = look_up_plan(rows, LOOK_UPS)
    costs = {}
    databases = {
        "ours, SQLite": (f"sqlite:///{folder}/ours.db", no_server),
        "ours, PostgreSQL": (server.new_database(), server.cpu_seconds),
    }
    for name, (url, cpu) in databases.items():
        costs[name], returned = measure_ours(url, rows, plan, question, cpu)
        costs[name]["differing"] = differing_from(rows, returned, name)
    with running_redis(folder) as address:
        for name, configuration, redis in (
            ("feast, SQLite", "feature_store.yaml", ""),
            ("feast, Redis", "redis.yaml", address),
        ):
            place = make_feast_project(folder / name, [rows], plan)
            measured = run_feast(place, "online", configuration, redis)
            returned = pd.read_parquet(place / "returned.parquet")
            measured["declared"]["differing"] = differing_from(rows, returned, name)
            costs |= {name: measured["declared"], f"{name}, packed": measured["packed"]}
    costs["bare, Redis"] = measured["bare"]
    if differing := {name: each["differing"] for name, each in costs.items() if each["differing"]}:
        raise SystemExit(f"bench-feast: stores return other values than they were given: {differing}")
    return costs


def measure_join(folder: Path, history: Sequence[pd.DataFrame], question: JoinQuestion) -> dict[str, Any]:
    """The join by Feast and by pandas: its cost, the rows that it returns and drops, and those with other values."""
    place = make_feast_project(folder / "join", history, {})
    question.entity_times.to_parquet(place / "entity_times.parquet", index=False)
    cost = run_feast(place, "join", "feature_store.yaml")["join"]
    joined: list[pd.DataFrame] = []
    by_pandas = cost_of_calls(
        lambda times: joined.append(feast_tables.merged_as_of(pd.concat(history), times)), [question.entity_times]
    )
    return {
        "feast": {"cost": cost, **question.facts(pd.read_parquet(place / "joined.parquet"))},
        "pandas": {"cost": by_pandas, **question.facts(joined[0])},
    }


def main() -> None:
    params = load_params()
    VAR.mkdir(exist_ok=True)
    rows, period = feast_tables.last_days(params, DAYS)
    earlier = feast_tables.an_hour_earlier(rows, period, params)
    question = feast_tables.join_question(earlier, rows, JOINED_ENTITIES)
    make_environment(LOCK, ENVIRONMENT)
    rounds, joins = [], []
    with postgres.running() as server:
        for _ in tqdm(range(ROUNDS), desc="bench-feast", disable=None):
            with tempfile.TemporaryDirectory(prefix="bench-feast-", dir=VAR.resolve()) as name:
                rounds.append(measure_stores(Path(name), rows, params.question, server))
                joins.append(measure_join(Path(name), [earlier, rows], question))
    report = feast_report(rounds, joins, len(rows))
    write_json(REPORTS / "feast.json", report)
    print_feast(report)


if __name__ == "__main__":
    main()
