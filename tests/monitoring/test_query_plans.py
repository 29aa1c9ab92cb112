"""Queries that run every day, or for each page, read an index: no table is read from its beginning to its end.

On SQLite as its planner chooses. PostgreSQL rightly reads a small table as a whole, so it is asked to avoid that where
an index could serve.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa

from monitoring import performance
from ontime import database, database_tables, online_store
from ontime.release import Manifest
from serving import operations, search
from tests.monitoring.test_performance import released
from tests.postgres import DATABASES

FIRST = datetime(2013, 11, 1, tzinfo=UTC)
DAYS, ENTITIES_PER_DAY, PREDICTIONS_PER_ENTITY = 30, 50, 2
LAST_DAY = FIRST + timedelta(days=DAYS - 1)
END = FIRST + timedelta(days=DAYS)
CHAMPION, CHALLENGER = "8", "9"  # of the last days; the versions before are others
TRIAL_DAYS = 3
LABEL_AT_LEAST = 15
READ_WHOLE = tuple(f"{words} {table}" for words in ("SCAN", "Seq Scan on") for table in database_tables.metadata.tables)
QUERIES: dict[str, Callable[[sa.Engine], object]] = {
    "the predictions of a day": lambda engine: performance.predictions_with_outcomes(
        engine, LAST_DAY, END, LABEL_AT_LEAST, END, vectors=True
    ),
    "the pairs of a trial": lambda engine: performance.paired_predictions(engine, *trial_releases(), END),
    "the outcomes since a training": lambda engine: database.count_outcomes(engine, FIRST, END, most=50),
    "the last monitored day": lambda engine: database.last_decision(engine, "monitor"),
    "a decision that was never made": lambda engine: database.last_decision(engine, "retraining"),
    "the days before a day": lambda engine: database.decisions_before(engine, "monitor", END, most=7),
    "the decisions of a day": lambda engine: database.decisions_of(engine, "skew", since=LAST_DAY),
    "the decision of a day": lambda engine: database.last_decision(engine, "monitor", END, day=f"{LAST_DAY:%Y-%m-%d}"),
    "a page of a search": lambda engine: search.find_entities(engine, search.Query(), {}),
    "a search for an hour": lambda engine: search.find_entities(engine, search.Query(hour="3"), {}),
    "the traffic of an hour": operations.recent_traffic,
}


def trial_releases() -> tuple[Manifest, Manifest]:
    return tuple(released(each, trained_until=date(2013, 1, 1)) for each in (CHAMPION, CHALLENGER))  # type: ignore[return-value]  # two of them


def entity_rows() -> list[dict[str, Any]]:
    return [
        {
            "entity_id": f"UA{number}-EWR-{day:%Y%m%d}",
            "event_at": day + timedelta(minutes=20 * number),
            "carrier": "UA",
            "flight_number": number + 1,
            "origin": "EWR",
            "dest": "ORD",
            "scheduled_departure": day,
            "scheduled_arrival": day + timedelta(hours=3),
            "distance_miles": 719,
        }
        for day, number in product((FIRST + timedelta(days=count) for count in range(DAYS)), range(ENTITIES_PER_DAY))
    ]


def prediction_rows(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "prediction_id": f"{(place * PREDICTIONS_PER_ENTITY + number):032x}",
            "entity_id": row["entity_id"],
            "answered_at": row["event_at"] - timedelta(hours=3 - number),
            "model_version": CHAMPION if in_trial(row) else "1",
            "probability": 0.25,
            "alert": False,
            "features": "online",
            "vector": bytes(280),
            "latency_ms": 5.0,
        }
        for place, row in enumerate(entities)
        for number in range(PREDICTIONS_PER_ENTITY)
    ]


def in_trial(entity: dict[str, Any]) -> bool:
    return bool(entity["event_at"] >= END - timedelta(days=TRIAL_DAYS))


@pytest.fixture(scope="module", params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/ontime.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    connected = database.connect(url)
    fill(connected)
    yield connected
    connected.dispose()


def fill(engine: sa.Engine) -> None:
    rows = entity_rows()
    trial_ids = {row["entity_id"] for row in rows if in_trial(row)}
    predictions = prediction_rows(rows)
    online_store.store_entities(engine, rows)
    database.store_outcomes(
        engine,
        [{"entity_id": row["entity_id"], "label": False, "known_at": row["event_at"], "value": 3.0} for row in rows],
    )
    database.execute(engine, sa.insert(database_tables.predictions), predictions)
    database.log_shadows(
        engine,
        [
            {
                "prediction_id": row["prediction_id"],
                "model_version": CHALLENGER if row["entity_id"] in trial_ids else "2",
                "probability": 0.25,
            }
            for row in predictions
        ],
    )
    with engine.begin() as connection:
        days = [FIRST + timedelta(days=count) for count in range(DAYS)]
        decisions = [
            {
                "decided_at": day,
                "kind": kind,
                "verdict": "ok",
                "evidence": {"day": f"{day:%Y-%m-%d}", "text": "x" * 500},
            }
            for day, kind in product(days, ("monitor", "policy"))
        ]
        connection.execute(sa.insert(database_tables.decisions), decisions)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))


@contextmanager
def recorded_statements(engine: sa.Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements that the block executes, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", record)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", record)


def plan_of(engine: sa.Engine, statement: str, parameters: Any) -> list[str]:
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return [str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)]


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_reads_a_whole_table(name: str, engine: sa.Engine) -> None:
    with recorded_statements(engine) as statements:
        QUERIES[name](engine)

    plans = {statement: plan_of(engine, statement, parameters) for statement, parameters in statements}
    assert plans
    for statement, plan in plans.items():
        whole = [line for line in plan if line.strip(" ->").startswith(READ_WHOLE)]
        assert not whole, "\n".join([statement, *plan])


def test_the_plan_of_a_whole_table_is_recognised(engine: sa.Engine) -> None:
    plan = plan_of(engine, "SELECT count(probability) FROM predictions", ())

    assert [line for line in plan if line.strip(" ->").startswith(READ_WHOLE)]


def test_the_traffic_is_counted_in_an_index_alone(engine: sa.Engine) -> None:
    """The rows themselves have the vectors, and are ten times as large."""
    with recorded_statements(engine) as statements:
        operations.recent_traffic(engine)

    counts = [each for each in statements if "request_only" in each[0]]
    assert len(counts) == operations.TRAFFIC_MINUTES + 1
    for count in counts:
        plan = "\n".join(plan_of(engine, *count))
        assert "USING COVERING INDEX" in plan or "Index Only Scan" in plan, plan
